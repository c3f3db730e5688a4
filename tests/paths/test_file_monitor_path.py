"""File monitors, from `add_file_monitor` to the handler, on mock time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import RegistrationError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

pytestmark = all_placements


async def test_a_file_that_comes_changes_and_goes(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Declared before it exists, the handler runs in its target for each change."""
    monkeypatch.setattr(uwsgi, "registry", uwsgi_registry)
    path = tmp_path / "prices"
    seen: Notes[str] = Notes()

    @uwsgi.filemon(path, target="mule1")
    async def read(signum: int) -> None:
        seen.append(path.read_text() if path.exists() else "none")

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(2)
        path.write_text("1")
        await trio.sleep(2)
        (tmp_path / "new").write_text("2")
        (tmp_path / "new").replace(path)
        await trio.sleep(2)
        path.unlink()
        await trio.sleep(2)
        assert ["1", "2", "none"] == seen
        assert [2.0, 4.0, 6.0] == runtime.log.times(f"signal {read.signum}", "mule1")


async def test_a_slow_handler_sees_the_last_change(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """However many changes there are during a run, one more follows it, and no two are at once in two workers."""
    path = tmp_path / "a"
    seen: Notes[str] = Notes()

    @uwsgi_registry.signal_handler(17)
    async def read(signum: int) -> None:
        seen.append(path.read_text())
        await trio.sleep(5)

    uwsgi_registry.add_file_monitor(17, str(path))
    async with open_runtime(None, Config(workers=2, placement=placement), registry=uwsgi_registry) as runtime:
        for number in range(4):
            path.write_text(str(number))
            await trio.sleep(1)
        await trio.sleep(20)
        assert ["0", "3"] == seen
        assert [0.0, 5.0] == runtime.log.times("signal 17")


async def test_monitors_that_members_add(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """Each of two workers adds the same one, and a handler in a thread another; each change is one signal."""
    path = tmp_path / "a"

    @uwsgi_registry.signal_handler(1, target="workers")
    async def add(signum: int) -> None:
        uwsgi.add_file_monitor(3, path)

    @uwsgi_registry.signal_handler(2)
    def add_in_a_thread(signum: int) -> None:
        uwsgi.add_file_monitor(4, path)
        with pytest.raises(RegistrationError):
            uwsgi.add_file_monitor(4, 7)  # type: ignore[arg-type]

    @uwsgi_registry.signal_handler(3)
    @uwsgi_registry.signal_handler(4)
    async def changed(signum: int) -> None: ...

    config = Config(workers=2, threads=1, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(1)
        path.write_text("x")
        await trio.sleep(1)
        assert (1, 1) == (runtime.log.count("signal 3"), runtime.log.count("signal 4"))


async def test_a_full_queue_drops_a_change(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, and the next change is noticed again."""
    path = tmp_path / "a"
    uwsgi_registry.add_file_monitor(2, str(path))

    @uwsgi_registry.signal_handler(1)
    async def block(signum: int) -> None:
        await trio.sleep(10)

    @uwsgi_registry.signal_handler(2)
    async def changed(signum: int) -> None: ...

    async with open_runtime(None, Config(signal_queue=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        runtime.signal(1)
        path.write_text("x")
        await trio.sleep(1)
        assert "dropped a signal of a file monitor: signal 2 was not raised" in caplog.text
        await trio.sleep(30)
        path.write_text("y")
        await trio.sleep(1)
        assert 1 == runtime.log.count("signal 2")
