"""What happens to a change while the handler runs for an earlier one."""

from __future__ import annotations

import pytest

from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi.errors import RegistrationError

pytestmark = pytest.mark.pure


def test_changes_before_a_run_have_one_run() -> None:
    """The signal is raised for the first of them; after the run, the next change raises it again."""
    monitor = FileMonitor(17, "/x")
    assert [True, False, False] == [monitor.changed() for _ in range(3)]
    monitor.begun()
    assert not monitor.ended()
    assert monitor.changed()


def test_changes_during_a_run_have_one_more() -> None:
    """It is raised when the run has ended, once."""
    monitor = FileMonitor(17, "/x")
    monitor.changed()
    monitor.begun()
    assert [False, False] == [monitor.changed() for _ in range(2)]
    assert monitor.ended()
    assert not monitor.changed()
    monitor.begun()
    assert not monitor.ended()


def test_a_signal_that_was_refused() -> None:
    """The next change raises it again."""
    monitor = FileMonitor(17, "/x")
    monitor.changed()
    assert not monitor.ended()
    assert monitor.changed()


def test_the_look_of_a_monitor() -> None:
    """It has the signal and the path; what is no path is refused."""
    assert "<FileMonitor signal=17 /x>" == repr(FileMonitor(17, "/x"))
    for path in ("", "a\0b", 7, None, b"/x"):
        with pytest.raises(RegistrationError, match="path"):
            FileMonitor(17, path)  # type: ignore[arg-type]
