"""Mules that run scripts, which block on messages as in uWSGI."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in
from trio_uwsgi import Config
from trio_uwsgi import uwsgi as native
from trio_uwsgi.errors import BootError, ConfigError, RegistrationError
from trio_uwsgi.testing import open_runtime

LOOP = """
import sys
import uwsgi
if __name__ == "__main__":
    assert sys.modules["__main__"].__dict__ is not globals()
    while True:
        message = uwsgi.mule_get_msg()
        with open(__file__ + ".out", "a") as out:
            out.write(f"{uwsgi.mule_id()} {message.decode()}\\n")
        if message == b"hang":
            uwsgi.async_sleep(100)
            uwsgi.suspend()
        if message == b"fail":
            raise ValueError("in the script")
        if message == b"exit":
            sys.exit(0)
"""


@all_modes
async def test_a_blocking_loop(
    mode: Mode, enter: Enter, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Each script has its own mule, one that is given twice too; a mule after them handles messages."""
    script = tmp_path / "brain.py"
    script.write_text(LOOP)
    out = tmp_path / "brain.py.out"
    config = config_in(mode, mule=[str(script), str(script)], mules=1)
    assert 3 == config.mule_pool.max
    uwsgi = enter(config)

    def hook(message: bytes) -> None:
        with out.open("a") as file:
            file.write(f"hook {message.decode()}\n")

    uwsgi.mule_msg_hook = hook
    async with open_runtime(asking(), config) as runtime:
        for mule in (1, 2, 3):
            runtime.mule_msg(b"first", mule)
        await trio.sleep(1)
        runtime.mule_msg(b"second", 1)
        await trio.sleep(1)
        if mode.get("placement") == "process":
            runtime.kill("mule1")
            await trio.sleep(5)
            runtime.mule_msg(b"third", 1)
            await trio.sleep(1)
    lines = sorted(out.read_text().splitlines())
    expected = ["1 first", "1 second", "2 first", "hook first"]
    assert sorted([*expected, *(["1 third"] if mode.get("placement") == "process" else [])]) == lines


@all_modes
async def test_how_scripts_end(
    mode: Mode, enter: Enter, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A message that takes too long ends the script, as an exception does, and it is run again; `sys.exit` ends it."""
    script = tmp_path / "brain.py"
    script.write_text(LOOP)
    config = config_in(mode, mule=str(script), mule_harakiri=3)
    enter(config)
    async with open_runtime(asking(), config, allow_failures=True) as runtime:
        await trio.sleep(10)  # longer than the limit: waiting for a message is not limited
        for message in ("hang", "one", "fail", "two", "exit", "three"):
            runtime.mule_msg(message, 1)
        await trio.sleep(60)
        statistics = {member.name: member for member in runtime.statistics().members}["mule1"]
        assert 1 == statistics.harakiri
        assert 0 == statistics.deaths
    assert ["1 hang", "1 one", "1 fail", "1 two", "1 exit"] == (tmp_path / "brain.py.out").read_text().splitlines()


async def test_a_function_by_its_name(
    enter: Enter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """`module:function` is imported and called; `sys.exit` with a failure is one."""
    source = "import sys\nruns = []\ndef work():\n    runs.append(1)\n    sys.exit(3)\n"
    (tmp_path / "named_script.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    config = Config(mule="named_script:work")
    enter(config)
    async with open_runtime(asking(), config, allow_failures=True) as runtime:
        await trio.sleep(1.5)
        assert any("the script named_script:work exited with 3" in event.what for event in runtime.log)
    import named_script  # type: ignore[import-not-found]

    assert len(named_script.runs) > 1


async def test_what_is_refused(enter: Enter, tmp_path: Path) -> None:
    """A file that is not there, a second program for the same mule, and values that are no scripts."""
    enter(Config())
    with pytest.raises(BootError, match=r"there is no script .*/missing\.py; write --mule FILE"):
        async with open_runtime(asking(), Config(mule="missing.py")):
            raise AssertionError("it starts")
    (tmp_path / "brain.py").write_text("")
    native.registry.mule(1)(lambda: None)
    with pytest.raises(RegistrationError, match="use mule 2 or a higher one"):
        async with open_runtime(asking(), Config(mule=str(tmp_path / "brain.py"))):
            raise AssertionError("it starts")
    for value in (7, [""], {"a": 1}):
        with pytest.raises(ConfigError, match="is not a script"):
            Config(mule=value)  # type: ignore[arg-type]
