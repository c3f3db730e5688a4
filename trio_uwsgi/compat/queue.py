"""The shared queue of the module `uwsgi`, which it has with `Config.queue`."""

from __future__ import annotations

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import Data, TrueOrNone, as_data, whole
from trio_uwsgi.errors import QueueError

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


def queue_push(message: Data, /) -> TrueOrNone:
    """Append a message; None if it is empty or too long. In a full queue it replaces the oldest one.

    uWSGI: the order of the others stays; there, newer ones are pulled first after that.
    """
    data = as_data("queue_push", message)
    try:
        native.queue_push(data)
    except QueueError:
        return None
    return True


def queue_pull() -> bytes | None:
    """Take the oldest message; None if there is none."""
    return native.queue_pull()


def queue_pop() -> bytes | None:
    """Take the newest message; None if there is none."""
    return native.queue_pop()


def queue_get(index: int, /) -> bytes | None:
    """Read the message of a slot; None if it is empty or does not exist."""
    slot = whole(index)
    try:
        return native.queue_get(slot)
    except QueueError:
        return None


def queue_set(index: int, message: Data, /) -> TrueOrNone:
    """Write the message of a slot; None if there is no such slot, or the message is empty or too long."""
    slot, data = whole(index), as_data("queue_set", message)
    try:
        native.queue_set(slot, data)
    except QueueError:
        return None
    return True


def queue_last(num: int = 0, /) -> bytes | list[bytes | None] | None:
    """Read the newest message, or so many as a list, the newest first.

    uWSGI: a negative number raises `QueueError`; there it crashes.
    """
    return native.queue_last(whole(num))


def queue_slot() -> int:
    """Return the slot of the next message."""
    return native.queue_slot()


def queue_pull_slot() -> int:
    """Return the slot of the next message to pull."""
    return native.queue_pull_slot()
