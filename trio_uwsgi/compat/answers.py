"""The types of uWSGI's arguments and answers. Pure.

uWSGI takes names as str and data as bytes or str, refuses numbers that are not whole, and answers "no" with None.
"""

from __future__ import annotations

import operator
from typing import Literal

__all__ = ["Data", "TrueOrNone", "as_address", "as_data", "as_name", "signum_of", "true_or_none", "whole"]

Data = str | bytes | bytearray | memoryview
TrueOrNone = Literal[True] | None


def true_or_none(answer: object) -> TrueOrNone:
    """True for yes, None for no: most of uWSGI's functions never return False."""
    return True if answer else None


def whole(value: int) -> int:
    """Check that an argument is a whole number.

    Raises:
        TypeError: it is not, with Python's own text.
    """
    return operator.index(value)


def signum_of(value: int) -> int:
    """The number of a signal, which is one byte: uWSGI takes it modulo 256.

    Raises:
        TypeError: it is not a whole number.
    """
    return operator.index(value) % 256


def as_name(call: str, value: str) -> str:
    """Check that a name is a str.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str):
        raise TypeError(f"uwsgi.{call}() takes a name as str, not {type(value).__name__}")
    return value


def as_address(address: str) -> str:
    """An address as this runtime writes it: in uWSGI whatever has no colon is a path, also without a slash."""
    return address if not address or any(sign in address for sign in ":/@") else f"./{address}"


def as_data(call: str, value: Data) -> bytes:
    """Data as bytes; a str becomes UTF-8.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"uwsgi.{call}() takes str or a bytes-like object, not {type(value).__name__!r}")
