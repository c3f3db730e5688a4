"""The API of the runtime itself: its options, version, host and processes, and reloading."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from trio_uwsgi._link.frames import Reload, StopRuntime
from trio_uwsgi._runtime.opt import UWSGI_VERSION
from trio_uwsgi._runtime.rolling_restart import NO_RELOAD
from trio_uwsgi.errors import NotServing
from trio_uwsgi.uwsgi._base import on_trios_thread, running_unit, unit_here

__all__ = ["hostname", "masterpid", "opt", "reload", "setprocname", "version", "version_info"]

version = UWSGI_VERSION
"""The version of uWSGI whose API this is. (The version of trio_uwsgi is in its package's metadata.)"""

version_info = (2, 0, 31, 0, b"")
"""`version` as numbers, in uWSGI's form."""

hostname = socket.gethostname()
"""The name of this machine."""


class _Options(Mapping[str, bytes | bool | list[bytes]]):
    """The options of the runtime that runs the calling code; empty outside of a runtime."""

    def __getitem__(self, name: str) -> bytes | bool | list[bytes]:
        return _options()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_options())

    def __len__(self) -> int:
        return len(_options())

    def __repr__(self) -> str:
        return f"<uwsgi.opt: {dict(self)!r}>"


def _options() -> Mapping[str, bytes | bool | list[bytes]]:
    unit = unit_here()
    return {} if unit is None else unit.member.services.options


opt: Mapping[str, bytes | bool | list[bytes]] = _Options()
"""The configuration under uWSGI's names, read-only.

A value is bytes; True for a switch; a list for an option that was given several times.
"""


def masterpid() -> int:
    """Return the process id of the master; 0 outside of a runtime.

    Checkpoint: never.
    uWSGI: `uwsgi.masterpid`.
    """
    unit = unit_here()
    return 0 if unit is None else unit.member.services.master_pid


def reload() -> None:
    """Reload without downtime: import the application anew, and replace all members by members with the new code.

    This returns at once. The master has the new version imported, and replaces the old members once new ones are ready.
    If that fails, the running version stays and the log gives the reason. Old members finish what they run, within
    `Config.mercy`. A call during a reload starts another reload afterwards.

    Raises:
        NotServing: not called by a running member; or members are tasks, which cannot import the application again.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.reload`, which returns True. It stops the running code first, so nothing is served if the new code
        does not start.
    """
    unit = running_unit("reload", "call it in a request, a handler or a mule's program")
    if not unit.member.services.reloads:
        raise NotServing("uwsgi.reload()", *NO_RELOAD)
    on_trios_thread(lambda: unit.member.link.send(Reload()))


def stop() -> None:
    """Stop the whole server gracefully, as `Runtime.stop`.

    This returns at once. Running requests and handlers, the calling one too, have `Config.mercy` to finish, after
    `Config.drain_delay`. A second call has no effect.

    Raises:
        NotServing: not called by a running member.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.stop`, which returns True.
    """
    unit = running_unit("stop", "call it in a request, a handler or a mule's program")
    on_trios_thread(lambda: unit.member.link.send(StopRuntime()))


def setprocname(name: str) -> None:
    """Name the process, as `ps` and `top` show it.

    With the extra `trio-uwsgi[procname]`, which installs setproctitle, this sets the whole title. Without the extra it
    sets the name of at most 15 bytes that `top` shows on Linux, and does nothing on other systems.

    Args:
        name: the name, without NUL.
    Raises:
        TypeError: the name is not a str.
        ValueError: the name contains NUL.
    Checkpoint: never. May be called from any thread.
    uWSGI: `uwsgi.setprocname`, which sets an empty name if the given one is too long, and always sets the whole title.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a process is a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError(f"the name of a process cannot contain NUL, as {name!r} does")
    try:
        import setproctitle
    except ModuleNotFoundError:
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_bytes(name.encode()[:15])
    else:
        setproctitle.setproctitle(name)
