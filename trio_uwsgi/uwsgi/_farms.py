"""The API of farms: named groups of mules that share the messages sent to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi._link.frames import Post
from trio_uwsgi._runtime.message_arguments import as_farm, as_message
from trio_uwsgi._signals.mule_functions import MuleMessage
from trio_uwsgi.errors import MuleError
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_registry, current_unit, declaring, send_to_master, unit_here
from trio_uwsgi.uwsgi._mules import messages_of_program

__all__ = ["farm", "farm_get_msg", "farm_msg", "in_farm"]

M = TypeVar("M", bound=Callable[[MuleMessage], object])


def farm(name: str) -> Callable[[M], M]:
    """Decorate a function to handle the messages of a farm.

    Each mule of the farm calls the function for one message at a time. Meanwhile the mule still handles signals, runs
    its program and handles other messages. The time limit is `Config.mule_harakiri`.

    Args:
        name: the name of the farm, a key of `Config.farms`.
    Raises:
        RegistrationError: the name is not a str, the farm has a function already, or the mules run already. When the
            runtime starts: there is no such farm.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.farm`, whose mules do nothing else.
    Example:
        @uwsgi.farm("images")
        async def resize(message):
            print("resizing", message.decode())
    """
    return declaring(current_registry().farm(name))


def farm_msg(name: str, message: bytes | str) -> None:
    """Queue a message for a farm. Its mules get messages round-robin.

    When this returns, the message waits in the queue of one of them. In the application's import it is kept, and queued
    once members serve.

    Args:
        name: the name of the farm.
        message: bytes, or a str that is sent as UTF-8.
    Raises:
        TypeError: the message is neither.
        MuleError: there is no such farm.
        MessageQueueFull: each mule of the farm has `Config.message_queue` messages waiting.
        NotServing: called neither by a member nor in the application's import; use `Runtime.farm_msg` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.farm_msg`, which ignores farms that do not exist, and drops messages that do not fit.
    """
    data, recipient = as_message(message), as_farm(name)
    member = current_unit("farm_msg", "from other code use the farm_msg() of the Runtime that serve() starts").member
    send_to_master(member, Post(recipient, data))


@awaited
async def farm_get_msg(*, timeout: float = math.inf) -> MuleMessage | None:
    """Wait for the next message to one of this mule's farms.

    From the first call on, all of these messages go to the mule's program, except those to a farm with a function
    (`@uwsgi.farm`), which the function handles. Each call marks the previous message as done.

    Args:
        timeout: seconds to wait, 0 or more; without it, for ever.
    Returns:
        The message; its attribute `farm` names the farm that it was sent to. None after the timeout.
    Raises:
        MuleError: not called by a mule's program, or the mule is in no farm.
        ValueError: the timeout is negative.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: no message is lost; the next call returns it.
    uWSGI: `uwsgi.farm_get_msg`, which has no timeout.
    """
    messages = messages_of_program("farm_get_msg", timeout)
    if not in_farm():
        raise MuleError(
            "uwsgi.farm_get_msg() was called by a mule that is in no farm; "
            "set Config(farms={'name': [1]}), on the command line --farm name:1"
        )
    return await messages.get(timeout, own=False)


def in_farm(name: str | None = None) -> bool:
    """Return whether a mule of a farm runs the calling code.

    Args:
        name: the name of the farm; None for any farm.
    Returns:
        True or False. It is False in workers, in spoolers, and outside of members.
    Raises:
        MuleError: there is no such farm.
    Checkpoint: never.
    uWSGI: `uwsgi.in_farm`, which returns False for a farm that does not exist.
    """
    unit = unit_here()
    if unit is None:
        return False
    headcount = unit.member.services.headcount
    if name is not None and name not in headcount.farms:
        raise MuleError(headcount.no_farm(name))
    farms = headcount.farms.values() if name is None else [headcount.farms[name]]
    return unit.member.kind == "mule" and any(unit.member.number in mules for mules in farms)
