"""The API of mules: their programs and messages. Farms are in `_farms.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from trio_uwsgi._link.frames import Post
from trio_uwsgi._runtime.message_arguments import as_message, as_recipient
from trio_uwsgi._signals.mule_functions import MuleMessage
from trio_uwsgi._units.app_threads import is_uncancelled_trios_thread
from trio_uwsgi.errors import MuleError
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import as_number, current_registry, current_unit, send_to_master

if TYPE_CHECKING:
    from trio_uwsgi._signals.messages import Messages

__all__ = [
    "MuleMessage",
    "messages_of_program",
    "mule",
    "mule_get_msg",
    "mule_message_handler",
    "mule_msg",
    "waiting_message",
]

M = TypeVar("M", bound=Callable[[MuleMessage], object])
P = TypeVar("P", bound=Callable[[], object])


def mule(number: int) -> Callable[[P], P]:
    """Decorate a function to be a mule's program: the mule starts it, as a task, when the mule itself starts.

    If the program raises, the mule starts it again after 1, 2, 4, ... 60 seconds. If it returns, the mule continues
    without a program. The mule handles signals and messages while its program runs. A graceful stop cancels the
    program.

    Args:
        number: the number of the mule, 1 to `Config.mules`; with a pool, 1 to its `min`.
    Raises:
        RegistrationError: there is no such mule, the pool starts and stops this mule, the mule has a program already,
            or the mules run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.mule`, whose mule handles neither signals nor messages. If the program fails, uWSGI restarts
        it without a pause.
    Example:
        @uwsgi.mule(1)
        async def crawl():
            while True:
                print("looking for new pages")
                await trio.sleep(60)
    """
    return current_registry().mule(number)


def mule_message_handler(handler: M) -> M:
    """Decorate a function to handle mule messages, in every mule whose program does not read them itself.

    A mule handles one message at a time, in the order in which the messages were sent. For each message it calls all
    handlers, in the order of their declaration. If a mule dies while it handles a message, its replacement handles that
    message again, once and before all others, with `MuleMessage.redelivered` set.

    Args:
        handler: called with the message, a `MuleMessage`; `async def`, or `def` in a thread.
    Raises:
        RegistrationError: it is not callable.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.mule_msg_hook`, which holds one function; here there may be several.
    Example:
        @uwsgi.mule_message_handler
        async def resize(message):
            print("resizing", message.decode())
    """
    return current_registry().mule_message_handler(handler)


def mule_msg(message: bytes | str, mule: int | str | bytes = 0) -> None:
    """Queue a message for a mule or a farm. When this returns, the message waits in the queue of a mule.

    In the application's import it is kept, and queued once members serve.

    Args:
        message: bytes, or a str that is sent as UTF-8.
        mule: the number of the mule, from 1; 0 for any mule (round-robin); the name of a farm for any of its mules.
    Raises:
        TypeError: the message is neither.
        MuleError: there is no such mule or farm.
        MessageQueueFull: the mule, or each of them, has `Config.message_queue` messages waiting.
        NotServing: called neither by a member nor in the application's import; use `Runtime.mule_msg` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.mule_msg`, which returns False when the queue is full, cuts messages at 64 KiB, and takes a farm's
        name as bytes only.
    """
    data, recipient = as_message(message), as_recipient(mule)
    member = current_unit("mule_msg", "from other code use the mule_msg() of the Runtime that serve() starts").member
    send_to_master(member, Post(recipient, data))


@awaited
async def mule_get_msg(*, farms: bool = True, timeout: float = math.inf) -> MuleMessage | None:
    """Wait for the next message to this mule.

    From the first call on, the messages go to the mule's program, and the message handlers get none of them. Each call
    marks the previous message as done. Until the next call the program has `Config.mule_harakiri` for the message; when
    that is over, the program is cancelled and run again.

    Args:
        farms: also return messages to this mule's farms, in the order in which they were sent; with False they stay
            queued. Messages to a farm with a function (`@uwsgi.farm`) go to the function.
        timeout: seconds to wait, 0 or more; without it, for ever.
    Returns:
        The message, which is bytes and has `redelivered` and `farm`; None after the timeout.
    Raises:
        MuleError: not called by a mule's program.
        ValueError: the timeout is negative.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: no message is lost; the next call returns it.
    uWSGI: `uwsgi.mule_get_msg`, which returns `b""` at a timeout and None after a signal, and takes a flag to let
        signals be handled. Here the mule handles signals without any call.
    Example:
        @uwsgi.mule(1)
        async def resize_all():
            while True:
                message = await uwsgi.mule_get_msg()
                print("resizing", message.decode())
    """
    return await messages_of_program("mule_get_msg", timeout).get(timeout, farms=farms)


def waiting_message(*, farms: bool = True, timeout: float = math.inf) -> MuleMessage | None:
    """As `mule_get_msg`, in a thread of a mule's program, if a message waits that can be had there; else None.

    Raises:
        MuleError, ValueError, NotServing: as `mule_get_msg`.
    """
    if trio.lowlevel.in_trio_run() or not is_uncancelled_trios_thread():
        return None
    return messages_of_program("mule_get_msg", timeout).take_in_thread(farms=farms)


def messages_of_program(call: str, timeout: float) -> Messages:
    """The messages of the mule whose program calls, for a function that waits for one.

    Raises:
        MuleError: the calling code is not a mule's program.
        ValueError: the timeout is negative.
        NotServing: the calling code is not run by a member.
    """
    if not as_number("a timeout in seconds", timeout) >= 0:
        raise ValueError(f"a timeout is 0 or more seconds, not {timeout!r}; leave it out to wait without limit")
    unit = current_unit(call, "only a mule's program gets messages this way")
    if unit.kind != "program":
        importing = unit.member.importing
        where = "while the application is imported" if importing else f"by {unit.member.name} in a {unit.kind}"
        raise MuleError(f"uwsgi.{call}() was called {where}; only a mule's program may")
    return unit.member.inbox.messages
