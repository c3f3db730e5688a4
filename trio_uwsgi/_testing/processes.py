"""Runs the members of a test as processes, on the test's clock.

The members are forked by zygotes that are forked from the test (`forked_zygote.py`), begin in `members.py`, and see the
time that the clock coordinator moves (`clock_coordinator.py`). Their events, log records, failures and notes come back
through the event buffer (`event_buffer.py`), which is read whenever all processes are idle, and whenever the test looks
at its log or notes.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._process.launcher import Launcher
from trio_uwsgi._system.pidfds import require_processes
from trio_uwsgi._testing import members
from trio_uwsgi._testing.clock_coordinator import ClockCoordinator, coordinate_clock
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._testing.event_buffer import EventBuffer
from trio_uwsgi._testing.forked_zygote import forked_zygote_starter
from trio_uwsgi._testing.notes import Notes
from trio_uwsgi._testing.process_table import ProcessTable
from trio_uwsgi._testing.virtual_clock import SharedClock

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.settings import Environment
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._testing.members import InheritedState
    from trio_uwsgi._units.journal import Event

__all__ = ["ProcessMemberAccess", "open_process_members", "served_by_members"]

# Seconds between two reads of the event buffer on a clock without a coordinator.
_READ_INTERVAL = 0.05


class ProcessMemberAccess:
    """How a test reaches the members of its runtime where they are processes."""

    def __init__(self, coordinator: ClockCoordinator | None, event_buffer: EventBuffer) -> None:
        self.process_table = ProcessTable(coordinator)
        self.event_buffer = event_buffer
        self.environment: Environment
        self.on_event: Callable[[Event], None]
        self.on_failure: Callable[[BaseException], None]
        self.kill = self.process_table.kill
        self._failed = trio.Event()
        self._failure: BaseException | None = None
        self._coordinator = coordinator
        self.process_table.on_idle = self.catch_up

    async def wait_until_idle(self) -> None:
        """Wait until nothing more happens at this instant, in any process."""
        if self._coordinator is not None:
            await self._coordinator.wait_until_idle()

    def launcher(self, inherited: InheritedState) -> Launcher:
        """The launcher of the zygotes that fork the members."""
        name = getattr(inherited.app, "__qualname__", type(inherited.app).__qualname__)
        start_zygote = forked_zygote_starter(self.process_table, partial(members.run_zygote, inherited))
        entry = members.__name__
        app = AppReference("name", name)
        return Launcher(app=app, entry=entry, start_zygote=start_zygote, watched=False, imports=False)

    @property
    def clock(self) -> trio.abc.Clock:
        """The members' clock."""
        return trio.lowlevel.current_clock() if self._coordinator is None else SharedClock(self._coordinator.now)

    def catch_up(self) -> None:
        """Read what the members have written into the event buffer."""
        for kind, *values in self.event_buffer.read():
            if kind == "event":
                self.on_event(*values)
            elif kind == "note":
                number, note = values
                if (notes := Notes._all.get(number)) is not None:
                    notes._notes.append(note)
            elif kind == "record":
                logging.getLogger(values[0].name).handle(values[0])
            else:
                self.on_failure(*values)

    def fail(self, error: BaseException) -> None:
        """Have `raise_failure` raise this error, which ends the test."""
        self._failure = self._failure or error
        self._failed.set()

    async def raise_failure(self) -> None:
        """Wait for a failure, and raise it."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    def connect(self, tree: NurseryTree, peer: Peer) -> tuple[trio.SocketStream, Callable[[], bool]]:
        """Connect to the next worker: the stream, and a function that says whether the worker has closed it."""
        name = tree.lend_worker()
        near = self.process_table.connect(name, pickle.dumps(peer))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(near))
        return stream, partial(_is_closed, near)

    async def serve(self) -> None:
        """Serve the members' clock agents and move the time, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.process_table.serve)
            nursery.start_soon(self._read_periodically if self._coordinator is None else self._coordinator.run)

    async def _read_periodically(self) -> None:
        while True:
            self.catch_up()
            await trio.sleep(_READ_INTERVAL)


def _is_closed(near: socket.socket) -> bool:
    try:
        return near.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextlib.asynccontextmanager
async def open_process_members() -> AsyncIterator[ProcessMemberAccess]:
    """Open what the members' processes of a test need, and close it when the block ends.

    Raises:
        ConfigError: this system does not support it.
    """
    require_processes()
    with hold_clock() as hold, coordinate_clock(hold) as coordinator, contextlib.closing(EventBuffer()) as event_buffer:
        access = ProcessMemberAccess(coordinator, event_buffer)
        # The runtime needs the coordinator for its own end, also when the test is cancelled.
        scope = trio.CancelScope(shield=True)

        async def serve() -> None:
            with scope:
                await access.serve()

        with _read_with_notes(access.catch_up):
            if coordinator is not None:
                coordinator.process_tables.append(access.process_table)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                nursery.start_soon(access.raise_failure)
                try:
                    yield access
                finally:
                    scope.cancel()
                    nursery.cancel_scope.cancel()
                    if coordinator is not None:
                        coordinator.process_tables.remove(access.process_table)


@contextlib.contextmanager
def _read_with_notes(catch_up: Callable[[], None]) -> Iterator[None]:
    Notes._catch_ups.append(catch_up)
    try:
        yield
    finally:
        Notes._catch_ups.remove(catch_up)
        catch_up()


@contextlib.contextmanager
def served_by_members(registry: Registry, headcount: Headcount) -> Iterator[None]:
    """Mark the test's registry as in use while the members serve copies of it.

    Raises:
        RegistrationError: a declaration does not fit the members, or another runtime serves this registry.
    """
    registry._open(headcount, _ignore_timer, _ignore_timer)
    try:
        yield
    finally:
        registry._close()


def _ignore_timer(timer: object) -> None:
    """Do nothing: the runtime arms its own copies of the timers, which a zygote has described to it."""
