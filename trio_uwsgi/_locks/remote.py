"""User locks if members are processes: the master has the table, members send requests.

To acquire a lock, a task's member sends `Lock` and the task waits for `Granted`. Locks are granted in the order in
which the master receives the requests. If the process of a holder dies, the master passes the lock on when the link
ends. Whether a lock is held is also in shared memory (`_link/scoreboard.py`), so `is_locked` needs no round trip.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task

from trio_uwsgi._link.frames import Forget, Frame, Granted, Lock, Unlock
from trio_uwsgi._locks.locks import Holder, LockClaims, check_holder, lock_name, unit_ended_error, warn_not_unlocked
from trio_uwsgi._locks.rules import LockTable
from trio_uwsgi.errors import LockError

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._units.unit import Unit

__all__ = ["LockKeeper", "RemoteLocks"]


class RemoteLocks:
    """A member's side. Not for threads.

    Args:
        highest: the highest number of a lock.
        scoreboard: has the locks that are held; the master writes it.
        send: sends a frame to the master.
    """

    def __init__(self, highest: int, scoreboard: Scoreboard, send: Callable[[Frame], None]) -> None:
        self._claims = LockClaims(highest, self._ended)
        self._scoreboard = scoreboard
        self._send = send
        self._idents = itertools.count(1)
        # Requests that are neither granted nor cancelled, by ident; and granted locks that are not released, by number.
        self._asked: dict[int, tuple[int, Holder]] = {}
        self._held: dict[int, tuple[int, Holder]] = {}

    def take(self, number: int, unit: Unit) -> bool:
        self._claims.check_number(number)
        number = int(number)  # frames have no other
        me = self._claims.taker(number, unit, self._holder(number))
        ident = next(self._idents)
        self._asked[ident] = number, me
        self._send(Lock(number, ident))
        return False

    async def wait(self, number: int, unit: Unit) -> None:
        me = (unit, current_task())
        ident = next(ident for ident, (_, holder) in reversed(self._asked.items()) if holder == me)

        def abort(_: RaiseCancelT) -> Abort:
            self._forget(ident)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def granted(self, number: int, ident: int) -> None:
        """The master has granted a lock."""
        asked = self._asked.pop(ident, None)
        if asked is None:  # cancelled meanwhile
            self._send(Unlock(number, ident))
        else:
            self._held[number] = ident, asked[1]
            trio.lowlevel.reschedule(asked[1][1])

    def release(self, number: int, unit: Unit) -> None:
        self._claims.check_number(number)
        holder = self._holder(number)
        if holder is None:
            reason = "another member holds it" if self._scoreboard.is_locked(number) else "it is not locked"
            raise LockError(f"{lock_name(number)} cannot be unlocked: {reason}")
        check_holder(number, holder, unit)
        self._unlock(number)

    def is_locked(self, number: int) -> bool:
        self._claims.check_number(number)
        return self._scoreboard.is_locked(number)

    def _holder(self, number: int) -> Holder | None:
        held = self._held.get(number)
        return None if held is None else held[1]

    def _forget(self, ident: int) -> None:
        number, _ = self._asked.pop(ident)
        self._send(Forget(number, ident))

    def _unlock(self, number: int) -> None:
        ident, _ = self._held.pop(number)
        self._send(Unlock(number, ident))

    def _ended(self, unit: Unit) -> None:
        for ident, (number, waiter) in list(self._asked.items()):
            if waiter[0] is unit:
                self._forget(ident)
                trio.lowlevel.reschedule(waiter[1], outcome.Error(unit_ended_error(number)))
        for number, (_, holder) in list(self._held.items()):
            if holder[0] is unit:
                warn_not_unlocked(number, holder)
                self._unlock(number)


class LockKeeper:
    """The master's side: the table of the locks of all members.

    `send` sends a frame to the member of this name; the master sets it. Imports have senders of their own.

    Args:
        scoreboard: gets the locks that are held.
    """

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self.send: Callable[[str, Frame], None]
        self._imports: dict[str, Callable[[Frame], None]] = {}
        self._table: LockTable[tuple[str, int]] = LockTable()

    def holder(self, number: int) -> str | None:
        """The member that holds a lock; None if it is free."""
        holder = self._table.holder(number)
        return None if holder is None else holder[0]

    @contextlib.contextmanager
    def serving_import(self, name: str, send: Callable[[Frame], None]) -> Iterator[None]:
        """During the body, an import of this name may hold locks, and `send` sends a frame to it."""
        self._imports[name] = send
        try:
            yield
        finally:
            del self._imports[name]
            self.forget_member(name)

    def obey(self, member: str, frame: Lock | Unlock | Forget) -> None:
        """Handle a member's request."""
        match frame:
            case Lock(number, ident):
                self.lock(member, number, ident)
            case Unlock(number, ident):
                self.unlock(member, number, ident)
            case Forget(number, ident):
                self.forget(member, number, ident)

    def lock(self, member: str, number: int, ident: int) -> None:
        """A member requests a lock."""
        if self._table.take(number, (member, ident)):
            self._scoreboard.set_locked(number, True)
            self._grant(member, number, ident)

    def unlock(self, member: str, number: int, ident: int) -> None:
        """A member releases a lock."""
        if self._table.holder(number) == (member, ident):
            self._hand_over(number)

    def forget(self, member: str, number: int, ident: int) -> None:
        """A member cancels its request. If the lock was granted meanwhile, it unlocks when `Granted` arrives."""
        if (number, (member, ident)) in self._table.waiters():
            self._table.forget(number, (member, ident))

    def forget_member(self, member: str) -> None:
        """A member has ended: cancel its requests and release its locks."""
        for number, waiter in self._table.waiters():
            if waiter[0] == member:
                self._table.forget(number, waiter)
        for number, holder in self._table.held():
            if holder[0] == member:
                self._hand_over(number)

    def _hand_over(self, number: int) -> None:
        following = self._table.hand_over(number)
        if following is None:
            self._scoreboard.set_locked(number, False)
        else:
            self._grant(following[0], number, following[1])

    def _grant(self, member: str, number: int, ident: int) -> None:
        granted = Granted(number, ident)
        if (send := self._imports.get(member)) is not None:
            send(granted)
        else:
            self.send(member, granted)
