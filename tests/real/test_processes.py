"""Members as processes: what the API does over them, and what becomes of it when they are killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tests.real.process_house import House, alive, children, descendants, living, until
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
    """Workers, mules and spoolers answer from processes of their own, which know the master's."""
    async with living(
        tmp_path,
        EVERYBODY
        + """
async def pids():
    return [uwsgi.masterpid(), *uwsgi.spooler_pids()]
""",
        workers=2,
        mules=2,
        spooler=str(tmp_path / "spool"),
    ) as house:
        pids = {await house.pid("worker1"), await house.pid("worker2")}
        for mule in (1, 2):
            await house.get(f"/send_message?m{mule}&{mule}")
        await house.get("/queue?job")
        await until(lambda: 3 == len(house.noted()))
        assert [["job", "spooler"], ["m1", "mule1"], ["m2", "mule2"]] == sorted(line[:2] for line in house.noted())
        pids |= {int(line[2]) for line in house.noted()}
        assert 5 == len(pids - {os.getpid()})
        spooler = next(int(line[2]) for line in house.noted() if line[1] == "spooler")
        assert f"[{os.getpid()}, {spooler}]" == await house.get("/pids")


async def test_signals_find_their_members(tmp_path: Path) -> None:
    """Whoever raises a signal, a worker or the embedder, the target's members run it."""
    options = {"workers": 2, "mules": 2, "spooler": str(tmp_path / "spool")}
    async with living(tmp_path, EVERYBODY, **options) as house:
        for number in range(8):
            await house.get(f"/send_signal?{number}")
            house.runtime.signal(number)
        await until(lambda: 20 == len(house.noted()))
        ran = [tuple(line[:2]) for line in house.noted()]
        for member in ("worker1", "worker2"):
            assert 2 == ran.count(("0", member))
        assert 2 == ran.count(("1", "worker2"))
        for member in ("mule1", "mule2"):
            assert 2 == ran.count(("2", member))
        assert 2 == ran.count(("3", "mule1"))
        assert 2 == ran.count(("4", "spooler"))
        assert [2, 2, 2] == [sum(signum == number for signum, _ in ran) for number in "567"]
        await until(lambda: 20 == house.runtime.statistics().signals.delivered)
        assert 16 == house.runtime.statistics().signals.raised


async def test_timers_tick_from_the_start_and_from_later(tmp_path: Path) -> None:
    """Those that the application declares, and those that a member adds and cancels, end in the target's process."""
    async with living(
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
    ) as house:
        (tmp_path / "who").write_text(await house.get("/begin"))
        await until(lambda: house.said().count("late") > 2 and house.said().count("early") > 2)
        assert {("early", "mule1"), ("late", "worker2")} == {tuple(line[:2]) for line in house.noted()}
        while "cancelled" != await house.get("/end"):
            pass
        await trio.sleep(0.1)
        late = house.said().count("late")
        await trio.sleep(0.2)
        assert late == house.said().count("late")


async def test_a_signal_that_is_registered_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A member that registers one runs it; one that did not reports it, and serves on."""
    async with living(
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
    ) as house:
        await house.get("/send_message?x")
        await until(house.noted)
        house.runtime.signal(9)
        await until(lambda: 2 == len(house.noted()))
        assert [["registered", "mule1"], ["9", "mule1"]] == [line[:2] for line in house.noted()]
        os.kill(int(house.noted()[0][2]), signal.SIGKILL)
        await until(lambda: "ready" != house.state("mule1"))
        house.runtime.signal(9)  # for the next mule 1, which has not registered it
        await until(lambda: 2 == house.runtime.statistics().signals.delivered)
        await house.get("/send_message?x")
        await until(lambda: 3 == len(house.noted()))  # signals do not wait for messages
        house.runtime.signal(9)
        await until(lambda: 4 == len(house.noted()))
        await until(lambda: 3 == house.runtime.statistics().signals.delivered)  # the master hears of it later


async def test_a_message_that_kills_comes_again(tmp_path: Path) -> None:
    """Once, marked, before what waits behind it; and each of those comes once."""
    async with living(tmp_path, EVERYBODY, workers=2, mules=1, spooler=str(tmp_path / "spool")) as house:
        for text in ("a", "deadly", "b"):
            await house.get(f"/send_message?{text}")
        await until(lambda: "b" in house.said())
        assert ["a", "deadly", "again=False", "deadly", "again=True", "b"] == house.said()
        messages = house.runtime.statistics().messages
        assert (3, 1, 0) == (messages.queued, messages.redelivered, messages.lost)


async def test_a_job_whose_spooler_is_killed(tmp_path: Path) -> None:
    """It counts as a failed try, and is tried again by the next one."""
    async with living(
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
    ) as house:
        await house.get("/queue")
        await until(lambda: 2 == len(house.noted()))
        assert ["try1", "try2"] == house.said()
        await until(lambda: [] == list((tmp_path / "spool").glob("uwsgi_spoolfile*")))
        await until(lambda: 1 == house.runtime.statistics().spools[0].done)
        spool = house.runtime.statistics().spools[0]
        assert (0, 0, 0, 1, 0) == (spool.waiting, spool.delayed, spool.running, spool.failed, spool.dead)


async def test_what_is_counted_stays(tmp_path: Path) -> None:
    """Members' counts go on over deaths, those of clients begin anew, and a directory's are those of its spoolers."""
    async with living(
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
    ) as house:
        for name in ("good", "bad", "good"):
            await house.get(f"/queue?{name}")
        statistics = house.runtime.statistics
        await until(
            lambda: (2, 1, 0, 0) == (lambda s: (s.done, s.failed, s.waiting, s.running))(statistics().spools[0])
        )
        await until(lambda: 3 == statistics().members[0].done and 3 == statistics().http[0].requests)
        await trio.sleep(1)  # for the next one to come at once
        assert "" == await house.get("/die")
        pid = await house.pid("worker1")
        await until(lambda: 4 == statistics().members[0].done)
        # The three before, and the one after; of the deadly one perhaps nobody was told.
        await until(lambda: 4 <= statistics().http[0].requests <= 5 and 0 == statistics().http[0].open)
        assert 4 <= statistics().http[0].connections <= 5
        assert "worker1" == statistics().http[0].name
        assert (1, "ready") == (statistics().members[0].deaths, statistics().members[0].state)
        assert pid != os.getpid()


async def test_cheap_spoolers_come_for_jobs_of_others(tmp_path: Path) -> None:
    """As many as there are jobs that other processes have queued, at once, as far as there may be."""
    async with living(
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
    ) as house:
        assert ["vacant"] * 3 == [house.state(f"spooler{number}") for number in (1, 2, 3)]
        await house.get("/queue?first&second")
        await until(lambda: {"first", "second"} == set(house.said()))
        assert "vacant" == house.state("spooler3")
        await house.get("/queue?last")
        await until(lambda: "last" in house.said())
        assert 3 == len({pid for _, _, pid in house.noted()})


async def test_the_spoolers_frequency_is_that_of_all(tmp_path: Path) -> None:
    """Whichever process says how often they look, the spooler does, and the one after it."""
    async with living(
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
    ) as house:
        await until(lambda: house.said())
        await house.get("/change?7.5")
        await until(lambda: "7.5" == house.said()[-1])
        pid = house.noted()[-1][2]
        os.kill(int(pid), signal.SIGKILL)
        await until(lambda: ["7.5"] == [line[0] for line in house.noted() if line[2] != pid][-1:])
        assert 7.5 == house.runtime._tree.member_factory.services.spools.all[0].frequency


# ----- what all share, under kill -9


async def kill_now_and_then(house: House, kills: int) -> None:
    """Kill the two workers in turn, each when it had time to work."""
    for kill in range(kills):
        await trio.sleep(0.4)
        pid = house.pids[kill % 2]
        if pid:
            os.kill(pid, signal.SIGKILL)


async def test_no_acknowledged_increment_is_lost(tmp_path: Path) -> None:
    """Two workers count in one cache while they are killed: it has what clients were told, and what they could not be
    told at most beyond that.
    """
    async with living(
        tmp_path,
        """
async def count():
    return await uwsgi.cache_inc("n")

async def total():
    return await uwsgi.cache_num("n")
""",
        workers=2,
        caches=[Cache("default", items=10)],
    ) as house:
        acknowledged: list[int] = []
        unknown = 0
        over = False

        async def client() -> None:
            nonlocal unknown
            while not over:
                answer = await house.get("/count")
                if answer:
                    acknowledged.append(int(answer))
                else:
                    unknown += 1

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(client)
            await kill_now_and_then(house, 6)
            over = True
        total = int(await house.get("/total"))
        assert len(acknowledged) == len(set(acknowledged))
        assert len(acknowledged) <= total <= len(acknowledged) + unknown
        assert sum(member.deaths for member in house.runtime.statistics().members) >= 3


async def test_a_file_under_a_lock(tmp_path: Path) -> None:
    """Two workers read, change and write a file under a lock while holders are killed: nothing is lost or done twice,
    and nobody waits for the dead.
    """
    async with living(
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
    ) as house:
        (tmp_path / "number").write_text("0")
        acknowledged: list[int] = []
        unknown = 0
        over = False

        async def client() -> None:
            nonlocal unknown
            while not over:
                answer = await house.get("/count")
                if answer:
                    acknowledged.append(int(answer))
                else:
                    unknown += 1

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(client)
            await kill_now_and_then(house, 6)
            over = True
        total = int((tmp_path / "number").read_text())
        assert len(acknowledged) == len(set(acknowledged))
        assert len(acknowledged) <= total <= len(acknowledged) + unknown
        assert len(acknowledged) > 20


async def test_the_lock_of_a_dead_member_goes_to_the_next(tmp_path: Path) -> None:
    """Who waits gets it when the holder's process ends, and everybody sees whether it is held."""
    async with living(
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
    ) as house:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.get, "/hold")
            await until(house.noted)
            await house.get("/send_message?x")
            await until(lambda: "waits" in house.said())
            assert "True" == await house.get("/locked")
            os.kill(int(house.noted()[0][2]), signal.SIGKILL)
            await until(lambda: "done" in house.said(), 1)
        assert ["held", "waits", "has", "done"] == house.said()
        await house.pid("worker1")
        assert "False" == await house.get("/locked")


# ----- ends of members


async def test_descriptors_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After thirty kills the master has as many descriptors and children as before."""
    async with living(tmp_path) as house:
        await until(lambda: house.pids[0])
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(supervisor, "MEMBER_STARTED_AFTER", 0.0)  # no pauses, for a short test
        for _ in range(30):
            (pid,) = house.pids
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: house.pids[0] not in (0, pid))  # type: ignore[misc]  # inferred from its default
        await house.pid("worker1")
        await until(lambda: before == len(os.listdir("/proc/self/fd")))
        assert 30 == house.runtime.statistics().members[0].deaths


async def test_sigterm_lets_a_member_end_what_it_runs(tmp_path: Path) -> None:
    """A worker that is sent SIGTERM finishes its request and leaves; another one follows at once."""
    async with living(
        tmp_path,
        """
async def slow():
    note("begun")
    await trio.sleep(0.5)
    return "whole"
""",
    ) as house:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await house.get("/slow"))

        first = await house.pid("worker1")
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(house.noted)
            os.kill(first, signal.SIGTERM)
        assert ["whole"] == answers
        assert first != await house.pid("worker1")


async def test_one_that_leaves_by_itself_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Code that ends its process is a death like any other, whatever its exit code; its message comes again."""
    async with living(
        tmp_path,
        """
@uwsgi.mule_message_handler
async def message(text):
    note(f"again={text.redelivered}")
    if not text.redelivered:
        os._exit(int(text))
""",
        mules=1,
    ) as house:
        for code in (0, 3):
            await trio.sleep(1)
            await house.get(f"/send_message?{code}")
            await until(lambda: "again=True" in house.said())
            house.log.unlink()
        assert 2 == house.runtime.statistics().members[1].deaths
        assert "mule1 died (it left by itself); restarting it at once" in caplog.messages
        assert "mule1 died (exit code 3); restarting it at once" in caplog.messages


async def test_a_signal_that_waits_when_the_runtime_stops(tmp_path: Path) -> None:
    """A seat that rests gets one more worker for it, though nobody listens any more."""
    async with living(
        tmp_path,
        """
@uwsgi.signal_handler(1, target="worker1")
async def handler(signum):
    note("ran")
""",
    ) as house:
        await house.get("/die")
        await until(lambda: "backing off" == house.state("worker1"))
        house.runtime.signal(1)
    assert ["ran"] == house.said()


async def test_a_fork_in_user_code_does_not_hold_up_a_death(tmp_path: Path) -> None:
    """A process that a member forked keeps its sockets; that member's death is seen, and followed, all the same."""
    async with living(
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
    ) as house:
        await house.get("/send_message?x")
        await until(house.noted)
        child, _, first = house.noted()[0]
        await trio.sleep(1)
        os.kill(int(first), signal.SIGKILL)
        await until(lambda: 1 == house.runtime.statistics().members[1].deaths, 2)
        await house.get("/send_message?x")
        await until(lambda: 2 == len(house.noted()))
        for pid in (child, house.noted()[1][0]):
            os.kill(int(pid), signal.SIGKILL)


async def test_the_zygote_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its members serve on, with their sockets and signals; another one is started, and has their followers."""
    before = set(descendants(os.getpid()))
    async with living(tmp_path, EVERYBODY, workers=2, mules=1, spooler=str(tmp_path / "spool")) as house:
        pids = {await house.pid("worker1"), await house.pid("worker2")}
        (zygote,) = [pid for pid in children(os.getpid()) if pid not in before and pids & set(descendants(pid))]
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: not alive(zygote))
        assert pids == {await house.pid("worker1"), await house.pid("worker2")}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: [1, 1] == [member.deaths for member in house.runtime.statistics().members[:2]])
        await until(lambda: all(pid not in (0, *pids) for pid in house.pids))
        assert not pids & {await house.pid("worker1"), await house.pid("worker2")}
        house.runtime.signal(0)
        await until(lambda: 2 == house.said().count("0"))
        assert [0, 0] == [member.deaths for member in house.runtime.statistics().members[2:]]


async def test_a_stop_without_a_zygote(tmp_path: Path) -> None:
    """When no other one can be started, members serve on; the stop does not wait for those who cannot be born."""
    async with living(tmp_path, workers=2, mercy=30) as house:
        (zygote,) = [pid for pid in children(os.getpid()) if set(house.pids) & set(descendants(pid))]
        (tmp_path / "shop.py").write_text("1 / 0")
        os.kill(zygote, signal.SIGKILL)
        await house.pid("worker1")
        os.kill(house.pids[1], signal.SIGKILL)
        await until(lambda: "backing off" == house.state("worker2"))
        await house.pid("worker1")
        house.runtime.stop()
        with trio.fail_after(8):
            await house.runtime._tree.ended.wait()


async def test_workers_that_die_while_the_runtime_stops(tmp_path: Path) -> None:
    """The stop does not wait for what they would have said, and nobody follows them."""
    async with (
        living(
            tmp_path,
            """
async def never():
    note("begun")
    await trio.sleep_forever()
""",
            workers=2,
            mercy=30,
        ) as house,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            nursery.start_soon(house.get, "/never")
        await until(lambda: 2 == len(house.noted()))
        house.runtime.stop()
        await trio.sleep(0.1)
        for line in house.noted():
            if alive(int(line[2])):
                os.kill(int(line[2]), signal.SIGKILL)
        with trio.fail_after(3):
            await house.runtime._tree.ended.wait()
    assert {"ended"} == {member.state for member in house.runtime.statistics().members}
