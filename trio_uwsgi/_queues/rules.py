"""The rules of the shared queue: a ring of slots, of which some have messages. Pure.

Messages are pushed into one slot after the other. Those that wait are in the slots before the next one: the oldest is
pulled, the newest is popped. A push into a ring in which all slots wait overwrites the oldest message, and the next
oldest is pulled first then.

Besides, any slot can be read and replaced by its number, also one whose message does not wait. As in uWSGI, a pull that
finds nothing waiting takes the message of the slot where it looks, and so does a pop.

uWSGI does not move the slot of the next pull when a push overwrites it, so newer messages are pulled before older ones;
and a pop of an empty queue moves the slot of the next push. Here neither happens.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from trio_uwsgi.errors import QueueError, QueueMessageTooLarge

__all__ = ["MemorySlots", "QueueRules", "QueueState", "QueueStatistics", "Slots", "message_bytes"]


def message_bytes(message: str | bytes) -> bytes:
    """A message as bytes.

    Raises:
        TypeError: it is neither bytes nor a str.
        QueueError: it is a str that cannot be encoded as UTF-8.
    """
    if isinstance(message, str):
        try:
            return message.encode()
        except UnicodeEncodeError as error:
            raise QueueError(f"a message cannot be encoded as UTF-8: {message!r} ({error}); use bytes") from None
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    raise TypeError(f"a message of the queue is bytes or str, not {type(message).__name__}; encode it first")


@dataclasses.dataclass(frozen=True, slots=True)
class QueueStatistics:
    """The shared queue.

    Attributes:
        slots: how many slots it has, `Config.queue`.
        waiting: messages that were pushed and neither taken nor overwritten.
        pushed: messages that were pushed.
        taken: messages that were pulled or popped.
        overwritten: messages that were lost because the queue was full and another one was pushed.
    """

    slots: int
    waiting: int
    pushed: int
    taken: int
    overwritten: int


@dataclasses.dataclass(slots=True)
class QueueState:
    """The numbers of the ring: `slot` is that of the next push, and the `waiting` slots before it have messages.

    A queue in a file keeps them there, in this order.
    """

    slot: int = 0
    waiting: int = 0
    pushed: int = 0
    taken: int = 0
    overwritten: int = 0


class Slots(Protocol):
    """Where the messages are, by the number of the slot. An empty slot has None."""

    def get(self, slot: int, /) -> bytes | None: ...
    def put(self, slot: int, message: bytes, /) -> None: ...
    def drop(self, slot: int, /) -> None: ...


class MemorySlots(dict[int, bytes]):
    """Slots in the memory of this process."""

    put = dict.__setitem__
    drop = dict.__delitem__


class QueueRules:
    """One queue.

    Args:
        size: how many slots it has.
        largest: bytes of the longest message.
        slots: the messages.
        state: the numbers. A caller that keeps them elsewhere replaces them.
    """

    def __init__(self, size: int, largest: int, slots: Slots, state: QueueState) -> None:
        self.size = size
        self.state = state
        self._largest = largest
        self._slots = slots

    def push(self, message: bytes) -> bool:
        """Put a message into the next slot. False: the queue was full, and the oldest message was overwritten.

        Raises:
            QueueError: the message is empty or too large.
        """
        self._check_message(message)
        state = self.state
        self._slots.put(state.slot, message)
        state.slot = (state.slot + 1) % self.size
        state.pushed += 1
        if state.waiting == self.size:
            state.overwritten += 1
            return False
        state.waiting += 1
        return True

    def pull(self) -> bytes | None:
        """Take the oldest message. None: there is none."""
        state = self.state
        slot = self.pull_slot
        message = self._take(slot)
        if message is not None and not state.waiting:
            state.slot = (slot + 1) % self.size  # the slot of the next pull, which is the same if nothing waits
        elif message is not None:
            state.waiting -= 1
        return message

    def pop(self) -> bytes | None:
        """Take the newest message. None: there is none."""
        state = self.state
        slot = (state.slot - 1) % self.size
        message = self._take(slot)
        if message is not None:
            state.slot = slot
            state.waiting -= state.waiting > 0
        return message

    def get(self, slot: int) -> bytes | None:
        """The message of a slot, which stays there. None: the slot is empty.

        Raises:
            QueueError: there is no such slot.
        """
        self._check_slot(slot)
        return self._slots.get(slot)

    def set(self, slot: int, message: bytes) -> None:
        """Replace the message of a slot. The slots of the next push and pull stay the same.

        Raises:
            QueueError: there is no such slot, or the message is empty or too large.
        """
        self._check_slot(slot)
        self._check_message(message)
        self._slots.put(slot, message)

    def last(self, count: int) -> list[bytes | None]:
        """The messages of the slots before the next one, the newest first; None for those that are empty.

        Raises:
            QueueError: `count` is negative. Beyond the number of slots it counts as that.
        """
        if type(count) is not int or count < 0:
            raise QueueError(f"{count!r} messages cannot be listed; use 1 to {self.size}, or 0 for the last one alone")
        return [self._slots.get((self.state.slot - 1 - back) % self.size) for back in range(min(count, self.size))]

    @property
    def pull_slot(self) -> int:
        """The slot from which the next message is pulled."""
        return (self.state.slot - self.state.waiting) % self.size

    def statistics(self) -> QueueStatistics:
        state = self.state
        return QueueStatistics(self.size, state.waiting, state.pushed, state.taken, state.overwritten)

    # ----- below

    def _take(self, slot: int) -> bytes | None:
        message = self._slots.get(slot)
        if message is not None:
            self._slots.drop(slot)
            self.state.taken += 1
        return message

    def _check_slot(self, slot: int) -> None:
        if type(slot) is not int or not 0 <= slot < self.size:
            raise QueueError(
                f"there is no slot {slot!r}: the shared queue has the slots 0 to {self.size - 1}; use one of them, or "
                f"set Config(queue=...), on the command line --queue N, for more"
            )

    def _check_message(self, message: bytes) -> None:
        if not message:
            raise QueueError("an empty message cannot be stored, because an empty slot has none; write a byte at least")
        if len(message) > self._largest:
            raise QueueMessageTooLarge(len(message), self._largest)
