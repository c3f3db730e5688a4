"""A request to queue a job: its vars as callers pass them, and as its file has them. Pure.

The functions that run jobs are in `functions.py`.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from trio_uwsgi.errors import SpoolError

__all__ = ["SPECIAL", "JobVars", "SpoolRequest", "make_request", "named_vars", "request_of", "unique_keys"]

# Names and values as callers pass them. (To a type checker the keys of a mapping have one type.)
JobVars: TypeAlias = Mapping[str, object] | Mapping[bytes, object] | Mapping[str | bytes, object]

# Vars that mean something to uWSGI.
SPECIAL = ("body", "spooler", "priority", "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRequest:
    """A job to be queued: its vars in their order, its body, and where, when and with which priority.

    `at` is in seconds since the epoch; `spooler` is a directory, None the first one. `spooler`, `priority` and `at` are
    among the vars too.
    """

    pairs: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    spooler: str | None = None
    priority: int | None = None
    at: float | None = None


def make_request(given: Mapping[str, object]) -> SpoolRequest:
    """Read the vars that a caller passed, special ones included. `given` is not changed.

    Raises:
        TypeError: a value is neither bytes nor str, or a special one is of the wrong type.
        SpoolError: a special value is not possible, or two names would be the same in the file.
    """
    pairs = {}
    for name, value in given.items():
        if name == "body" or (name in SPECIAL and value is None):
            continue
        data = _SPECIAL_TEXTS[name](value) if name in _SPECIAL_TEXTS else _as_bytes(name, value)
        if (key := _encoded(name)) in pairs:
            raise _duplicate(name)
        pairs[key] = data
    body, priority, at = given.get("body"), given.get("priority"), given.get("at")
    where = given.get("spooler")
    return SpoolRequest(
        pairs=tuple(pairs.items()),
        body=b"" if body is None else _as_bytes("body", body),
        spooler=None if where is None else _as_bytes("spooler", where).decode("utf-8", "surrogateescape"),
        priority=None if priority is None else int(_priority(priority)),
        at=None if at is None else float(_at(at)),
    )


def named_vars(variables: JobVars | None, more: Mapping[str, object]) -> dict[str, object]:
    """Merge the mapping and the keyword arguments of a caller into one mapping with str keys. Keyword arguments win.

    Raises:
        TypeError: `variables` is not a mapping, or a name is neither bytes nor str.
        SpoolError: the mapping has a name twice, as bytes and as str.
    """
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"spool() takes a mapping of names to values, not {type(variables).__name__}")
    given: dict[str, object] = {}
    for name, value in (variables or {}).items():
        if not isinstance(name, str | bytes):
            raise TypeError(f"spool(): the name {name!r} is neither bytes nor str")
        text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
        if text in given:
            raise _duplicate(text)
        given[text] = value
    return {**given, **more}


def request_of(pairs: Sequence[tuple[bytes, bytes]]) -> SpoolRequest:
    """Read the vars of a job that another node sent.

    Raises:
        SpoolError: a special value is not possible, or a name occurs twice.
    """
    if len(given := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise _duplicate(next(name for name in given if names.count(name) > 1).decode("utf-8", "replace"))
    return make_request(named_vars(given, {}))


def _duplicate(name: str) -> SpoolError:
    return SpoolError(f"spool: {name!r} is given twice, perhaps as bytes and as str, which are one name; give it once")


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A mapping after its way through JSON, where all keys are str. Raises ValueError if two keys have become one."""
    mapping: dict[str, object] = {}
    for name, value in pairs:
        if name in mapping:
            raise ValueError(f"two keys of one mapping become {name!r}")
        mapping[name] = value
    return mapping


def _as_bytes(name: str, value: object) -> bytes:
    if isinstance(value, str):
        return _encoded(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(
        f"spool: {name!r} is {type(value).__name__}; a job's vars are bytes or str, so write str(...), or declare the "
        f"function with pass_arguments=True"
    )


def _encoded(text: str) -> bytes:
    """A str as it is in the file. Surrogates, which a `Job` has for bytes that are not UTF-8, become these bytes again.

    Raises:
        SpoolError: it has other surrogates.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise SpoolError(f"spool: {text[:40]!r} cannot be written as UTF-8 ({error.reason}); give bytes") from None


def _priority(value: object) -> bytes:
    if isinstance(value, bytes | str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 7 else value
    if type(value) is not int or not 0 <= value < 1_000_000:
        raise SpoolError(f"spool: priority={value!r} is not possible; use a whole number from 0 (first) to 999999")
    return b"%d" % value


def _at(value: object) -> bytes:
    try:
        if isinstance(value, datetime.datetime):
            seconds = value.timestamp()
        elif isinstance(value, bytes | str | int | float) and not isinstance(value, bool):
            seconds = float(value)
        else:
            raise TypeError(f"spool: at={value!r} is neither seconds since the epoch nor a datetime")
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < 1e11:
        raise SpoolError(f"spool: at={value!r} is not a time; use seconds since the epoch, or a datetime")
    return b"%d" % seconds if seconds == int(seconds) else f"{seconds:.6f}".encode()


_SPECIAL_TEXTS: Mapping[str, Callable[[object], bytes]] = {
    "priority": _priority,
    "at": _at,
    "spooler": lambda value: _as_bytes("spooler", value),
}
