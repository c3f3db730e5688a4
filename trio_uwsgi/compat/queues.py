"""The shared queue of the module `uwsgi`. Its functions are there where the runtime has a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import TrueOrNone, as_data, whole
from trio_uwsgi.errors import QueueError

if TYPE_CHECKING:
    from trio_uwsgi.compat.answers import Data

__all__ = [
    "queue_get",
    "queue_last",
    "queue_pop",
    "queue_pull",
    "queue_pull_slot",
    "queue_push",
    "queue_set",
    "queue_slot",
]


def queue_get(index: int, /) -> bytes | None:
    """Read the message in a slot; None if the slot is empty, or does not exist."""
    try:
        return native.queue_get(whole(index))
    except QueueError:
        return None


def queue_set(index: int, message: Data, /) -> TrueOrNone:
    """Write a message into a slot; None for a message that is empty or too long, and for a slot that does not exist."""
    data = as_data("queue_set", message)
    try:
        native.queue_set(whole(index), data)
    except QueueError:
        return None
    return True


def queue_last(num: int = 0, /) -> bytes | list[bytes | None] | None:
    """Read the newest message; with a number, a list of the newest ones, with None for each empty slot.

    uWSGI: a list has at most as many elements as the queue has slots. A negative number raises `QueueError`; there it
        ends the worker.
    """
    return native.queue_last(whole(num))


def queue_push(message: Data, /) -> TrueOrNone:
    """Append a message; None for one that is empty or too long.

    uWSGI: the messages of a full queue stay in order when the oldest one is overwritten; there newer messages are
        pulled before older ones.
    """
    data = as_data("queue_push", message)
    try:
        native.queue_push(data)
    except QueueError:
        return None
    return True


def queue_pull() -> bytes | None:
    """Take the oldest message; None if the queue is empty."""
    return native.queue_pull()


def queue_pop() -> bytes | None:
    """Take the newest message; None if the queue is empty."""
    return native.queue_pop()


def queue_slot() -> int:
    """Return the number of the slot that the next push fills."""
    return native.queue_slot()


def queue_pull_slot() -> int:
    """Return the number of the slot from which the next message is pulled."""
    return native.queue_pull_slot()
