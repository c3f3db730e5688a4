"""One row of the table of the command line's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Option", "flag_of"]


class Option(NamedTuple):
    """How one field of `Config` is written on the command line. `metavar` is None for a switch.

    `collect` builds the field's value from all values of a repeatable option. `flag` is the option's name where it
    differs from the field's.
    """

    field: str
    group: str
    metavar: str | None
    read: Callable[[str], object]
    help: str
    aliases: tuple[str, ...] = ()
    collect: Callable[[list[Any]], object] | None = None
    flag: str = ""


def flag_of(option: Option) -> str:
    """The long name of an option."""
    return option.flag or "--" + option.field.replace("_", "-")
