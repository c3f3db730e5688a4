"""`trio_uwsgi.testing` with members that are processes."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from typing import Any

import pytest
import trio

from tests.real.process_runtimes import children
from trio_uwsgi import Config, Registry
from trio_uwsgi._process.zygote_control import RemoteTraceback
from trio_uwsgi.errors import BootError, ConfigError
from trio_uwsgi.testing import Notes, open_runtime

CONFIG = Config(mules=1, placement="process")


def descriptors() -> list[str]:
    """The open descriptors of this process."""
    return sorted(os.listdir("/proc/self/fd"))


async def test_nothing_is_left(autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry) -> None:
    """No process, no descriptor, and the clock jumps by itself again."""
    await trio.sleep(1)
    before = descriptors(), children(os.getpid())
    async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
        await runtime.client.get("/")
        runtime.kill("mule1")
        await trio.sleep(10)
    assert before == (descriptors(), children(os.getpid()))
    assert 0 == autojump_clock.autojump_threshold


async def test_starting_and_ending_take_no_time(
    autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """The clock waits for a fork and for a death, however long they take in real time."""
    began = trio.current_time()
    async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
        await trio.sleep(5)
        runtime.kill("mule1")
        await trio.sleep(0.001)
        assert [5.0] == runtime.log.times("died", "mule1")
        assert "ready" == runtime.statistics().members[1].state  # it had run long enough to be restarted at once
    assert pytest.approx(5.001, abs=1e-5) == trio.current_time() - began


async def test_time_waits_for_threads_of_members(
    autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """The clock waits for a busy thread in any process, but not for a thread that waits for virtual time."""
    took: Notes[float] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule1")
    def work(signum: int) -> None:
        began = trio.from_thread.run_sync(trio.current_time)
        threading.Event().wait(0.05)
        took.append(trio.from_thread.run_sync(trio.current_time) - began)
        trio.from_thread.run(trio.sleep, 3600)
        took.append(trio.from_thread.run_sync(trio.current_time) - began)

    async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(4000)
    assert [0.0, 3600.0] == took


async def test_what_wakes_a_member_from_outside_is_noticed(
    autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """With nothing due anywhere, a member that is woken by a process of its own continues, and so does time."""

    read, write = os.pipe()

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def handler(signum: int) -> None:
        await trio.run_process(["sleep", "0.05"])
        await trio.sleep(60)
        os.write(write, b"!")

    began = trio.current_time()
    async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.lowlevel.wait_readable(read)
        assert 60 == round(trio.current_time() - began, 3)
    os.close(read)
    os.close(write)


async def test_a_failure_of_a_member_is_raised_here(
    autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """It is raised itself, with a note of where it was raised; if its class is local, as its traceback's text."""

    class Local(Exception):
        pass

    @uwsgi_registry.signal_handler(1)
    async def plain(signum: int) -> None:
        raise LookupError("no such thing")

    @uwsgi_registry.signal_handler(2)
    async def local(signum: int) -> None:
        raise Local("here only")

    async def run(signum: int) -> None:
        async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
            runtime.signal(signum)
            await trio.sleep(1)

    with pytest.raises(LookupError, match="no such thing") as caught:
        await run(1)
    assert "in plain" in "".join(caught.value.__notes__)
    with pytest.raises(RemoteTraceback, match="here only"):
        await run(2)


async def test_notes_are_for_the_test_to_read(autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry) -> None:
    """In a member they would be a copy without the notes of the others."""
    notes: Notes[object] = Notes()
    notes.append("before")

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        try:
            len(notes)
        except RuntimeError as error:
            notes.extend(["refused", str(error)[:9]])

    async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        notes.append("after")
    assert ["before", "refused", "Notes can", "after"] == notes
    assert "['before', 'refused', 'Notes can', 'after']" == repr(notes)


async def test_two_runtimes_have_one_time(autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry) -> None:
    """Both see each other's time pass, and one may end before the other."""
    notes: Notes[tuple[str, float]] = Notes()
    began = trio.current_time()

    def declare(registry: Registry, name: str, seconds: float) -> Registry:
        @registry.timer(seconds, target="mule1")
        async def tick(signum: int) -> None:
            notes.append((name, round(trio.current_time() - began, 3)))

        return registry

    async with open_runtime(None, CONFIG, registry=declare(uwsgi_registry, "a", 2)):
        async with open_runtime(None, CONFIG, registry=declare(Registry(), "b", 3)):
            await trio.sleep(4)
        await trio.sleep(3)
    assert [("a", 2.0), ("b", 3.0), ("a", 4.0), ("a", 6.0)] == notes


async def test_a_reload_forks_anew(autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry) -> None:
    """New members have the test's objects as of their fork, and keep no descriptors open that the test closes."""
    version = 1

    async def app(scope: Any, receive: Any, send: Any) -> None:  # whatever the specification says
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(version).encode()})

    config = Config(placement="process", lifespan="off")
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        assert "1" == (await runtime.client.get("/", headers={"connection": "close"})).text
        stream = runtime.connect()
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        version = 2
        runtime.runtime.reload()
        await trio.sleep(0.5)
        await stream.aclose()
        await trio.sleep(0.5)
        assert "2" == (await runtime.client.get("/")).text


@pytest.mark.real
async def test_on_the_systems_clock(uwsgi_registry: Registry) -> None:
    """Without a mock clock members run in real time, as the test does."""
    notes: Notes[float] = Notes()
    began = trio.current_time()

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        await trio.sleep(0.1)
        notes.append(trio.current_time() - began)

    real = time.perf_counter()
    async with open_runtime(None, CONFIG, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
    assert 0.1 <= notes[0] <= time.perf_counter() - real


async def test_a_system_that_refuses_what_processes_need(
    uwsgi_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test fails at once, with the call and the remedy; it does not wait for a member that cannot start."""

    def refused(*args: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", refused)
    with pytest.raises(
        ConfigError, match=r"the system call pidfd_open, .* run members as tasks: leave out --processes"
    ):
        async with open_runtime(None, CONFIG, registry=uwsgi_registry):
            pass


async def test_a_fork_that_is_refused(
    autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that cannot be forked has failed to start, and after three of these the test fails."""
    fork, here = os.fork, os.getpid()

    def refused() -> int:
        if os.getpid() != here:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(
        BootError, match=r"cannot start a process for \w+: the system refused fork: .* leave out --processes"
    ):
        async with open_runtime(None, CONFIG, registry=uwsgi_registry):
            pass


async def test_a_reload_that_waits_for_ever(
    autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what it waits for, and after a while the next reload cancels it."""
    caplog.set_level(logging.INFO)
    hangs = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "lifespan" == scope["type"]
        await receive()
        if hangs:
            await trio.sleep_forever()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with open_runtime(app, CONFIG, registry=uwsgi_registry) as runtime:
        hangs = True
        runtime.runtime.reload()
        await trio.sleep(9)
        runtime.runtime.reload()  # too early: it comes after the one that goes on
        await trio.sleep(2)
        hangs = False
        assert "still waiting for the members with the new code to start after 10 s" in caplog.messages
        assert not any("reloaded" in message or "gave up" in message for message in caplog.messages)
        runtime.runtime.reload()
        await trio.sleep(1)
    assert "gave up waiting for new members to start, because another reload was requested" in caplog.messages
    assert 1 == sum(message.startswith("reloaded in") for message in caplog.messages)
