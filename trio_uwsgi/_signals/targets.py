"""The meaning of a signal's target string, and the check that such members exist. Pure.

uWSGI accepts any text at registration; at delivery it drops the signal with a log line. Here an impossible target is
refused: its spelling at registration, its number as soon as the number of members is known.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Literal, cast, get_args

from trio_uwsgi.errors import RegistrationError

__all__ = ["Headcount", "Target", "option", "parse_target"]

Kind = Literal["worker", "mule", "spooler"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Reach = Literal["one", "all", "active", "exact", "farm"]

_FIXED: dict[str, tuple[Kind, Reach]] = {
    "": ("worker", "one"),
    "worker": ("worker", "one"),
    "worker0": ("worker", "one"),
    "workers": ("worker", "all"),
    "active-workers": ("worker", "active"),
    "mule": ("mule", "one"),
    "mule0": ("mule", "one"),
    "mules": ("mule", "all"),
    "spooler": ("spooler", "one"),
    "spooler0": ("spooler", "one"),
    "spoolers": ("spooler", "all"),
}
_SHAPES = (
    '"" or "worker" (any worker), "workers", "active-workers", "worker1", "mule" (any mule), "mules", "mule1", '
    '"farm_NAME" or "farm1" (any mule of a farm), "spooler" (any spooler), "spoolers", "spooler1"'
)


def option(name: str, value: object) -> str:
    """How to set an option, in a `Config` and on the command line: the server may have been started either way."""
    return f"Config({name}={value!r}), on the command line --{name} {value}"


def _more_of(kind: Kind, number: int) -> str:
    if kind != "spooler":
        return option(f"{kind}s", number)
    if number == 1:
        return option("spooler", "jobs")
    several = f"--spooler jobs --spooler-processes {number}"
    return f"Config(spooler='jobs', spooler_processes={number}), on the command line {several}"


@dataclasses.dataclass(frozen=True, slots=True)
class Headcount:
    """How many members of each kind a runtime has, and which mules make up its farms, in order of declaration.

    The `min_` ones always run, the others only while there is work for them; None stands for all. `scripts` are the
    programs of the first mules.
    """

    workers: int
    mules: int
    spoolers: int = 0
    min_mules: int | None = None
    min_spoolers: int | None = None
    farms: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    scripts: Sequence[str] = ()

    def of(self, kind: Kind) -> int:
        """The number of members of one kind."""
        count: int = getattr(self, f"{kind}s")
        return count

    def least(self, kind: Kind) -> int:
        """The number of members of one kind that always run."""
        least: int | None = getattr(self, f"min_{kind}s", None)
        return self.of(kind) if least is None else least

    def no_farm(self, name: str) -> str:
        """The error text for the name of a farm that does not exist."""
        if not self.farms:
            return (
                f"there is no farm {name!r}; set Config(farms={{{name!r}: [1]}}), on the command line --farm {name}:1"
            )
        known = ", ".join(map(repr, self.farms))
        close = difflib.get_close_matches(name, self.farms, n=1)
        return f"there is no farm {name!r}; " + (f"did you mean {close[0]!r}? " if close else "") + f"There are {known}"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The recipients of a signal: `one` member of the kind, `all`, the `active` ones, `exact`ly the one with `number`,
    or one mule of a `farm`, which is given by its name `farm` or its `number`.
    """

    text: str
    kind: Kind
    reach: Reach
    number: int
    farm: str = ""

    def farm_of(self, headcount: Headcount) -> str:
        """The name of its farm; `""` if the target is not a farm."""
        if self.reach != "farm" or self.farm:
            return self.farm
        return list(headcount.farms)[self.number - 1]

    def check(self, headcount: Headcount) -> None:
        """Refuse a target without recipients.

        Raises:
            RegistrationError: it names a member or a farm that does not exist; the text says which ones do.
        """
        if self.reach == "farm":
            self._check_farm(headcount)
            return
        count = headcount.of(self.kind)
        plural = self.kind if count == 1 else self.kind + "s"
        if self.reach == "exact" and self.number > count:
            choice = (
                f"use {self.kind}1" + (f" to {self.kind}{count}" if count > 1 else "")
                if count
                else "use another target"
            )
            raise RegistrationError(
                f"target {self.text!r} names a {self.kind} that does not exist (this runtime has {count} {plural}); "
                f"{choice}, or set {_more_of(self.kind, self.number)}"
            )
        if not count:
            raise RegistrationError(
                f"target {self.text!r} has no recipient: this runtime has no {self.kind}; "
                f"set {_more_of(self.kind, 1)}, or use another target"
            )

    def _check_farm(self, headcount: Headcount) -> None:
        if self.farm and self.farm not in headcount.farms:
            raise RegistrationError(f"target {self.text!r} has no recipient: {headcount.no_farm(self.farm)}")
        if self.number > (count := len(headcount.farms)):
            raise RegistrationError(
                f"target {self.text!r} is farm number {self.number}, but this runtime has {count}"
                f"{': ' + ', '.join(headcount.farms) if count else ''}; use farm_NAME, "
                f"or set Config(farms=...), on the command line --farm NAME:1"
            )


def parse_target(text: str) -> Target:
    """Read a target string of `register_signal`.

    Raises:
        RegistrationError: it is not a valid target; the text says which ones are.
    """
    if not isinstance(text, str):
        raise RegistrationError(f"a signal's target must be a str, not {text!r}; valid targets: {_SHAPES}")
    if text in _FIXED:
        kind, reach = _FIXED[text]
        return Target(text, kind, reach, 0)
    if match := re.fullmatch(f"({'|'.join(KINDS)})([1-9][0-9]{{0,5}})", text):
        return Target(text, cast("Kind", match[1]), "exact", int(match[2]))
    if match := re.fullmatch("farm(?:_(.+)|([1-9][0-9]{0,5}))", text):
        return Target(text, "mule", "farm", int(match[2] or 0), match[1] or "")
    close = difflib.get_close_matches(text, [t for t in _FIXED if t], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise RegistrationError(f"{text!r} is not a valid target of a signal; {hint}valid targets: {_SHAPES}")
