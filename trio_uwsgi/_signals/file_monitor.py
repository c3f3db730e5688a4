"""A file monitor: a path, the signal for its changes, and what happens to changes during a run. Pure.

`file_monitors.py` watches the paths of all monitors.
"""

from __future__ import annotations

from trio_uwsgi.errors import RegistrationError

__all__ = ["FileMonitor"]


class FileMonitor:
    """One file monitor.

    A change is followed by a run of the signal's handler that begins after it, and no two of them run at once: changes
    during a run are followed by one more.

    Args:
        signum: the signal to raise, 0 to 255.
        path: the file or directory.
    Raises:
        RegistrationError: this is no path.
    """

    __slots__ = ("_again", "_running", "_waiting", "path", "signum")

    def __init__(self, signum: int, path: str) -> None:
        if not isinstance(path, str) or not path or "\0" in path:
            raise RegistrationError(f"a file monitor's path is a str or a path object with a name, not {path!r}")
        self.signum = signum
        self.path = path
        self._waiting = self._running = self._again = False

    def __repr__(self) -> str:
        return f"<FileMonitor signal={self.signum} {self.path}>"

    def changed(self) -> bool:
        """The file has changed. Returns whether the signal is to be raised now."""
        if self._waiting or self._running:
            self._again = self._running
            return False
        self._waiting = True
        return True

    def begun(self) -> None:
        """The run has begun."""
        self._waiting, self._running = False, True

    def ended(self) -> bool:
        """The run has ended, or will not take place. Returns whether the signal is to be raised again now."""
        self._waiting, self._running, self._again = self._again, False, False
        return self._waiting
