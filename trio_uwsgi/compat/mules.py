"""Mules and farms of the module `uwsgi`."""

from __future__ import annotations

import logging
import math

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import Data, TrueOrNone, as_data, as_name, true_or_none, whole
from trio_uwsgi.compat.calling import serving_member, waiting
from trio_uwsgi.errors import MessageQueueFull, MuleError
from trio_uwsgi.uwsgi._mules import MuleMessage, waiting_message

__all__ = ["farm_get_msg", "farm_msg", "in_farm", "mule_get_msg", "mule_id", "mule_msg"]

logger = logging.getLogger("trio_uwsgi")


def mule_msg(message: Data, mule: int | bytes = 0, /) -> bool:
    """Queue a message for a mule, for any mule, or for a farm (its name as bytes or str); False if the queue is full.

    uWSGI: where members are processes, the master notices the full queue: it logs that, and this is True. A message has
        no limit of 64 KiB; there a longer one is cut. The number of a mule that does not exist raises
        `MuleError`; there it writes to other memory.
    """
    data = as_data("mule_msg", message)
    if not isinstance(mule, bytes | str):
        if not isinstance(mule, int):
            raise MuleError(f"a mule is a number or the name of a farm, not {mule!r}")
        mule = whole(mule)
    _check("mule_msg", mule)
    try:
        native.mule_msg(data, mule)
    except MessageQueueFull as error:
        logger.warning("uwsgi.mule_msg: %s", error)
        return False
    return True


def farm_msg(farm_name: str, message: Data, /) -> None:
    """Queue a message for a farm.

    uWSGI: a farm that does not exist, and a full queue, raise `MuleError` and `MessageQueueFull`; there the message is
        lost.
    """
    data = as_data("farm_msg", message)
    _check("farm_msg", as_name("farm_msg", farm_name))
    native.farm_msg(farm_name, data)


def mule_get_msg(signals: bool = True, farms: bool = True, buffer_size: int = 65536, timeout: int = -1) -> bytes:
    """Wait for the next message, in the program of a mule; b"" after the timeout.

    uWSGI: the mule handles signals meanwhile, whatever `signals` is. The whole message is returned, whatever
        `buffer_size` is; there the rest of it is lost.
    """
    whole(buffer_size)
    seconds = math.inf if whole(timeout) < 0 else timeout

    async def receive() -> MuleMessage | None:
        return await native.mule_get_msg(farms=bool(farms), timeout=seconds)

    message = waiting_message(farms=bool(farms), timeout=seconds)
    if message is None:
        message = waiting(receive)
    return bytes(message or b"")


def farm_get_msg() -> bytes | None:
    """Wait for the next message to the farms of this mule, in its program."""
    message = waiting(native.farm_get_msg)
    return None if message is None else bytes(message)


def in_farm(farm_name: str = "", /) -> TrueOrNone:
    """Tell whether a mule of this farm, or of any, runs the calling code: True or None."""
    try:
        return true_or_none(native.in_farm(as_name("in_farm", farm_name) or None))
    except MuleError:
        return None


def _check(call: str, recipient: int | str | bytes) -> None:
    """Check that there is this mule or farm. Where members are processes, the master would notice it too late.

    Raises:
        MuleError: there is not.
    """
    headcount = serving_member(call).services.headcount
    if not isinstance(recipient, int):
        name = recipient.decode("utf-8", "replace") if isinstance(recipient, bytes) else recipient
        if name not in headcount.farms:
            raise MuleError(headcount.no_farm(name))
    elif not 0 <= recipient <= headcount.mules or not headcount.mules:
        raise MuleError(f"there is no mule {recipient}: this runtime has {headcount.mules}")


def mule_id() -> int:
    """Return the number of the mule that runs the calling code; 0 elsewhere."""
    return native.mule_id()
