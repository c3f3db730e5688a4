"""The API of the shared queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi.uwsgi._base import current_unit

if TYPE_CHECKING:
    from trio_uwsgi._queues.queue import Queue

__all__ = [
    "queue_get",
    "queue_last",
    "queue_pop",
    "queue_pull",
    "queue_pull_slot",
    "queue_push",
    "queue_set",
    "queue_shift",
    "queue_slot",
]

_REMEDY = "call it in a request, a handler or a mule's program"


def queue_push(message: str | bytes) -> bool:
    """Append a message to the shared queue.

    All members share the queue. If it is full, the new message takes the place of the oldest one, which is lost;
    `Runtime.statistics` counts those, and the order of the others stays.

    Args:
        message: 1 to `Config.queue_blocksize` bytes, or a str as UTF-8.
    Returns:
        True if there was a free slot. False if the queue was full, and the oldest message was overwritten.
    Raises:
        QueueMessageTooLarge: the message is longer than `Config.queue_blocksize`.
        QueueError: there is no queue, the message is empty, or the queue cannot be written, because the memory or the
            disk is full.
        TypeError: the message is neither bytes nor a str.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_push`, which returns True when it overwrites a message, and then pulls newer messages before
        older ones. It returns None for a message that is empty or too large.
    Example:
        if not uwsgi.queue_push(b"order 5"):
            print("the queue is too short: a message was lost")
    """
    return _queue("queue_push").push(message)


def queue_pull() -> bytes | None:
    """Take the oldest message out of the shared queue.

    One caller gets it, of all members. Nobody has it any more if that member dies: jobs of the spooler survive that.
    The call does not wait for a message; members that wait for work are mules, see `mule_get_msg`.

    Returns:
        The message; None if the queue is empty.
    Raises:
        QueueError: there is no queue, or its file cannot be written.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_pull`.
    Example:
        while (message := uwsgi.queue_pull()) is not None:
            print(message)
    """
    return _queue("queue_pull").pull()


def queue_shift() -> bytes | None:
    """Take the oldest message out of the shared queue: another name of `queue_pull`.

    Returns:
        The message; None if the queue is empty.
    Raises:
        QueueError, NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_shift`.
    """
    return _queue("queue_shift").pull()


def queue_pop() -> bytes | None:
    """Take the newest message out of the shared queue.

    Returns:
        The message; None if the queue is empty.
    Raises:
        QueueError, NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_pop`, which moves the slot of the next push if the queue is empty.
    """
    return _queue("queue_pop").pop()


def queue_get(slot: int) -> bytes | None:
    """Read the message in a slot of the shared queue, which stays there.

    Args:
        slot: the number of the slot, 0 to `Config.queue` - 1.
    Returns:
        The message; None if the slot is empty.
    Raises:
        QueueError: there is no such slot; or as `queue_pull`.
        NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_get`, which returns None for a slot that does not exist.
    """
    return _queue("queue_get").get(slot)


def queue_set(slot: int, message: str | bytes) -> None:
    """Write a message into a slot of the shared queue; a message that is there is replaced.

    The slots of the next push and pull stay the same. So a message in a slot in which none waits is not pulled in its
    turn: it is read with `queue_get`, and a push that comes to the slot overwrites it without a warning.

    Args:
        slot: as in `queue_get`.
        message: as in `queue_push`.
    Raises:
        QueueMessageTooLarge: as `queue_push`.
        QueueError: there is no such slot; or as `queue_push`.
        TypeError: the message is neither bytes nor a str.
        NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_set`, which returns True, or None for each of these errors, and writes a message that is a few
        bytes too long over the beginning of the next one.
    """
    _queue("queue_set").set(slot, message)


def queue_last(num: int = 0) -> bytes | list[bytes | None] | None:
    """Read the newest messages of the shared queue, which stay there.

    Args:
        num: how many slots to read; 0 for the last one alone. More than there are counts as all.
    Returns:
        For 0, the newest message, or None if there is none. Otherwise a list, the newest first, with None for each slot
        that is empty.
    Raises:
        QueueError: `num` is negative; or as `queue_pull`.
        NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_last`, which crashes for a negative number.
    """
    messages = _queue("queue_last").last(1 if num == 0 else num)
    return messages if num else messages[0]


def queue_slot() -> int:
    """Return the number of the slot that the next push fills.

    Raises:
        QueueError, NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_slot`.
    """
    return _queue("queue_slot").slot()


def queue_pull_slot() -> int:
    """Return the number of the slot from which the next message is pulled.

    Raises:
        QueueError, NotServing: as `queue_pull`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.queue_pull_slot`, which stays at a slot that a push has overwritten.
    """
    return _queue("queue_pull_slot").pull_slot()


def _queue(call: str) -> Queue:
    return current_unit(call, _REMEDY).member.services.queue
