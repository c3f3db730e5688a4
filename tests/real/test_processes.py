"""Members as processes: what the API does between them, and what happens when they are killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tests.real.process_runtimes import ProcessRuntime, alive, children, descendants, process_runtime, until
from trio_uwsgi._runtime import supervisor
from trio_uwsgi.config import Cache

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

EVERYBODY = """
for number, target in enumerate(("workers", "worker2", "mules", "mule1", "spooler", "mule", "worker", "")):
    @uwsgi.signal_handler(number, target=target)
    async def handler(signum):
        note(signum)

@uwsgi.mule_message_handler
async def message(text):
    note(text.decode())
    if text == b"deadly":
        note(f"again={text.redelivered}")
        if not text.redelivered:
            os.kill(os.getpid(), signal.SIGKILL)

@uwsgi.spool_handler
async def work(job):
    note(job.vars[b"name"].decode())

async def queue(name):
    await work.spool(name=name)
"""


async def test_every_member_has_a_process(tmp_path: Path) -> None:
    """Each worker, mule and spooler has its own process, which knows the master's pid."""
    async with process_runtime(
        tmp_path,
        EVERYBODY
        + """
async def pids():
    return [uwsgi.masterpid(), *uwsgi.spooler_pids()]
""",
        workers=2,
        mules=2,
        spooler=str(tmp_path / "spool"),
    ) as server:
        pids = {await server.pid("worker1"), await server.pid("worker2")}
        for mule in (1, 2):
            await server.get(f"/send_message?m{mule}&{mule}")
        await server.get("/queue?job")
        await until(lambda: 3 == len(server.noted()))
        assert [["job", "spooler"], ["m1", "mule1"], ["m2", "mule2"]] == sorted(line[:2] for line in server.noted())
        pids |= {int(line[2]) for line in server.noted()}
        assert 5 == len(pids - {os.getpid()})
        spooler = next(int(line[2]) for line in server.noted() if line[1] == "spooler")
        assert f"[{os.getpid()}, {spooler}]" == await server.get("/pids")


async def test_signals_find_their_members(tmp_path: Path) -> None:
    """The target's members run a signal, whether a worker or the embedder raises it."""
    options = {"workers": 2, "mules": 2, "spooler": str(tmp_path / "spool")}
    async with process_runtime(tmp_path, EVERYBODY, **options) as server:
        for number in range(8):
            await server.get(f"/send_signal?{number}")
            server.runtime.signal(number)
        await until(lambda: 20 == len(server.noted()))
        ran = [tuple(line[:2]) for line in server.noted()]
        for member in ("worker1", "worker2"):
            assert 2 == ran.count(("0", member))
        assert 2 == ran.count(("1", "worker2"))
        for member in ("mule1", "mule2"):
            assert 2 == ran.count(("2", member))
        assert 2 == ran.count(("3", "mule1"))
        assert 2 == ran.count(("4", "spooler"))
        assert [2, 2, 2] == [sum(signum == number for signum, _ in ran) for number in "567"]
        await until(lambda: 20 == server.runtime.statistics().signals.delivered)
        assert 16 == server.runtime.statistics().signals.raised


async def test_timers_tick_from_the_start_and_from_later(tmp_path: Path) -> None:
    """Those that the application declares, and those that a member adds and cancels, end in the target's process."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.timer(0.1, target="mule1")
async def early(signum):
    note("early")

@uwsgi.signal_handler(7, target="worker2")
async def handler(signum):
    note("late")

async def begin():
    global handle
    handle = uwsgi.add_ms_timer(7, 50)
    return me()

async def end():
    if me() == (HERE / "who").read_text():
        handle.cancel()
        return "cancelled"
""",
        workers=2,
        mules=1,
    ) as server:
        (tmp_path / "who").write_text(await server.get("/begin"))
        await until(lambda: server.said().count("late") > 2 and server.said().count("early") > 2)
        assert {("early", "mule1"), ("late", "worker2")} == {tuple(line[:2]) for line in server.noted()}
        while "cancelled" != await server.get("/end"):
            pass
        await trio.sleep(0.1)
        late = server.said().count("late")
        await trio.sleep(0.2)
        assert late == server.said().count("late")


async def test_a_signal_that_is_registered_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A member that registered it runs it; another member logs an error, and keeps serving."""
    async with process_runtime(
        tmp_path,
        """
async def register(target):
    uwsgi.register_signal(9, target, handler)
    return uwsgi.signal_registered(9)

async def handler(signum):
    note(signum)

@uwsgi.mule_message_handler
async def message(text):
    await register("mule1")
    note("registered")
""",
        mules=1,
    ) as server:
        await server.get("/send_message?x")
        await until(server.noted)

        def accepted() -> bool:
            server.runtime.signal(9)
            return server.runtime.statistics().signals.raised == 1

        await until(accepted)  # the note may come before the declaration
        await until(lambda: 2 == len(server.noted()))
        assert [["registered", "mule1"], ["9", "mule1"]] == [line[:2] for line in server.noted()]
        os.kill(int(server.noted()[0][2]), signal.SIGKILL)
        await until(lambda: "ready" != server.state("mule1"))
        server.runtime.signal(9)  # for the next mule 1, which has not registered it
        await until(lambda: 2 == server.runtime.statistics().signals.delivered)
        await server.get("/send_message?x")
        await until(lambda: 3 == len(server.noted()))  # signals do not wait for messages
        server.runtime.signal(9)
        await until(lambda: 4 == len(server.noted()))
        await until(lambda: 3 == server.runtime.statistics().signals.delivered)  # the master hears of it later


async def test_a_message_that_kills_comes_again(tmp_path: Path) -> None:
    """It is delivered once more, marked, before the queued messages; each of those is delivered once."""
    async with process_runtime(tmp_path, EVERYBODY, workers=2, mules=1, spooler=str(tmp_path / "spool")) as server:
        for text in ("a", "deadly", "b"):
            await server.get(f"/send_message?{text}")
        await until(lambda: "b" in server.said())
        assert ["a", "deadly", "again=False", "deadly", "again=True", "b"] == server.said()
        await until(
            lambda: 1 == server.runtime.statistics().messages.redelivered
        )  # what it noted may overtake its frames
        messages = server.runtime.statistics().messages
        assert (3, 0) == (messages.queued, messages.lost)


async def test_a_job_whose_spooler_is_killed(tmp_path: Path) -> None:
    """It counts as a failed attempt, and the next spooler retries it."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.spool_handler
async def work(job):
    note(f"try{job.tries}")
    if job.tries == 1:
        os.kill(os.getpid(), signal.SIGKILL)

async def queue():
    await work.spool()
""",
        spooler=str(tmp_path / "spool"),
        spooler_retry=0.1,
    ) as server:
        await server.get("/queue")
        await until(lambda: 2 == len(server.noted()))
        assert ["try1", "try2"] == server.said()
        await until(lambda: [] == list((tmp_path / "spool").glob("uwsgi_spoolfile*")))
        await until(lambda: 1 == server.runtime.statistics().spools[0].done)
        spool = server.runtime.statistics().spools[0]
        assert (0, 0, 0, 1, 0) == (spool.waiting, spool.delayed, spool.running, spool.failed, spool.dead)


async def test_what_is_counted_stays(tmp_path: Path) -> None:
    """Members' counts go on over deaths, those of clients begin anew, and a directory's are those of its spoolers."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.spool_handler(max_tries=1)
async def work(job):
    if job.vars[b"name"] == b"bad":
        raise LookupError

async def queue(name):
    await work.spool(name=name)

async def fail():
    raise LookupError
""",
        spooler=str(tmp_path / "spool"),
    ) as server:
        for name in ("good", "bad", "good"):
            await server.get(f"/queue?{name}")
        statistics = server.runtime.statistics
        await until(
            lambda: (2, 1, 0, 0) == (lambda s: (s.done, s.failed, s.waiting, s.running))(statistics().spools[0])
        )
        await until(lambda: 3 == statistics().members[0].done and 3 == statistics().http[0].requests)
        await trio.sleep(1)  # for the next one to come at once
        assert "" == await server.get("/die")
        pid = await server.pid("worker1")
        await until(lambda: 4 == statistics().members[0].done)
        # The three before, and the one after; of the deadly one perhaps nobody was told.
        await until(lambda: 4 <= statistics().http[0].requests <= 5 and 0 == statistics().http[0].open)
        assert 4 <= statistics().http[0].connections <= 5
        assert "worker1" == statistics().http[0].name
        assert (1, "ready") == (statistics().members[0].deaths, statistics().members[0].state)
        assert pid != os.getpid()


async def test_cheap_spoolers_start_for_jobs_of_other_processes(tmp_path: Path) -> None:
    """As many start at once as there are jobs that other processes have queued, up to the configured number."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.spool_handler
async def work(job):
    note(job["name"])
    await trio.sleep(0 if job["name"] == "last" else 3600)

async def queue(*names):
    for name in names:
        await work.spool(name=name)
""",
        spooler=str(tmp_path / "spool"),
        spooler_processes=3,
        spooler_cheap=True,
        mercy=0.1,
    ) as server:
        assert ["vacant"] * 3 == [server.state(f"spooler{number}") for number in (1, 2, 3)]
        await server.get("/queue?first&second")
        await until(lambda: {"first", "second"} == set(server.said()))
        assert "vacant" == server.state("spooler3")
        await server.get("/queue?last")
        await until(lambda: "last" in server.said())
        assert 3 == len({pid for _, _, pid in server.noted()})


async def test_the_spoolers_frequency_is_that_of_all(tmp_path: Path) -> None:
    """Whichever process sets the frequency, the running spooler and its replacement use it."""
    async with process_runtime(
        tmp_path,
        """
from trio_uwsgi._units.unit import UNIT

uwsgi.add_timer(1, 0.05)

@uwsgi.signal_handler(1, target="spooler")
async def look(signum):
    note(UNIT.get().member.services.spools.all[0].frequency)

async def change(seconds):
    uwsgi.set_spooler_frequency(float(seconds))
""",
        spooler=str(tmp_path / "spool"),
    ) as server:
        await until(lambda: server.said())
        await server.get("/change?7.5")
        await until(lambda: "7.5" == server.said()[-1])
        pid = server.noted()[-1][2]
        os.kill(int(pid), signal.SIGKILL)
        await until(lambda: ["7.5"] == [line[0] for line in server.noted() if line[2] != pid][-1:])
        assert 7.5 == server.runtime._tree.member_factory.services.spools.all[0].frequency


# ----- what all share, under kill -9


async def kill_now_and_then(server: ProcessRuntime, kills: int) -> None:
    """Kill the two workers in turn, each after some time to work."""
    for kill in range(kills):
        await trio.sleep(0.4)
        pid = server.pids[kill % 2]
        if pid:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.long
async def test_no_acknowledged_increment_is_lost(tmp_path: Path) -> None:
    """Two workers count in one cache while they are killed: it has what clients were told, and what they could not be
    told at most beyond that.
    """
    async with process_runtime(
        tmp_path,
        """
async def count():
    return await uwsgi.cache_inc("n")

async def total():
    return await uwsgi.cache_num("n")
""",
        workers=2,
        caches=[Cache("default", items=10)],
    ) as server:
        acknowledged: list[int] = []
        unknown = 0
        over = False

        async def client() -> None:
            nonlocal unknown
            while not over:
                answer = await server.get("/count")
                if answer:
                    acknowledged.append(int(answer))
                else:
                    unknown += 1

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(client)
            await kill_now_and_then(server, 6)
            over = True
        total = int(await server.get("/total"))
        assert len(acknowledged) == len(set(acknowledged))
        assert len(acknowledged) <= total <= len(acknowledged) + unknown
        assert sum(member.deaths for member in server.runtime.statistics().members) >= 3


@pytest.mark.long
async def test_a_file_under_a_lock(tmp_path: Path) -> None:
    """Two workers read, change and write a file under a lock while holders are killed: nothing is lost or done twice,
    and nobody waits for the dead.
    """
    async with process_runtime(
        tmp_path,
        """
async def count():
    async with uwsgi.locked(1):
        path = HERE / "number"
        number = int(path.read_text()) + 1
        await trio.sleep(0.002)
        (HERE / "new").write_text(str(number))
        os.replace(HERE / "new", path)
    return number
""",
        workers=2,
        locks=1,
    ) as server:
        (tmp_path / "number").write_text("0")
        acknowledged: list[int] = []
        unknown = 0
        over = False

        async def client() -> None:
            nonlocal unknown
            while not over:
                answer = await server.get("/count")
                if answer:
                    acknowledged.append(int(answer))
                else:
                    unknown += 1

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(client)
            await kill_now_and_then(server, 6)
            over = True
        total = int((tmp_path / "number").read_text())
        assert len(acknowledged) == len(set(acknowledged))
        assert len(acknowledged) <= total <= len(acknowledged) + unknown
        assert len(acknowledged) > 20


async def test_the_lock_of_a_dead_member_is_released(tmp_path: Path) -> None:
    """The next waiter gets it when the holder's process ends, and all members see whether it is held."""
    async with process_runtime(
        tmp_path,
        """
async def hold():
    await uwsgi.lock()
    note("held")
    await trio.sleep_forever()

@uwsgi.mule_message_handler
async def message(text):
    note("waits")
    async with uwsgi.locked():
        note("has")
    note("done")

async def locked():
    return uwsgi.is_locked()
""",
        workers=1,
        mules=1,
    ) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.get, "/hold")
            await until(server.noted)
            await server.get("/send_message?x")
            await until(lambda: "waits" in server.said())
            assert "True" == await server.get("/locked")
            os.kill(int(server.noted()[0][2]), signal.SIGKILL)
            await until(lambda: "done" in server.said(), 1)
        assert ["held", "waits", "has", "done"] == server.said()
        await server.pid("worker1")
        assert "False" == await server.get("/locked")


# ----- ends of members


@pytest.mark.long
async def test_descriptors_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After thirty kills the master has as many descriptors and children as before."""
    async with process_runtime(tmp_path) as server:
        await until(lambda: server.pids[0])
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(supervisor, "MEMBER_STARTED_AFTER", 0.0)  # no pauses, for a short test
        for _ in range(30):
            (pid,) = server.pids
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: server.pids[0] not in (0, pid))  # type: ignore[misc]  # inferred from its default
        await server.pid("worker1")
        await until(lambda: before == len(os.listdir("/proc/self/fd")))
        assert 30 == server.runtime.statistics().members[0].deaths


async def test_sigterm_lets_a_member_end_what_it_runs(tmp_path: Path) -> None:
    """A worker that gets SIGTERM finishes its request and ends; it is replaced when no stop follows."""
    async with process_runtime(
        tmp_path,
        """
async def slow():
    note("begun")
    await trio.sleep(0.5)
    return "whole"
""",
    ) as server:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await server.get("/slow"))

        first = await server.pid("worker1")
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(server.noted)
            os.kill(first, signal.SIGTERM)
        assert ["whole"] == answers
        with trio.fail_after(20):
            while first == await server.pid("worker1"):
                pass


async def test_a_member_that_ends_by_itself_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Code that ends its process is a death, whatever the exit code; its message is delivered again."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.mule_message_handler
async def message(text):
    note(f"again={text.redelivered}")
    if not text.redelivered:
        os._exit(int(text))
""",
        mules=1,
    ) as server:
        for code in (0, 3):
            await trio.sleep(1)
            await server.get(f"/send_message?{code}")
            await until(lambda: "again=True" in server.said())
            server.log.unlink()
        assert 2 == server.runtime.statistics().members[1].deaths
        assert "mule1 died (it ended by itself); restarting it at once" in caplog.messages
        assert "mule1 died (exit code 3); restarting it at once" in caplog.messages


async def test_a_signal_that_waits_when_the_runtime_stops(tmp_path: Path) -> None:
    """For it a worker is started in a slot in backoff, although connections are not accepted any more."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.signal_handler(1, target="worker1")
async def handler(signum):
    note("ran")
""",
    ) as server:
        await server.get("/die")
        await until(lambda: "backing off" == server.state("worker1"))
        server.runtime.signal(1)
    assert ["ran"] == server.said()


async def test_a_fork_in_user_code_does_not_hold_up_a_death(tmp_path: Path) -> None:
    """A process that a member forked keeps its sockets open; the member's death is noticed, and it is replaced."""
    async with process_runtime(
        tmp_path,
        """
@uwsgi.mule_message_handler
async def message(text):
    pid = os.fork()
    if pid == 0:
        time.sleep(10)
        os._exit(0)
    note(pid)
""",
        mules=1,
    ) as server:
        await server.get("/send_message?x")
        await until(server.noted)
        child, _, first = server.noted()[0]
        await trio.sleep(1)
        os.kill(int(first), signal.SIGKILL)
        await until(lambda: 1 == server.runtime.statistics().members[1].deaths, 2)
        await server.get("/send_message?x")
        await until(lambda: 2 == len(server.noted()))
        for pid in (child, server.noted()[1][0]):
            os.kill(int(pid), signal.SIGKILL)


async def test_the_zygote_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its members keep serving, with their sockets and signals; another zygote is started, and forks replacements."""
    before = set(descendants(os.getpid()))
    async with process_runtime(tmp_path, EVERYBODY, workers=2, mules=1, spooler=str(tmp_path / "spool")) as server:
        pids = {await server.pid("worker1"), await server.pid("worker2")}
        (zygote,) = [pid for pid in children(os.getpid()) if pid not in before and pids & set(descendants(pid))]
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not alive(zygote))
        assert pids == {await server.pid("worker1"), await server.pid("worker2")}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: [1, 1] == [member.deaths for member in server.runtime.statistics().members[:2]])
        await until(lambda: all(pid not in (0, *pids) for pid in server.pids))
        assert not pids & {await server.pid("worker1"), await server.pid("worker2")}
        server.runtime.signal(0)
        await until(lambda: 2 == server.said().count("0"))
        assert [0, 0] == [member.deaths for member in server.runtime.statistics().members[2:]]


async def test_a_stop_without_a_zygote(tmp_path: Path) -> None:
    """When no other zygote can be started, members keep serving; a stop does not wait for vacant slots."""
    async with process_runtime(tmp_path, workers=2, mercy=30) as server:
        (zygote,) = [pid for pid in children(os.getpid()) if set(server.pids) & set(descendants(pid))]
        (tmp_path / "shop.py").write_text("1 / 0")
        os.kill(zygote, signal.SIGKILL)
        await server.pid("worker1")
        os.kill(server.pids[1], signal.SIGKILL)
        await until(lambda: "backing off" == server.state("worker2"))
        await server.pid("worker1")
        server.runtime.stop()
        with trio.fail_after(20):
            await server.runtime._tree.ended.wait()


async def test_workers_that_die_while_the_runtime_stops(tmp_path: Path) -> None:
    """The stop does not wait for their frames, and they are not replaced."""
    async with (
        process_runtime(
            tmp_path,
            """
async def never():
    note("begun")
    await trio.sleep_forever()
""",
            workers=2,
            mercy=30,
        ) as server,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            nursery.start_soon(server.get, "/never")
        await until(lambda: 2 == len(server.noted()))
        server.runtime.stop()
        await trio.sleep(0.1)
        for line in server.noted():
            if alive(int(line[2])):
                os.kill(int(line[2]), signal.SIGKILL)
        with trio.fail_after(20):
            await server.runtime._tree.ended.wait()
    assert {"ended"} == {member.state for member in server.runtime.statistics().members}
