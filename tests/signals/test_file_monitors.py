"""The file monitors of a runtime, with real files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi._signals.file_monitors import FileMonitors, monitored_path

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


class Raised:
    """File monitors, and what they raised."""

    def __init__(self) -> None:
        self.monitors = FileMonitors()
        self.monitors.raise_change = self.raise_change
        self.found: list[int] = []

    def raise_change(self, monitor: FileMonitor) -> None:
        """Run at once."""
        self.found.append(monitor.signum)
        monitor.begun()
        self.monitors.ended(monitor, True)

    async def after(self, change: object) -> list[int]:
        """The signals that were raised for a change that was just made."""
        await trio.sleep(1.5)
        found, self.found = self.found, []
        return found


@pytest.fixture
async def raised(nursery: trio.Nursery) -> Raised:
    """Some that run until the test ends."""
    made = Raised()
    nursery.start_soon(made.monitors.run)
    return made


async def test_each_path_and_signal_once(raised: Raised, tmp_path: Path, autojump_clock: MockClock) -> None:
    """Two signals of one path are both raised, for each change once, however often they were added."""
    path = tmp_path / "a"
    for signum in (1, 2, 1):
        raised.monitors.add(FileMonitor(signum, str(path)))
    assert [1, 2] == await raised.after(path.write_text("x"))
    assert [1, 2] == await raised.after(path.write_text("y"))


async def test_newer_declarations(raised: Raised, tmp_path: Path, autojump_clock: MockClock) -> None:
    """Monitors that they lack end, also one of two of a path; the others go on, and a change meanwhile is noticed."""
    one, two = tmp_path / "one", tmp_path / "two"
    for monitor in (FileMonitor(1, str(one)), FileMonitor(2, str(one)), FileMonitor(3, str(two))):
        raised.monitors.add(monitor)
    one.write_text("x")
    raised.monitors.keep([FileMonitor(2, str(one))])
    assert [2] == await raised.after(two.write_text("x"))
    raised.monitors.keep([])
    assert [] == await raised.after(one.write_text("y"))


async def test_changes_during_a_run(raised: Raised, tmp_path: Path, autojump_clock: MockClock) -> None:
    """They have one more run, when it has ended."""
    path = tmp_path / "a"
    monitor = FileMonitor(1, str(path))
    raised.monitors.add(monitor)
    raised.monitors.raise_change = lambda changed: raised.found.append(changed.signum)
    assert [1] == await raised.after(path.write_text("x"))
    monitor.begun()
    assert [] == await raised.after(path.write_text("y"))
    raised.monitors.ended(monitor, True)
    assert [1] == await raised.after(None)
    monitor.begun()
    raised.monitors.ended(monitor, True)
    assert [] == await raised.after(None)


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path, or a path object, becomes an absolute one; what is none stays what it is."""
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "a") == monitored_path("a") == monitored_path(tmp_path / "b" / ".." / "a")
    assert ["", 7, None] == [monitored_path(path) for path in ("", 7, None)]  # type: ignore[arg-type]
