"""The watchdog: the master kills members whose event loop is blocked, and no others."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_uwsgi
from trio_uwsgi import Config
from trio_uwsgi._process.app_name import AppReference

pytestmark = pytest.mark.real

APP = AppReference("name", f"{Path(__file__).parent}/stuck_members.py:app")
# Seconds that a machine which runs other tests at the same time may add; what is stuck here is stuck for an hour.
BUSY = 10
STUCK = {
    "sleep": ("BLOCKING(3600)",),
    "busy": ("while True:", "pass"),
    "native": ('re.match(r"(a+)+$", "a" * 60 + "b")',),
}


class Client:
    """A connection that is kept."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def get(self, path: str) -> str:
        """The status and the last line of the response; what was cut has neither."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            data = b""
            while more := await self.stream.receive_some():
                data += more
                head, found, body = data.partition(b"\r\n\r\n")
                if found and body:
                    return f"{head[9:12].decode()} {body.decode().strip()}"
        return "cut"


class World:
    """A runtime with its clients."""

    def __init__(self, runtime: trio_uwsgi.Runtime) -> None:
        self.runtime = runtime
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        """A new client."""
        self.clients.append(Client(await trio.open_tcp_stream("127.0.0.1", self.runtime.addresses[0].port)))
        return self.clients[-1]

    async def two_workers(self) -> tuple[Client, Client]:
        """Clients of two workers."""
        first = await self.connect()
        pid = await first.get("")
        while True:
            second = await self.connect()
            if await second.get("") != pid:
                return first, second

    def deaths(self, kind: str) -> list[tuple[str, int]]:
        """The members, and the number of deaths in each slot."""
        return [(m.state, m.deaths) for m in self.runtime.statistics().members if m.name.startswith(kind)]


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[World]:  # Any: of a Config
    """Run the application in processes on a free port, with a mule and a spooler for what it declares."""
    base = {"http": "127.0.0.1:0", "placement": "process", "mercy": 0.2, "mules": 1}
    with trio.fail_after(30), tempfile.TemporaryDirectory() as folder:
        config = Config(**{**base, "spooler": f"{folder}/jobs", **options})
        async with trio.open_nursery() as nursery:
            start = partial(trio_uwsgi.serve, APP, config)
            world = World(await nursery.start(lambda task_status: start(task_status=task_status)))
            try:
                yield world
            finally:
                for client in world.clients:
                    client.stream.socket.close()
            world.runtime.stop()


async def until(condition: Callable[[], object]) -> float:
    """Wait until it holds; returns the seconds."""
    began = time.monotonic()
    while not condition():  # noqa: ASYNC110 # there is no event for it
        await trio.sleep(0.01)
    return time.monotonic() - began


async def stick_one_of_two(how: str) -> float:
    """Block one of two workers; returns the seconds until it is replaced. The other one keeps serving."""
    async with served(workers=2, harakiri=1) as world:
        stuck, other = await world.two_workers()
        before = await other.get("")
        count = 0
        result: list[str] = []

        async def be_stuck() -> None:
            result.append(await stuck.get(how))

        async def go_on() -> None:
            nonlocal count
            while True:
                assert before == await other.get("")
                count += 1
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_stuck)
            nursery.start_soon(go_on)
            seconds = await until(lambda: sorted(world.deaths("worker")) == [("ready", 0), ("ready", 1)])
            nursery.cancel_scope.cancel()
        assert ["cut"] == result
        assert 20 < count
        assert [0, 1] == sorted(member.harakiri for member in world.runtime.statistics().members[:2])
    return seconds


@pytest.mark.parametrize("how", ["sleep", *(pytest.param(how, marks=pytest.mark.long) for how in ("busy", "native"))])
async def test_a_stuck_worker(how: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """It is killed and replaced soon after its deadline, and its stack is logged; the other one keeps serving."""
    assert 1 <= await stick_one_of_two(how) <= 1.5 + BUSY
    assert f"blocked by request GET /{how} for" in caplog.text
    stack = capfd.readouterr().err
    lines = (Path(__file__).parent / "stuck_members.py").read_text().splitlines()
    found = re.search(r'stuck_members.py", line (\d+) in stick', stack)
    assert found is not None
    assert lines[int(found[1]) - 1].strip() in STUCK[how]
    assert "wsgi_inline.InlineDriver.serve" in stack


async def test_a_worker_that_is_no_longer_blocked(caplog: pytest.LogCaptureFixture) -> None:
    """Code that returns while its stacks are printed is answered 504, and its worker keeps running."""
    async with served(harakiri=1) as world:
        client = await world.connect()
        before = await client.get("")
        assert "504 Gateway Timeout" == await (await world.connect()).get("late")
        await until(lambda: "worker1 is no longer blocked and keeps running" in caplog.text)
        assert before == await client.get("")
        assert [("ready", 0)] == world.deaths("worker")


async def test_nothing_is_ended_without_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    """Without a limit code may block, until it sets a deadline for itself."""
    async with served() as world:
        assert (await (await world.connect()).get("nap")).startswith("200 ")
        assert [("ready", 0)] == world.deaths("worker")
        async with trio.open_nursery() as nursery:
            nursery.start_soon((await world.connect()).get, "own")
            seconds = await until(lambda: world.deaths("worker") == [("ready", 1)])
        assert 0.5 <= seconds <= 1 + BUSY
    assert "beyond the deadline that it set for itself" in caplog.text


async def test_a_stuck_mule(capfd: pytest.CaptureFixture[str]) -> None:
    """A mule is killed by its own limit; its message is delivered again, once."""
    async with served(mules=1, mule_harakiri=1) as world:
        world.runtime.mule_msg(b"sleep")
        assert 1 <= await until(lambda: world.deaths("mule") == [("ready", 1)]) <= 1.5 + BUSY
        await until(lambda: world.deaths("mule") == [("ready", 2)])
        assert (1, 1) == (world.runtime.statistics().messages.redelivered, world.runtime.statistics().messages.lost)
        assert [("ready", 0)] == world.deaths("worker")
    assert "in handle" in capfd.readouterr().err


@pytest.mark.long
async def test_a_stuck_spooler(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A spooler is killed by its own limit, which counts as an attempt of its job."""
    async with served(spooler=str(tmp_path / "jobs"), spooler_harakiri=1) as world:
        await world.runtime.spool(ud_spool_func="work", how="busy")
        assert 1 <= await until(lambda: world.deaths("spooler") == [("ready", 1)]) <= 1.5 + BUSY
    assert "in work" in capfd.readouterr().err


async def test_a_stuck_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Its worker is replaced without downtime, and ends when its other requests are done."""
    caplog.set_level("INFO")
    async with served(threads=2, mercy=5) as world:
        results: dict[str, str] = {}

        async def ask(path: str) -> None:
            results[path] = await (await world.connect()).get(path)

        pid = await (await world.connect()).get("")
        async with trio.open_nursery() as nursery:
            for path in ("own", "nap"):
                nursery.start_soon(ask, path)
        assert {"own": "504 Gateway Timeout", "nap": pid} == results
        while pid == await (await world.connect()).get(""):  # noqa: ASYNC110  # it asks another process
            await trio.sleep(0.05)
        assert [("ready", 0)] == world.deaths("worker")
    assert "replacing worker1: 1 thread is stuck" in caplog.text


async def test_a_stopped_process_is_not_blocked() -> None:
    """A process that was stopped by a signal gets its whole limit when it continues."""
    async with served(harakiri=0.3) as world:
        client = await world.connect()
        answer = await client.get("")
        pid = int(answer.split()[1])
        os.kill(pid, signal.SIGSTOP)
        await trio.sleep(1.8)
        os.kill(pid, signal.SIGCONT)
        assert answer == await client.get("")
        await trio.sleep(0.6)
        assert [("ready", 0)] == world.deaths("worker")
