"""Alarms as programs and log lines raise them."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_uwsgi
from trio_uwsgi import Config, uwsgi
from trio_uwsgi.errors import AlarmError

if TYPE_CHECKING:
    from tests.api.conftest import InMule
    from trio_uwsgi._apps.asgi_exchange import Receive, Send


async def test_an_alarm_does_what_is_configured(
    in_mule: InMule, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A log line, a signal, a message for a mule, an async and a plain function."""
    calls: list[object] = []

    async def called(message: str) -> None:
        calls.append(message)

    async def program() -> None:
        uwsgi.register_signal(7, "mule1", calls.append)
        for name in ("log", "signal", "mule", "async", "plain"):
            uwsgi.alarm(name, b"fire")
        assert b"fire" == await uwsgi.mule_get_msg(timeout=5)
        await trio.sleep(1)

    alarms = {"log": "log:hall", "signal": "signal:7", "mule": "mule:1", "async": called, "plain": calls.append}
    runtime = await in_mule(program, alarms=alarms)
    assert [7, "fire", "fire"] == sorted(calls, key=str)
    assert "ALARM: hall fire" in caplog.text
    assert (5, 0) == (runtime.statistics().alarms.raised, runtime.statistics().alarms.failed)


async def test_the_same_message_is_held_back(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Of ten alarms, one every half second, those at 0 and 3 s are raised."""
    times = []

    async def called(message: str) -> None:
        times.append(round(trio.current_time() - began, 3))

    async def program() -> None:
        for _ in range(10):
            uwsgi.alarm("a", "same")
            await trio.sleep(0.5)

    began = trio.current_time()
    runtime = await in_mule(program, alarms={"a": called})
    assert [0.0, 3.0] == times
    assert 8 == runtime.statistics().alarms.suppressed


async def test_what_cannot_be_an_alarm_is_refused(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """An unknown name, a message that is too long, and one of another type are errors."""

    async def program() -> None:
        with pytest.raises(AlarmError, match="there is no alarm 'b'; configured: 'a'"):
            uwsgi.alarm("b", "x")
        with pytest.raises(AlarmError, match="has 8193 bytes; the limit is 8192"):
            uwsgi.alarm("a", "x" * 8193)
        with pytest.raises(TypeError):
            uwsgi.alarm("a", 3)  # type: ignore[arg-type]

    await in_mule(program, alarms={"a": "log:"})


async def test_log_lines_raise_alarms_which_raise_none(
    in_mule: InMule, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The line of a log alarm, and what its function logs, match the rule and raise nothing."""
    calls = []

    def called(message: str) -> None:
        calls.append(message)
        logging.getLogger("app").error("panic about the panic")

    async def program() -> None:
        logging.getLogger("app").error("a %s", "panic")
        await trio.to_thread.run_sync(logging.getLogger("app").error, "a panic in a thread")
        await trio.sleep(60)

    runtime = await in_mule(program, alarms={"a": "log:", "b": called}, alarm_log=["a,b panic"])
    assert ["a panic", "a panic in a thread"] == sorted(calls)  # alarms are done side by side
    assert 4 == runtime.statistics().alarms.raised
    assert not [handler for handler in logging.getLogger().handlers if "LogHandler" in type(handler).__name__]


async def test_a_failing_alarm_is_logged_and_counted(
    in_mule: InMule, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that raises, a mule whose queue is full."""

    async def broken(message: str) -> None:
        raise RuntimeError("no")

    async def program() -> None:
        uwsgi.alarm("a", "x")
        uwsgi.alarm("b", "x")
        uwsgi.alarm("b", "y")
        await trio.sleep(1)

    runtime = await in_mule(program, alarms={"a": broken, "b": "mule:1"}, message_queue=1, allow_failures=True)
    assert 2 == runtime.statistics().alarms.failed
    assert "alarm b failed" in caplog.text


async def test_a_late_log_line_raises_no_further_alarm(
    in_mule: InMule, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A matching line that is logged during the last alarms is reported once, and that report raises no alarm."""

    async def slow(message: str) -> None:
        await trio.sleep(10)

    async def log_later() -> None:
        await trio.sleep(5)
        logging.getLogger("app").error("panic at the end")

    async def program() -> None:
        uwsgi.alarm("a", "x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_later)
        runtime = await in_mule(program, alarms={"a": slow}, alarm_log=["a panic"])
    assert 1 == caplog.text.count("because it was raised after the runtime's end")
    assert (1, 1) == (runtime.statistics().alarms.raised, runtime.statistics().alarms.dropped)


async def test_alarms_that_the_mercy_cuts_off_are_counted(
    in_mule: InMule, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight run at once; the log says how many waited when the time was up."""

    async def endless(message: str) -> None:
        await trio.sleep_forever()

    async def program() -> None:
        for number in range(10):
            uwsgi.alarm("a", str(number))
        await trio.sleep(1)

    runtime = await in_mule(program, alarms={"a": endless}, mercy=5)
    assert (8, 2) == (runtime.statistics().alarms.raised, runtime.statistics().alarms.dropped)
    assert "alarms that were dropped at the end of the runtime: 2" in caplog.text


@pytest.mark.real
async def test_an_invalid_address_fails_only_its_alarm(in_mule: InMule, caplog: pytest.LogCaptureFixture) -> None:
    """The alarm fails, and the runtime continues."""

    async def program() -> None:
        uwsgi.alarm("a", "x")

    runtime = await in_mule(program, alarms={"a": "curl:http://[::x/"})
    assert 1 == runtime.statistics().alarms.failed


@pytest.mark.real
async def test_commands_and_posts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A command gets the message on its standard input; an address gets it by POST; their failures are logged."""
    bodies = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 500 if scope["path"] == "/bad" else 200})
        await send({"type": "http.response.body"})

    registry = trio_uwsgi.Registry()
    done = trio.Event()

    @registry.mule(1)
    async def ring() -> None:
        for name in ("cmd", "false", "post", "bad"):
            uwsgi.alarm(name, "fire")
        done.set()

    async with trio.open_nursery() as nursery:
        web = await nursery.start(trio_uwsgi.serve, app, Config(http="127.0.0.1:0"))
        url = f"http://{web.addresses[0]}"
        alarms = {
            "cmd": f"cmd:cat > {tmp_path}/out",
            "false": "cmd:echo wrong; exit 3",
            "post": f"curl:{url}/ok",
            "bad": f"curl:{url}/bad",
        }
        config = Config(http=(), mules=1, alarms=alarms)
        runtime = await nursery.start(
            lambda task_status: trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)
        )
        await done.wait()
        runtime.stop()  # what was raised before is done before the end
        await runtime._tree.ended.wait()
        web.stop()
    assert "fire" == (tmp_path / "out").read_text()
    assert [b"fire", b"fire"] == bodies
    assert 2 == runtime.statistics().alarms.failed
    assert "exited with 3: wrong" in caplog.text
    assert "/bad answered 500" in caplog.text


async def no_app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    raise NotImplementedError


async def test_an_alarms_function_raises_no_alarm(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Neither itself, which would never end, nor another one; from a task or a thread."""
    refused: list[str] = []

    async def again(message: str) -> None:
        with pytest.raises(AlarmError) as caught:
            uwsgi.alarm("a", message + "!")
        refused.append(str(caught.value))

    def other(message: str) -> None:
        with pytest.raises(AlarmError) as caught:
            uwsgi.alarm("a", message)
        refused.append(str(caught.value))

    async def program() -> None:
        uwsgi.alarm("a", "x")
        uwsgi.alarm("b", "x")
        await trio.sleep(60)

    runtime = await in_mule(program, alarms={"a": again, "b": other})
    said = "alarm 'a' was raised by what runs for alarm '{}'; log a message instead, or let one alarm do both"
    assert [said.format("a"), said.format("b")] == sorted(refused)
    assert (2, 0) == (runtime.statistics().alarms.raised, runtime.statistics().alarms.failed)


async def test_a_message_that_is_not_utf_8(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """It may contain a file name, as may a log line: the alarm is raised, with replacements for the bytes."""

    async def program() -> None:
        uwsgi.alarm("a", "\udcff is full")
        assert b"? is full" == await uwsgi.mule_get_msg(timeout=5)
        logging.getLogger("app").error("panic about %s", "\udcff")
        assert b"panic about ?" == await uwsgi.mule_get_msg(timeout=5)

    runtime = await in_mule(program, alarms={"a": "mule:1"}, alarm_log=["a panic"])
    assert 0 == runtime.statistics().alarms.failed


@pytest.mark.real
async def test_a_command_that_leaves_a_process_running(
    in_mule: InMule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The alarm is done when the command has ended and its output was read."""
    done = str(tmp_path / "done")

    async def program() -> None:
        uwsgi.alarm("a", "fire")

    began = time.monotonic()
    command = f"cmd:sleep 5 & cat > {done}; echo burnt; exit 3"
    runtime = await in_mule(program, alarms={"a": command})
    assert time.monotonic() - began < 4
    assert "fire" == Path(done).read_text()
    assert "exited with 3: burnt" in caplog.text
    assert 1 == runtime.statistics().alarms.failed
