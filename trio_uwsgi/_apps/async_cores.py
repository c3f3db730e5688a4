"""uWSGI's async cores: an application registers waits, and commits them together.

A core is a Trio task, or a thread that runs a WSGI application. Registering a wait for a descriptor or for time only
records it; a commit waits for the first of them, and drops the others. So neither a registered wait that is never
committed nor a cancelled commit leaves anything behind.
"""

from __future__ import annotations

import errno
import math
import os
import select
import stat
import threading
from collections.abc import Generator
from contextvars import ContextVar
from functools import partial
from typing import Any

import trio

from trio_uwsgi._http.exchange import Exchange
from trio_uwsgi._units.journal import only_error
from trio_uwsgi._units.trio_threads import is_system_task
from trio_uwsgi._units.unit import UNIT, Unit

__all__ = ["FOREVER", "Wait", "Waits", "current_waits", "registered_waits", "until_ready"]

FOREVER = math.inf


class Wait(bytes):
    """One registered wait. Awaiting it commits it alone.

    It is also an empty bytes object, so that a WSGI application can yield it through any middleware.
    """

    fd: int  # -1: only time
    writing: bool
    timeout: float
    waits: Waits

    def __await__(self) -> Generator[Any, None, None]:
        """Commit this wait.

        Raises:
            RuntimeError: it was committed before, or belongs to another task.
        """
        return self._commit().__await__()

    async def _commit(self) -> None:
        waits = self.waits
        if registered_waits() is not waits:
            raise RuntimeError("this wait was registered by another task; register it in the task that awaits it")
        if not any(known is self for known in waits.registered):
            raise RuntimeError("this wait was committed before; register another one")
        waits.withdraw(self)
        await waits.first_of([self])


class Waits:
    """The waits of one core, during one unit of work. `ready` is the descriptor that ended the last commit.

    Args:
        core: the task, or the number of the thread.
        unit: the unit of work; None outside of the runtime.
    """

    __slots__ = ("_core", "_host", "_unit", "ready", "registered")

    def __init__(self, core: trio.lowlevel.Task | int, unit: Unit | None) -> None:
        self._core = core
        self._host: trio.lowlevel.Task | None = None  # the task that runs async calls of the thread
        self._unit = unit
        self.registered: list[Wait] = []
        self.ready = -1

    def belong_to(self, core: trio.lowlevel.Task | int, unit: Unit | None) -> bool:
        """Are these the waits of that core, now? Child tasks, threads and later units inherit the context."""
        if unit is not self._unit:
            return False
        if core is self._core or core is self._host:
            return True
        if isinstance(self._core, int):
            if isinstance(core, int):
                return core == self._core
            if is_system_task(core):
                return True
            if self._host is None and self._core != threading.get_ident():
                self._host = core
                return True
        return False

    def register(self, fd: int, writing: bool, timeout: float) -> Wait:
        """Record a wait; `timeout` is in seconds from its commit, `fd` is -1 for a wait for time only.

        Raises:
            ValueError: the timeout is negative.
            OSError: the descriptor is not open, or is that of a file, which is always ready.
        """
        if not timeout >= 0:
            raise ValueError(f"a wait takes 0 or more seconds, not {timeout!r}")
        if fd != -1:
            _check_descriptor(fd)
        wait = Wait()
        wait.fd = fd
        wait.writing = writing
        wait.timeout = timeout
        wait.waits = self
        self.registered.append(wait)
        return wait

    def withdraw(self, wait: Wait) -> None:
        """Have this wait registered no more: it is committed alone."""
        self.registered = [known for known in self.registered if known is not wait]

    async def commit(self) -> int:
        """Wait for the first of all that are registered; with none, only a checkpoint. Returns `ready`."""
        waits, self.registered = self.registered, []
        await self.first_of(waits)
        return self.ready

    async def first_of(self, waits: list[Wait]) -> None:
        """Wait for the first of these, and set `ready`: its descriptor, or -1 after a timeout.

        Raises:
            OSError: one of the descriptors is not open any more.
            trio.BusyResourceError: another task waits for one of them.
            trio.ClosedResourceError: one of them was closed meanwhile, with `uwsgi.close`.
        """
        self.ready = -1
        places = list({(wait.fd, wait.writing): None for wait in waits if wait.fd != -1})
        if not waits:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(min(wait.timeout for wait in waits)):
            if not places:
                await trio.sleep_forever()
            elif len(places) == 1:
                await self._until_ready(*places[0])
            else:
                await self._until_one_is_ready(places)

    async def _until_one_is_ready(self, places: list[tuple[int, bool]]) -> None:
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                for fd, writing in places:
                    nursery.start_soon(partial(self._until_ready, fd, writing, nursery.cancel_scope))
        except* (OSError, trio.BusyResourceError, trio.ClosedResourceError) as group:
            failure = only_error(group)
            if isinstance(failure, BaseExceptionGroup):
                failure = failure.exceptions[0]
        if failure is not None:
            self.ready = -1
            raise failure

    async def _until_ready(self, fd: int, writing: bool, others: trio.CancelScope | None = None) -> None:
        unit = self._unit
        if isinstance(unit, Exchange) and unit.session.descriptor == fd:
            await unit.until_ready(writing)  # the reactor reads this socket, and may have read the input already
        else:
            await until_ready(fd, writing)
        if self.ready == -1:
            self.ready = fd
        if others is not None:
            others.cancel()


async def until_ready(fd: int, writing: bool) -> None:
    """Wait until a descriptor can be read, or written to.

    Raises:
        OSError: it is not open, or cannot be waited for.
        trio.BusyResourceError: another task waits for it.
        trio.ClosedResourceError: it was closed meanwhile, with `uwsgi.close`.
    """
    try:
        if writing:
            await trio.lowlevel.wait_writable(fd)
        else:
            await trio.lowlevel.wait_readable(fd)
    except trio.BusyResourceError:
        raise trio.BusyResourceError(
            f"another task waits for descriptor {fd} already; only one may, for each direction"
        ) from None
    except trio.ClosedResourceError:
        raise trio.ClosedResourceError(f"descriptor {fd} was closed while this task waited for it") from None
    except OSError as error:
        raise OSError(error.errno, f"descriptor {fd} cannot be waited for: {error.strerror}") from None


def _check_descriptor(fd: int) -> None:
    if type(fd) is not int or fd < 0:
        raise OSError(errno.EBADF, f"{fd!r} is not a descriptor, so it cannot be waited for")
    try:
        mode = os.fstat(fd).st_mode
    except (OSError, OverflowError):
        raise OSError(errno.EBADF, f"descriptor {fd} is not open, so it cannot be waited for") from None
    if not (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)) and _is_always_ready(fd, mode):
        raise OSError(errno.EPERM, f"descriptor {fd} is that of a file, which is always ready and cannot be waited for")


def _is_always_ready(fd: int, mode: int) -> bool:
    """True for files, and for some devices: epoll knows which."""
    if not hasattr(select, "epoll"):
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    with select.epoll() as probe:
        try:
            probe.register(fd)
        except PermissionError:
            return True
    return False


_WAITS: ContextVar[Waits] = ContextVar("trio_uwsgi_waits")


def registered_waits() -> Waits | None:
    """The waits of the current task or thread, None if it never had any. An async call of a thread has the thread's."""
    known = _WAITS.get(None)
    if known is None:
        return None
    core = trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else threading.get_ident()
    return known if known.belong_to(core, UNIT.get(None)) else None


def current_waits() -> Waits:
    """As `registered_waits`, created if there are none."""
    known = registered_waits()
    if known is None:
        core = trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else threading.get_ident()
        known = Waits(core, UNIT.get(None))
        _WAITS.set(known)
    return known
