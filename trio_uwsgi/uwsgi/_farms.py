"""The API of farms: names for several mules, which share the messages that are sent to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi._link.frames import Post
from trio_uwsgi._runtime.recipients import as_farm, as_message
from trio_uwsgi._signals.mule_functions import MuleMessage
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import MuleError
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_registry, current_unit, declaring, on_trios_thread
from trio_uwsgi.uwsgi._mules import programs_messages

__all__ = ["farm", "farm_get_msg", "farm_msg", "in_farm"]

M = TypeVar("M", bound=Callable[[MuleMessage], object])


def farm(name: str) -> Callable[[M], M]:
    """Decorate a function to handle a farm's messages, in every mule of it, one at a time in each.

    It runs beside the mule's signals, program and other messages. Its harakiri is that of messages.

    Args:
        name: the farm, one of `Config.farms`.
    Raises:
        RegistrationError: it is no str, the farm has a function already, or the mules run already; at the start of the
            runtime, if there is no such farm.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.farm`, whose mules do nothing else.
    """
    return declaring(current_registry().farm(name))


def farm_msg(name: str, message: bytes | str) -> None:
    """Queue a message for a farm.

    It goes to the mule of the farm whose turn it is, and waits in its queue when this returns.

    Args:
        name: the farm.
        message: bytes, or a str that is sent as UTF-8.
    Raises:
        TypeError: the message is neither.
        MuleError: there is no such farm.
        MessageQueueFull: each of its mules has `Config.message_queue` messages waiting.
        NotServing: not called by a running member; use `Runtime.farm_msg` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.farm_msg`, which ignores farms that do not exist, and drops what does not fit.
    """
    data, recipient = as_message(message), as_farm(name)
    member = current_unit("farm_msg", "from other code use the farm_msg() of the Runtime that serve() starts").member
    on_trios_thread(lambda: member.link.send(Post(recipient, data)))


@awaited
async def farm_get_msg(*, timeout: float = math.inf) -> MuleMessage | None:
    """Wait for the next message of this mule's farms. From the first call on, its program gets all of them.

    Those of a farm with a function (`@uwsgi.farm`) are the function's. Asking for a message says that the one before is
    done.

    Args:
        timeout: seconds to wait, 0 or more; without it, for ever.
    Returns:
        The message, whose `farm` says which one it was sent to; or None when the timeout passed.
    Raises:
        MuleError: not called by a mule's program, or the mule is in no farm.
        ValueError: the timeout is negative.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: no message is lost; the next call gets it.
    uWSGI: `uwsgi.farm_get_msg`, which has no timeout.
    """
    messages = programs_messages("farm_get_msg", timeout)
    if not in_farm():
        raise MuleError(
            "uwsgi.farm_get_msg() was called by a mule that is in no farm; "
            "set Config(farms={'name': [1]}), on the command line --farm name:1"
        )
    return await messages.get(timeout, own=False)


def in_farm(name: str | None = None) -> bool:
    """Is the mule that runs this code in a farm?

    Args:
        name: which farm; None for any.
    Returns:
        False in a worker, too, and outside.
    Raises:
        MuleError: there is no such farm.
    Checkpoint: never.
    uWSGI: `uwsgi.in_farm`, for which a farm that does not exist is one that the mule is not in.
    """
    unit = UNIT.get(None)
    headcount = None if unit is None else unit.member.registry.headcount
    if unit is None or headcount is None:
        return False
    if name is not None and name not in headcount.farms:
        raise MuleError(headcount.no_farm(name))
    farms = headcount.farms.values() if name is None else [headcount.farms[name]]
    return unit.member.kind == "mule" and any(unit.member.number in mules for mules in farms)
