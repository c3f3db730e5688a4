"""The API of what the runtime is: its options, version, host and process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from trio_uwsgi._link.frames import Reload
from trio_uwsgi._runtime.rolling_restart import NO_RELOAD
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import NotServing
from trio_uwsgi.uwsgi._base import current_unit, on_trios_thread

__all__ = ["hostname", "masterpid", "opt", "reload", "setprocname", "version", "version_info"]

version = "2.0.31"
"""The uWSGI whose API this is. (The version of trio_uwsgi is in its package's metadata.)"""

version_info = (2, 0, 31, 0, b"")
"""`version` as numbers, in uWSGI's form."""

hostname = socket.gethostname()
"""The name of this machine."""


class _Options(Mapping[str, bytes | bool | list[bytes]]):
    """The options of the runtime whose code asks; none outside."""

    def __getitem__(self, name: str) -> bytes | bool | list[bytes]:
        return _options()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_options())

    def __len__(self) -> int:
        return len(_options())

    def __repr__(self) -> str:
        return f"<uwsgi.opt: {dict(self)!r}>"


def _options() -> Mapping[str, bytes | bool | list[bytes]]:
    unit = UNIT.get(None)
    return {} if unit is None else unit.member.services.options


opt: Mapping[str, bytes | bool | list[bytes]] = _Options()
"""What was configured, under uWSGI's names: bytes, True for switches, a list where several were given. Read-only."""


def masterpid() -> int:
    """The process of the master; 0 where no runtime runs this code.

    Checkpoint: never.
    uWSGI: `uwsgi.masterpid`.
    """
    unit = UNIT.get(None)
    return 0 if unit is None else unit.member.services.master_pid


def reload() -> None:
    """Import the application anew, and let members with the new code follow all that are there, without a gap.

    The new version must be imported, and its members must be ready, before the first of the old ones gives way; if
    that fails, nothing changes, and the log says why. Those that give way end what they run, within `mercy`. Called
    again meanwhile, it is done once more afterwards.

    Raises:
        NotServing: not called by a running member; or members are tasks, which have the code of their process.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.reload`, which starts the new code in place of the old one, and serves nothing if it does not start.
        Its True is not returned here.
    """
    unit = current_unit("reload", "call it in a request, a handler or a mule's program")
    if not unit.member.services.reloads:
        raise NotServing("uwsgi.reload()", *NO_RELOAD)
    on_trios_thread(lambda: unit.member.link.send(Reload()))


def setprocname(name: str) -> None:
    """Name the process, as `ps` and `top` show it.

    With the extra `trio-uwsgi[procname]` (setproctitle) it is the whole title. Without it, on Linux, it is the 15 bytes
    that `top` shows; elsewhere nothing happens.

    Args:
        name: without NUL.
    Raises:
        TypeError: it is no str.
        ValueError: it has a NUL in it.
    Checkpoint: never. May be called from any thread.
    uWSGI: `uwsgi.setprocname`, which makes a name that is too long an empty one.
    """
    if not isinstance(name, str):
        raise TypeError(f"a process is named by a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError(f"a process cannot be named {name!r}: a NUL ends the name")
    try:
        import setproctitle
    except ModuleNotFoundError:
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_bytes(name.encode()[:15])
    else:
        setproctitle.setproctitle(name)
