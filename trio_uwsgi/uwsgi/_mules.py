"""The API of mules: programs and messages. Farms are in `_farms.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from trio_uwsgi._link.frames import Post
from trio_uwsgi._runtime.recipients import as_message, as_recipient
from trio_uwsgi._signals.mule_functions import MuleMessage
from trio_uwsgi.errors import MuleError
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import as_number, current_registry, current_unit, on_trios_thread

if TYPE_CHECKING:
    from trio_uwsgi._signals.messages import Messages

__all__ = ["MuleMessage", "mule", "mule_get_msg", "mule_message_handler", "mule_msg", "programs_messages"]

M = TypeVar("M", bound=Callable[[MuleMessage], object])
P = TypeVar("P", bound=Callable[[], object])


def mule(number: int) -> Callable[[P], P]:
    """Decorate a function to be a mule's program: it is started with the mule and owned by its nursery.

    A program that raises is started again after 1, 2, 4, ... 60 seconds; one that returns leaves the mule without a
    program. Signals and messages reach the mule while its program runs. A graceful stop cancels it.

    Args:
        number: which mule, 1 to `Config.mules`; in a pool, to its `min`.
    Raises:
        RegistrationError: there is no such mule, it comes and goes, it has a program already, or the mules run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.mule`, whose mule is deaf to signals and messages, and is respawned without a pause.
    """
    return current_registry().mule(number)


def mule_message_handler(handler: M) -> M:
    """Decorate a function to handle mule messages, in every mule whose program does not read them itself.

    Messages are handled one at a time in the order they were sent, by each handler in the order of declaration. One
    that was being handled when its mule died is handled again, once, before all others; it has `redelivered` set.

    Args:
        handler: called with the message, a `MuleMessage`; `async def`, or `def` in a thread.
    Raises:
        RegistrationError: it is not callable.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.mule_msg_hook`.
    """
    return current_registry().mule_message_handler(handler)


def mule_msg(message: bytes | str, mule: int | str | bytes = 0) -> None:
    """Queue a message for a mule, or for a farm. When this returns, the message waits in that mule's queue.

    Args:
        message: bytes, or a str that is sent as UTF-8.
        mule: which mule, from 1; 0 takes the one whose turn it is; the name of a farm, the one of its mules.
    Raises:
        TypeError: the message is neither.
        MuleError: there is no such mule or farm.
        MessageQueueFull: it has `Config.message_queue` messages waiting.
        NotServing: not called by a running member; use `Runtime.mule_msg` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.mule_msg`, which returns False when the queue is full, and takes a farm's name as bytes only.
    """
    data, recipient = as_message(message), as_recipient(mule)
    member = current_unit("mule_msg", "from other code use the mule_msg() of the Runtime that serve() starts").member
    on_trios_thread(lambda: member.link.send(Post(recipient, data)))


@awaited
async def mule_get_msg(*, farms: bool = True, timeout: float = math.inf) -> MuleMessage | None:
    """Wait for the next message of this mule. From the first call on, its program gets all of them, and handlers none.

    Asking for a message says that the one before is done.

    Args:
        farms: get those of this mule's farms too, in the order in which they were sent; False leaves them queued. A
            farm with a function (`@uwsgi.farm`) is the function's.
        timeout: seconds to wait, 0 or more; without it, for ever.
    Returns:
        The message, which is bytes and has `redelivered` and `farm`; or None when the timeout passed.
    Raises:
        MuleError: not called by a mule's program.
        ValueError: the timeout is negative.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: no message is lost; the next call gets it.
    uWSGI: `uwsgi.mule_get_msg`, which returns b"" at a timeout and None after a signal; signals need no call here.
    """
    return await programs_messages("mule_get_msg", timeout).get(timeout, farms=farms)


def programs_messages(call: str, timeout: float) -> Messages:
    """The messages of the mule whose program runs here, for a call that waits for one.

    Raises:
        MuleError: no program runs here.
        ValueError: the timeout is negative.
        NotServing: nothing runs here.
    """
    if not as_number("a timeout in seconds", timeout) >= 0:
        raise ValueError(f"a timeout is 0 or more seconds, not {timeout!r}; leave it out to wait for ever")
    unit = current_unit(call, "only a mule's program gets messages this way")
    if unit.kind != "program":
        raise MuleError(f"uwsgi.{call}() was called by {unit.member.name} in a {unit.kind}; only a mule's program may")
    return unit.member.inbox.messages
