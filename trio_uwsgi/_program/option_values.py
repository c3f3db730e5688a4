"""Reads the values of options on the command line. Each function takes one word and returns a value for `Config`."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import TypeVar

from trio_uwsgi.errors import ConfigError

__all__ = [
    "area",
    "checked",
    "did_you_mean",
    "expiry",
    "farm",
    "joined",
    "megabytes",
    "name_or_number",
    "octal",
    "one_of",
    "pair",
    "parsed",
    "seconds",
    "sources",
    "whole",
    "words",
]

T = TypeVar("T")

_PAGE = 4096


def whole(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None


def megabytes(text: str) -> int:
    return whole(text) * 1024**2


def area(text: str) -> int:
    """Bytes of a shared area, in uWSGI's form."""
    key, given, value = text.rpartition("=")
    if given and key not in ("pages", "size"):
        raise argparse.ArgumentTypeError(f"a shared area has no {key!r} here; write PAGES, pages=PAGES or size=BYTES")
    return whole(value) * (1 if key == "size" else _PAGE)


def octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an octal number, as in 660") from None


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def joined(lists: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(word for words in lists for word in words)


def pair(separator: str, form: str) -> Callable[[str], tuple[str, str]]:
    """A parser of one entry of a mapping."""

    def read(text: str) -> tuple[str, str]:
        name, found, value = text.partition(separator)
        if not found:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {form}")
        return name, value

    return read


def sources(text: str) -> tuple[str, list[str]]:
    name, sources = pair("=", "NAME=SOURCE,SOURCE")(text)
    return name, [source for source in sources.split(",") if source]


def parsed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Turn the `ConfigError` of a parsing function into an error of argparse."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """As `parsed`, for fields that keep the text."""

    def read(text: str) -> str:
        parsed(parse)(text)
        return text

    return read


def expiry(text: str) -> tuple[str, int]:
    pattern, found, seconds = text.rpartition(" ")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 'REGEX SEC'")
    return pattern, whole(seconds)


def farm(text: str) -> tuple[str, list[int]]:
    name, mules = pair(":", "NAME:MULE,MULE")(text)
    return name, [whole(mule) for mule in mules.split(",")]


def name_or_number(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(choices)}{did_you_mean(text, choices)}")
        return text

    return read


def did_you_mean(text: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
