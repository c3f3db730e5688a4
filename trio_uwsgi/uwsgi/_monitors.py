"""The API of file monitors."""

from __future__ import annotations

import os  # for typing.get_type_hints

from trio_uwsgi._link.frames import AddFileMonitor
from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi._signals.file_monitors import monitored_path
from trio_uwsgi._signals.handlers import Registering, check_signum
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.uwsgi._base import current_registry, default_registry, on_trios_thread, registering

__all__ = ["add_file_monitor", "filemon"]


def add_file_monitor(signum: int, path: str | os.PathLike[str]) -> None:
    """Raise a signal when a file, or the entries of a directory, change.

    The master watches the path. A change is that the file is written, appended to, replaced, removed or created, or
    that its mode, owner or times change; it need not exist yet. For a directory, a change is one of these changes of a
    file or directory in it, but not further below. A symbolic link is followed.

    Each change is followed by a run of the handler that begins after it. Changes that come together have one run, and
    changes during a run are followed by one more. A handler that writes to its own file is therefore called again and
    again.

    A call with a path and a signal that are monitored already has no effect. Monitors that running members add last
    until a reload or the end of the server.

    Args:
        signum: 0 to 255.
        path: the file or directory; a relative path is one of the current directory.
    Raises:
        RegistrationError: the signal or the path is not valid.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_file_monitor`, which takes at most 64 paths of up to 254 bytes. There a path that does not exist
        is never noticed, a file that was replaced once is no longer watched, and each write of a large file is a signal
        of its own.
    Example:
        uwsgi.add_file_monitor(17, "/etc/shop/prices.csv")
    """
    check_signum(signum)
    monitor = FileMonitor(signum, monitored_path(path))
    unit = UNIT.get(None)
    if unit is None:
        default_registry().add_file_monitor(signum, monitor.path)
    else:
        on_trios_thread(unit.member.link.send, AddFileMonitor(signum, monitor.path))


def filemon(path: str | os.PathLike[str], *, target: str = "") -> Registering:
    """Decorate a function to run when a file, or the entries of a directory, change.

    This registers the function for a free signal (`signal_handler`) and adds a file monitor for that signal
    (`add_file_monitor`).

    Args:
        path: as in `add_file_monitor`.
        target: as in `signal_handler`.
    Raises:
        RegistrationError: as `signal_handler` and `add_file_monitor`.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.filemon`.
    Example:
        @uwsgi.filemon("/etc/shop/prices.csv", target="workers")
        async def read_prices(signum):
            print("the prices have changed")
    """
    return registering(current_registry().filemon(monitored_path(path), target=target))
