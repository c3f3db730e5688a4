"""The API of mules: programs and messages. Floor 4."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi._runtime.master import as_message
from trio_uwsgi._wire.frames import Post
from trio_uwsgi.errors import MuleError
from trio_uwsgi.uwsgi._base import current_registry, current_unit, on_trios_thread

__all__ = ["mule", "mule_get_msg", "mule_message_handler", "mule_msg"]

M = TypeVar("M", bound=Callable[[bytes], object])
P = TypeVar("P", bound=Callable[[], object])


def mule(number: int) -> Callable[[P], P]:
    """Decorate a function to be a mule's program: it is started with the mule and owned by its nursery.

    A program that raises is started again after 1, 2, 4, ... 60 seconds; one that returns leaves the mule without a
    program. Signals and messages reach the mule while its program runs. A graceful stop cancels it.

    Args:
        number: which mule, 1 to `Config.mules`.
    Raises:
        RegistrationError: there is no such mule, it has a program already, or the mules run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.mule`, whose mule is deaf to signals and messages, and is respawned without a pause.
    """
    return current_registry().mule(number)


def mule_message_handler(handler: M) -> M:
    """Decorate a function to handle mule messages, in every mule whose program does not read them itself.

    Messages are handled one at a time in the order they were sent, by each handler in the order of declaration.

    Args:
        handler: called with the message as bytes; `async def`, or `def` in a thread.
    Raises:
        RegistrationError: it is not callable.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.mule_msg_hook`.
    """
    return current_registry().mule_message_handler(handler)


def mule_msg(message: bytes | str, mule: int = 0) -> None:
    """Queue a message for a mule. When this returns, the message waits in that mule's queue.

    Args:
        message: bytes, or a str that is sent as UTF-8.
        mule: which mule, from 1; 0 takes the least busy one.
    Raises:
        TypeError: the message is neither.
        MuleError: there is no such mule.
        MessageQueueFull: it has `Config.message_queue` messages waiting.
        NotServing: not called by a running member; use `Runtime.mule_msg` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.mule_msg`, which returns False when the queue is full.
    """
    data = as_message(message)
    member = current_unit("mule_msg", "from other code use the mule_msg() of the Runtime that serve() starts").member
    on_trios_thread(lambda: member.link.send(Post(mule, data)))


async def mule_get_msg(*, timeout: float = math.inf) -> bytes | None:
    """Wait for the next message of this mule. From the first call on, its program gets all of them, and handlers none.

    Asking for a message says that the one before is done.

    Args:
        timeout: seconds to wait, 0 or more; without it, for ever.
    Returns:
        The message, or None when the timeout passed.
    Raises:
        MuleError: not called by a mule's program.
        ValueError: the timeout is negative.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: no message is lost; the next call gets it.
    uWSGI: `uwsgi.mule_get_msg`, which returns b"" at a timeout and None after a signal; signals need no call here.
    """
    if not timeout >= 0:
        raise ValueError(f"a timeout is 0 or more seconds, not {timeout!r}; leave it out to wait for ever")
    unit = current_unit("mule_get_msg", "only a mule's program gets messages this way")
    if unit.kind != "program":
        raise MuleError(
            f"uwsgi.mule_get_msg() was called by {unit.member.name} in a {unit.kind}; only a mule's program may"
        )
    return await unit.member.inbox.get_message(timeout)
