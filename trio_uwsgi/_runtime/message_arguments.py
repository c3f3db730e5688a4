"""Checks and converts the message and the recipient that callers pass to `mule_msg` and `farm_msg`."""

from __future__ import annotations

from trio_uwsgi.errors import MuleError

__all__ = ["as_farm", "as_message", "as_recipient"]


def as_message(message: bytes | str) -> bytes:
    """A mule message as bytes.

    Raises:
        TypeError: it is neither bytes nor a str.
    """
    if isinstance(message, str):
        return message.encode()
    if not isinstance(message, bytes | bytearray | memoryview):
        raise TypeError(
            f"a mule message is bytes or str, not {type(message).__name__}; encode it first, as with json.dumps"
        )
    return bytes(message)


def as_recipient(mule: int | str | bytes) -> int | str:
    """The recipient of a message: the number of a mule, or the name of a farm.

    Raises:
        MuleError: it is neither.
    """
    return mule if type(mule) is int else as_farm(mule)  # type: ignore[arg-type]  # other types are refused there


def as_farm(name: str | bytes) -> str:
    """The name of a farm, which may come as bytes from code that was written for uWSGI.

    Raises:
        MuleError: it is not a name.
    """
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if not isinstance(name, str) or not name:
        raise MuleError(f"{name!r} is neither a mule nor a farm; use a mule's number, 0 for any, or the name of a farm")
    return name
