"""One setting of a uWSGI configuration: an option, its value, and where it was written. Pure."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMAND_LINE", "FALSE_WORDS", "Place", "Setting"]

# Values that switch an option without a value off.
FALSE_WORDS = frozenset(("false", "off", "no", "0"))


class Place(NamedTuple):
    """Where a setting was written: a file with its line, or the command line or an environment variable (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


COMMAND_LINE = Place("command line")


class Setting(NamedTuple):
    """An option and its value. A bare name in a file has the value `""`, on the command line `"true"`."""

    name: str
    value: str
    place: Place
