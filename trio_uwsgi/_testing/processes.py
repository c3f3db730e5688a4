"""A test whose members are processes, on the test's own time.

Members come from zygotes that are forked from the test (`forked_zygote.py`), find there what they stand on
(`members.py`), and follow the test's clock (`clock_coordinator.py`). What happens in them comes back through a book
(`event_buffer.py`): events, log records, failures, notes. It is read when all have come to rest, and whenever the test
looks.
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
from trio_uwsgi._testing.forked_zygote import forking
from trio_uwsgi._testing.notes import Notes
from trio_uwsgi._testing.process_table import ProcessTable
from trio_uwsgi._testing.virtual_clock import FollowingClock

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.settings import Environment
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._testing.members import Stage
    from trio_uwsgi._units.journal import Event

__all__ = ["ProcessMembers", "open_process_members", "served"]

# Seconds between two looks into the book on a clock that nobody conducts.
_LOOK = 0.05


class ProcessMembers:
    """The processes of one runtime in a test. `settled` waits until all of them have come to rest."""

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
        self.process_table.on_rest = self.catch_up

    async def settled(self) -> None:
        """Wait until nothing happens any more at this instant."""
        if self._coordinator is not None:
            await self._coordinator.settled()

    def launcher(self, stage: Stage) -> Launcher:
        """Where members come from."""
        name = getattr(stage.app, "__qualname__", type(stage.app).__qualname__)
        become = partial(members.become_zygote, stage)
        entry = members.__name__
        return Launcher(
            app=AppReference("name", name), entry=entry, start_zygote=forking(self.process_table, become), watched=False
        )

    @property
    def clock(self) -> trio.abc.Clock:
        """For the members."""
        return trio.lowlevel.current_clock() if self._coordinator is None else FollowingClock(self._coordinator.now)

    def catch_up(self) -> None:
        """Read what members have written."""
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
        """End the test with this error."""
        self._failure = self._failure or error
        self._failed.set()

    async def raise_failure(self) -> None:
        """Wait for a failure, and raise it."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    def connect(self, tree: NurseryTree, peer: Peer) -> tuple[trio.SocketStream, Callable[[], bool]]:
        """A connection to the worker whose turn it is: its stream, and whether the worker has closed it."""
        name = tree.lend_worker()
        near = self.process_table.connect(name, pickle.dumps(peer))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(near))
        return stream, partial(_is_closed, near)

    async def serve(self) -> None:
        """Conduct, and listen, until cancelled; also while what is around it is cancelled, because its end needs it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.process_table.serve)
            nursery.start_soon(self._look if self._coordinator is None else self._coordinator.run)

    async def _look(self) -> None:
        while True:
            self.catch_up()
            await trio.sleep(_LOOK)


def _is_closed(near: socket.socket) -> bool:
    try:
        return near.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextlib.asynccontextmanager
async def open_process_members() -> AsyncIterator[ProcessMembers]:
    """Have what processes of a test need, until the last of them has ended.

    Raises:
        ConfigError: this system does not have it.
    """
    require_processes()
    with hold_clock() as hold, coordinate_clock(hold) as coordinator, contextlib.closing(EventBuffer()) as event_buffer:
        member_environment = ProcessMembers(coordinator, event_buffer)
        scope = trio.CancelScope(shield=True)

        async def serve() -> None:
            with scope:
                await member_environment.serve()

        with _catching_up(member_environment.catch_up):
            if coordinator is not None:
                coordinator.process_tables.append(member_environment.process_table)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                nursery.start_soon(member_environment.raise_failure)
                try:
                    yield member_environment
                finally:
                    scope.cancel()
                    nursery.cancel_scope.cancel()
                    if coordinator is not None:
                        coordinator.process_tables.remove(member_environment.process_table)


@contextlib.contextmanager
def _catching_up(catch_up: Callable[[], None]) -> Iterator[None]:
    Notes._catch_ups.append(catch_up)
    try:
        yield
    finally:
        Notes._catch_ups.remove(catch_up)
        catch_up()


@contextlib.contextmanager
def served(registry: Registry, headcount: Headcount) -> Iterator[None]:
    """The test's declarations are being served, elsewhere: nobody else may, and they must fit."""
    registry._open(headcount, _leave, _leave)
    try:
        yield
    finally:
        registry._close()


def _leave(timer: object) -> None:
    """It is armed where it is served."""
