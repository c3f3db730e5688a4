"""Processes, the log, the clock, time limits and alarms of the module `uwsgi`."""

from __future__ import annotations

import logging
import os
import time

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.testing import Notes, open_runtime


@all_modes
async def test_who_runs_the_code(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Numbers of members are 0 where the code runs in another kind of member, and True or None says which."""
    config = config_in(mode, mules=1)
    uwsgi = enter(config)
    in_mule: Notes[object] = Notes()

    def who() -> object:
        return uwsgi.worker_id(), uwsgi.mule_id(), uwsgi.i_am_the_spooler(), uwsgi.ready(), uwsgi.masterpid()

    uwsgi.register_signal(1, "mule", lambda signum: in_mule.append(who()))
    assert (0, 0, None, None, os.getpid()) == who()
    async with open_runtime(asking(who=who), config) as runtime:
        assert f"(1, 0, None, True, {os.getpid()})" == await get(runtime, "who")
        runtime.signal(1)
        await trio.sleep(1)
    assert [(0, 1, None, True, os.getpid())] == in_mule


async def test_small_answers(
    enter: Enter, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log, the memory and the clock."""
    uwsgi = enter(Config(alarms={"a": "log:alarm:"}))
    caplog.set_level(logging.INFO)
    assert True is uwsgi.log("a line: %s")
    assert "a line: %s" in caplog.text
    with pytest.raises(TypeError):
        uwsgi.log(b"bytes")
    assert 0 == uwsgi.logsize()
    resident, size = uwsgi.mem()
    assert 0 < resident < size
    assert abs(time.time() * 1e6 - uwsgi.micros()) < 60e6
    assert None is uwsgi.setprocname("pytest")
    with pytest.raises(TypeError):
        uwsgi.setprocname(b"pytest")
    config = Config(alarms={"a": "log:alarm:"})
    app = asking(
        alarm=lambda: uwsgi.alarm("a", bytearray(b"disk")),
        unknown=lambda: uwsgi.alarm("b", "disk"),
        name=lambda: uwsgi.alarm(b"a", "disk"),
        reload=lambda: uwsgi.reload(),
    )
    async with open_runtime(app, config) as runtime:
        assert "None" == await get(runtime, "alarm")
        assert (await get(runtime, "unknown")).startswith("AlarmError: ")
        assert (await get(runtime, "name")).startswith("TypeError: ")
        assert (await get(runtime, "reload")).startswith("NotServing: ")
        await trio.sleep(1)
        assert 1 == runtime.log.count("alarm a")


async def test_a_time_limit(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`set_user_harakiri` ends the request that is too slow, and 0 clears it."""
    uwsgi = enter(Config())

    def slow(clear: bool) -> object:
        uwsgi.set_user_harakiri(2)
        if clear:
            uwsgi.set_user_harakiri(0)
        uwsgi.async_sleep(5)
        return uwsgi.suspend()

    app = asking(slow=lambda: slow(False), cleared=lambda: slow(True), float=lambda: uwsgi.set_user_harakiri(0.5))
    async with open_runtime(app, Config(), allow_failures=True) as runtime:
        assert 504 == (await runtime.client.get("/slow")).status_code
        assert "True" == await get(runtime, "cleared")
        assert (await get(runtime, "float")).startswith("TypeError: ")
