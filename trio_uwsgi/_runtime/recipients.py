"""What people give as a message and its recipient, as it travels."""

from __future__ import annotations

from trio_uwsgi.errors import MuleError

__all__ = ["as_farm", "as_message", "as_recipient"]


def as_message(message: bytes | str) -> bytes:
    """A mule message as it travels.

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
    """Whom a message is for: the number of a mule, or the name of a farm.

    Raises:
        MuleError: it cannot be either.
    """
    return mule if type(mule) is int else as_farm(mule)  # type: ignore[arg-type]  # what else it is, is refused


def as_farm(name: str | bytes) -> str:
    """The name of a farm, which may come as bytes from code that was written for uWSGI.

    Raises:
        MuleError: it is no name.
    """
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if not isinstance(name, str) or not name:
        raise MuleError(f"{name!r} is no mule and no farm; use a mule's number, 0 for any, or the name of a farm")
    return name
