"""uWSGI's async cores: waits that are registered first, and committed together. Floor 2.

A core is a Trio task, or a thread that runs a WSGI application. It registers waits for descriptors and for time, which
only remembers them; committing waits for the first of them, and forgets the others. So a registered wait that is never
committed leaves nothing, and neither does a cancelled commit.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Generator
from contextvars import ContextVar
from functools import partial
from typing import Any

import trio

from trio_uwsgi._tasks.journal import sole

__all__ = ["WAITS", "Wait", "Waits", "current_waits"]


class Wait(bytes):
    """One registered wait. Awaiting it commits it alone.

    It is an empty bytes object, too, so that a WSGI application can yield it through any middleware.
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
        if self not in self.waits:
            raise RuntimeError("this wait was committed before; register another one")
        self.waits.registered = [wait for wait in self.waits.registered if wait is not self]
        await self.waits.first_of([self])


class Waits:
    """The waits of one core.

    Args:
        task: whose they are; None for a thread.
    """

    __slots__ = ("ready", "registered", "task")

    def __init__(self, task: trio.lowlevel.Task | None) -> None:
        self.task = task
        self.registered: list[Wait] = []
        self.ready = -1  # the descriptor that ended the last commit

    def __contains__(self, wait: Wait) -> bool:
        return any(known is wait for known in self.registered)

    def register(self, fd: int, writing: bool, timeout: float) -> Wait:
        """Remember a wait; `timeout` is in seconds from its commit.

        Raises:
            ValueError: the timeout is negative.
            OSError: the descriptor is not open, or is of a file, which is always ready.
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

    async def commit(self) -> int:
        """Wait for the first of all that are registered; with none, let others run. Gives `ready`."""
        waits, self.registered = self.registered, []
        await self.first_of(waits)
        return self.ready

    async def first_of(self, waits: list[Wait]) -> None:
        """Wait for the first of these, and set `ready`: its descriptor, or -1 when the time was up first.

        Raises:
            trio.BusyResourceError: another task waits for one of the descriptors.
            trio.ClosedResourceError: one of them was closed meanwhile, with `uwsgi.close`.
        """
        self.ready = -1
        places = {(wait.fd, wait.writing): None for wait in waits if wait.fd != -1}
        if not waits:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(min(wait.timeout for wait in waits)):
            if not places:
                await trio.sleep_forever()
            elif len(places) == 1:
                await self._until_ready(*next(iter(places)))
            else:
                await self._until_one_is_ready(list(places))

    async def _until_one_is_ready(self, places: list[tuple[int, bool]]) -> None:
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                for fd, writing in places:
                    nursery.start_soon(partial(self._until_ready, fd, writing, nursery.cancel_scope))
        except* (OSError, trio.BusyResourceError, trio.ClosedResourceError) as group:
            failure = sole(group)
            if isinstance(failure, BaseExceptionGroup):
                failure = failure.exceptions[0]
        if failure is not None:
            raise failure

    async def _until_ready(self, fd: int, writing: bool, others: trio.CancelScope | None = None) -> None:
        wait = trio.lowlevel.wait_writable if writing else trio.lowlevel.wait_readable
        try:
            await wait(fd)
        except trio.BusyResourceError:
            raise trio.BusyResourceError(
                f"another task waits for descriptor {fd} already; one at a time may, for each direction"
            ) from None
        if self.ready == -1:
            self.ready = fd
        if others is not None:
            others.cancel()


def _check_descriptor(fd: int) -> None:
    if type(fd) is not int or fd < 0:
        raise OSError(errno.EBADF, f"{fd!r} is not a descriptor, so it cannot be waited for")
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        raise OSError(errno.EBADF, f"descriptor {fd} is not open, so it cannot be waited for") from None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        raise OSError(errno.EPERM, f"descriptor {fd} is a file, which is always ready and cannot be waited for")


WAITS: ContextVar[Waits] = ContextVar("trio_uwsgi_waits")

FOREVER = math.inf


def current_waits() -> Waits:
    """The waits of the task or thread that runs this. What a thread calls in Trio finds the thread's."""
    task = trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else None
    known = WAITS.get(None)
    if known is None or (known.task is not task and known.task is not None):
        known = Waits(task)
        WAITS.set(known)
    return known
