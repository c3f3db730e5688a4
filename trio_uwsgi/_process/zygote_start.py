"""Start a zygote: what it is to run, its process, and the channel to it.

In production it is a new interpreter. (A test forks one: see `_testing/forked_zygote.py`.)
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import trio

from trio_uwsgi._process.zygote import command
from trio_uwsgi._process.zygote_channel import ZygoteChannel
from trio_uwsgi._system.pidfds import TASKS_NEED_NONE
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi._process.app_name import AppReference
    from trio_uwsgi._process.zygote_frames import Imported

__all__ = ["Plan", "StartZygote", "ZygoteProcess", "check_threads", "start_zygote"]

logger = logging.getLogger("trio_uwsgi")

# An idle thread of Trio's thread cache: it holds no locks, and Trio drops it in a forked child.
_IDLE_OF_TRIO = re.compile(r"Trio thread \d+")


class ZygoteProcess(Protocol):
    """The part of `trio.Process` that is used of a zygote's process."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...

    def send_signal(self, number: signal.Signals, /) -> None: ...


StartZygote: TypeAlias = Callable[[], Awaitable[tuple[ZygoteProcess, ZygoteChannel]]]


async def start_zygote() -> tuple[ZygoteProcess, ZygoteChannel]:
    """Start an interpreter that runs as a zygote. The first frame on its channel is to be a `Hello`.

    Raises:
        BootError: the process cannot be started.
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
            f"cannot start the process that forks the members: {error}; repair that, or {TASKS_NEED_NONE}"
        ) from None
    except BaseException:
        channel.close()
        raise
    return process, channel


Attended: TypeAlias = Callable[[], AbstractAsyncContextManager[Sequence[int]]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a zygote imports and runs. Functions are named as `module:attribute`; "" is none.

    Args:
        app: the application's name.
        main: called in each child as `main(descriptors, setup)`; the first descriptor is the child's end of `ctl`.
        prepare, setup: `prepare(setup)` is called before the application is imported; `setup` is a JSON value.
        describe: `describe(application)` gives the bytes of `Zygote.imported.described`.
        importing: called as `importing(descriptors, setup)`, gives the context manager around the import.
        attended: gives, for the time of an import, its descriptors.
        lazy: the zygote does not import the application; each child is a new interpreter that does (`application()`).
        threads: "refuse" or "allow" an application that starts threads when it is imported. Children do not have these
            threads, and the locks that they held stay locked.
        start_timeout: seconds for the import.
        orphan_grace: seconds that children have to end when the master dies.
        start_zygote: starts the zygote's process.
    """

    app: AppReference
    main: str
    prepare: str = ""
    setup: Any = None  # a JSON value
    describe: str = ""
    importing: str = ""
    attended: Attended | None = None
    lazy: bool = False
    threads: Literal["refuse", "allow"] = "refuse"
    start_timeout: float = math.inf
    orphan_grace: float = 1.0
    start_zygote: StartZygote = start_zygote


def check_threads(app: AppReference, imported: Imported, *, allowed: bool) -> None:
    """Check for threads that the import has started: a fork does not copy them, but does copy the locks that they hold.

    Raises:
        BootError: there are such threads, and they are not allowed.
    """
    started = [name for name in imported.threads if not _IDLE_OF_TRIO.fullmatch(name)]
    unknown = imported.os_threads - 1 - len(imported.threads)
    if started and not allowed:
        raise BootError(
            f"importing {app} started threads ({', '.join(started)}), which do not exist in forked members; "
            f"start them when a member starts, or set lazy_apps, so that each member imports the application itself"
        )
    if started:
        logger.warning(
            "importing %s started threads (%s), which do not exist in forked members", app, ", ".join(started)
        )
    if unknown > 0:
        logger.warning(
            "importing %s started %d thread%s outside of Python, as numpy's libraries do; "
            "they do not exist in forked members",
            app,
            unknown,
            "s" * (unknown > 1),
        )
