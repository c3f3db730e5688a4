"""How there comes to be a zygote: its process, and the line to it.

In production it is a new interpreter. (A test forks one: see `forked_zygote.py`.)
"""

from __future__ import annotations

import logging
import re
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from trio_uwsgi._process.zygote import command
from trio_uwsgi._process.zygote_channel import ZygoteChannel
from trio_uwsgi._system.pidfds import TASKS_NEED_NONE
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi._process.app_name import AppReference
    from trio_uwsgi._process.zygote_frames import Imported

__all__ = ["StartZygote", "ZygoteProcess", "check_threads", "start_zygote"]

logger = logging.getLogger("trio_uwsgi")

# A thread that Trio keeps for its next call: it holds nothing, and Trio forgets it in a forked child.
_IDLE_OF_TRIO = re.compile(r"Trio thread \d+")


class ZygoteProcess(Protocol):
    """What is needed of a zygote's process: as much of `trio.Process`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...

    def send_signal(self, number: signal.Signals, /) -> None: ...


StartZygote: TypeAlias = Callable[[], Awaitable[tuple[ZygoteProcess, ZygoteChannel]]]


async def start_zygote() -> tuple[ZygoteProcess, ZygoteChannel]:
    """Start an interpreter that is to be a zygote. It reads on its line what it is to be.

    Raises:
        BootError: the system has no process for it.
    """
    near, far = socket.socketpair()
    far.setblocking(True)  # the application may have set a default timeout, and a zygote waits for its master
    channel = ZygoteChannel(trio.socket.from_stdlib_socket(near))
    try:
        with far:
            process = await trio.lowlevel.open_process(command("run_zygote", far.fileno()), pass_fds=[far.fileno()])
    except OSError as error:
        channel.close()
        raise BootError(
            f"no process can be started that forks the members: {error}; mend that, or {TASKS_NEED_NONE}"
        ) from None
    except BaseException:
        channel.close()
        raise
    return process, channel


def check_threads(app: AppReference, imported: Imported, *, allowed: bool) -> None:
    """Threads that an import has started: a fork copies none of them, but the locks that they hold.

    Raises:
        BootError: there are some, and they are not allowed.
    """
    started = [name for name in imported.threads if not _IDLE_OF_TRIO.fullmatch(name)]
    unknown = imported.os_threads - 1 - len(imported.threads)
    if started and not allowed:
        raise BootError(
            f"importing {app} started threads ({', '.join(started)}), which its processes would not have; "
            f"start them when a member starts, or set lazy_apps, with which each member imports the application itself"
        )
    if started:
        logger.warning("importing %s started threads (%s), which its processes do not have", app, ", ".join(started))
    if unknown > 0:
        logger.warning(
            "importing %s started %d thread%s that Python does not know, as numpy's libraries do; "
            "its processes do not have them",
            app,
            unknown,
            "s" * (unknown > 1),
        )
