"""Members as processes: what the API does over them, and what becomes of it when they are killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tests.real.process_house import living, until

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
        house.runtime.signal(9)
        await until(lambda: 4 == len(house.noted()))
        assert 3 == house.runtime.statistics().signals.delivered


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
        assert (0, 0, 0, 0, 0) == (spool.waiting, spool.delayed, spool.running, spool.failed, spool.dead)
