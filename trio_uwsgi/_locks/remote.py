"""User locks if members are processes.

Theory. The kernel has a lock for each user lock (`_system/byte_locks.py`), which a process takes without asking
anybody. So a member takes and releases a free lock by itself. Whoever finds a lock held asks the master, with `Lock`,
and waits for `Granted`. From then on, and while somebody waits, the lock is not *direct*: all ask the master, which
takes the kernel's lock itself as soon as it can, and grants the user lock in the order in which it has received the
requests. So locks are fair from the moment at which the master hears of a waiter.

The master first writes that a lock is not direct, and then tries to take the kernel's. A member first releases the
kernel's, and then reads whether the lock is direct; if not, it tells the master. So one of them notices the other.

If a process dies, the kernel releases its locks, and the master what it has granted to it. Who holds a lock is also in
shared memory (`_link/scoreboard.py`), so `is_locked` asks nobody. Where the kernel has no such locks, none is direct.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task

from trio_uwsgi._link.frames import Forget, Frame, Granted, Lock, Unlock
from trio_uwsgi._locks.locks import Holder, LockClaims, check_holder, lock_name, unit_ended_error, warn_not_unlocked
from trio_uwsgi._locks.rules import LockTable
from trio_uwsgi._system.byte_locks import open_byte_locks
from trio_uwsgi.errors import LockError

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._system.byte_locks import ByteLocks
    from trio_uwsgi._units.unit import Unit

__all__ = ["LockKeeper", "RemoteLocks", "open_keeper"]

# The ident of a lock that a member has taken by itself.
_DIRECT = 0
# In the master's table, for a member that has taken a lock by itself: whoever that is.
_SOMEBODY = ("", _DIRECT)
_GRANTED = -1


class RemoteLocks:
    """A member's side. Not for threads.

    Args:
        highest: the highest number of a lock.
        scoreboard: has the locks that are held.
        send: sends a frame to the master.
        kernel: the kernel's locks for this member; None: it always asks the master.
        row: of the member in the scoreboard.
    """

    def __init__(
        self,
        highest: int,
        scoreboard: Scoreboard,
        send: Callable[[Frame], None],
        kernel: ByteLocks | None = None,
        row: int = 0,
    ) -> None:
        self._claims = LockClaims(highest, self._ended)
        self._scoreboard = scoreboard
        self._send = send
        self._kernel = kernel
        self._me = row + 1
        self._idents = itertools.count(1)
        # Requests that are neither granted nor cancelled, by ident; and granted locks that are not released, by number.
        self._asked: dict[int, tuple[int, Holder]] = {}
        self._held: dict[int, tuple[int, Holder]] = {}

    def take(self, number: int, unit: Unit) -> bool:
        self._claims.check_number(number)
        number = int(number)  # frames have no other
        me = self._claims.taker(number, unit, self._holder(number))
        if self._take_directly(number):
            self._held[number] = _DIRECT, me
            return True
        ident = next(self._idents)
        self._asked[ident] = number, me
        self._send(Lock(number, ident))
        return False

    def _take_directly(self, number: int) -> bool:
        # To the kernel all tasks of a member are one. And those that have asked the master come first.
        if self._kernel is None or self._asked or number in self._held or not self._scoreboard.is_direct(number):
            return False
        if not self._kernel.take(number):
            return False
        self._scoreboard.set_lock_holder(number, self._me)
        return True

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
        if ident == _DIRECT:
            assert self._kernel is not None
            if self._kernel.closed:  # in a forked child: its parent holds the lock
                return
            self._scoreboard.set_lock_holder(number, 0)
            self._kernel.release(number)
            if self._scoreboard.is_direct(number):
                return
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


@contextlib.contextmanager
def open_keeper(scoreboard: Scoreboard, rows: Mapping[str, int]) -> Iterator[LockKeeper]:
    """The master's side during the body, with the kernel's locks if there are any."""
    kernel = open_byte_locks(scoreboard.descriptor, scoreboard.locks)
    with contextlib.closing(kernel) if kernel is not None else contextlib.nullcontext():
        yield LockKeeper(scoreboard, kernel, rows)


class LockKeeper:
    """The master's side: the table of the locks of all members.

    `send` sends a frame to the member of this name; the master sets it. Imports have senders of their own.

    Args:
        scoreboard: gets the locks that are held.
        kernel: the kernel's locks for the master; None: there are none.
        rows: the rows of members by name, of those that take locks by themselves.
    """

    def __init__(
        self, scoreboard: Scoreboard, kernel: ByteLocks | None = None, rows: Mapping[str, int] | None = None
    ) -> None:
        self._scoreboard = scoreboard
        self._kernel = kernel
        self._rows = rows or {}
        self.send: Callable[[str, Frame], None]
        self._imports: dict[str, Callable[[Frame], None]] = {}
        self._table: LockTable[tuple[str, int]] = LockTable()
        if kernel is not None:
            for number in range(scoreboard.locks):
                scoreboard.set_direct(number, True)

    def holder(self, number: int) -> str | None:
        """The member that holds a lock; None if it is free."""
        holder = self._table.holder(number)
        if holder is not None and holder != _SOMEBODY:
            return holder[0]
        row = self._scoreboard.lock_holder(number) - 1
        return next((name for name, other in self._rows.items() if other == row), None)

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
        if self._table.holder(number) is None and not self._acquire(number):
            self._table.take(number, _SOMEBODY)
        if self._table.take(number, (member, ident)):
            self._grant(member, number, ident)

    def unlock(self, member: str, number: int, ident: int) -> None:
        """A member releases a lock."""
        if ident == _DIRECT:
            self._look_again(number)
        elif self._table.holder(number) == (member, ident):
            self._hand_over(number)

    def forget(self, member: str, number: int, ident: int) -> None:
        """A member cancels its request. If the lock was granted meanwhile, it unlocks when `Granted` arrives."""
        if (number, (member, ident)) in self._table.waiters():
            self._forget_waiter(number, (member, ident))

    def forget_member(self, member: str) -> None:
        """A member has ended: cancel its requests and release its locks."""
        for number, waiter in self._table.waiters():
            if waiter[0] == member:
                self._forget_waiter(number, waiter)
        row = self._rows.get(member)
        if row is not None:
            for number in range(self._scoreboard.locks):
                if self._scoreboard.lock_holder(number) == row + 1:
                    self._scoreboard.set_lock_holder(number, 0)
        for number, holder in self._table.held():
            if holder[0] == member:
                self._hand_over(number)
        self.look()

    def look(self) -> None:
        """Take the kernel's locks that are free again for those who wait. To be called now and then, too: the copy of a
        descriptor in a child that C code has forked may keep a lock for longer than its process lives.
        """
        for number, _ in self._table.held():
            self._look_again(number)

    def _acquire(self, number: int) -> bool:
        """Have the lock for those who ask, if no member has taken it by itself."""
        if self._kernel is None:
            return True
        self._scoreboard.set_direct(number, False)
        return self._kernel.take(number)

    def _look_again(self, number: int) -> None:
        """Somebody who may have taken this lock by itself has released it, or has ended."""
        if self._table.holder(number) == _SOMEBODY and self._acquire(number):
            self._hand_over(number)

    def _forget_waiter(self, number: int, waiter: tuple[str, int]) -> None:
        self._table.forget(number, waiter)
        if self._table.holder(number) == _SOMEBODY and number not in {waiting for waiting, _ in self._table.waiters()}:
            self._table.hand_over(number)
            self._scoreboard.set_direct(number, True)

    def _hand_over(self, number: int) -> None:
        following = self._table.hand_over(number)
        if following is not None:
            self._grant(following[0], number, following[1])
            return
        self._scoreboard.set_lock_holder(number, 0)
        if self._kernel is not None:
            self._kernel.release(number)
            self._scoreboard.set_direct(number, True)

    def _grant(self, member: str, number: int, ident: int) -> None:
        self._scoreboard.set_lock_holder(number, _GRANTED)
        granted = Granted(number, ident)
        if (send := self._imports.get(member)) is not None:
            send(granted)
        else:
            self.send(member, granted)
