"""The options of mules: pools and farms. Pure.

`options.py` exports `Mules`; this is a module of its own only because of the length.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from trio_uwsgi.errors import ConfigError

__all__ = ["Mules", "farms"]

# Letters that need no quoting on a command line, in a target or in a log.
_FARM_NAME = re.compile("[A-Za-z0-9_.-]+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mules:
    """A pool of mules that scales with the work that waits, for `Config.mules`.

    Work for any mule goes to the idle mule with the lowest number. If all running mules are busy, the runtime starts
    one more. Work for a certain mule starts that mule if it does not run.

    Args:
        max: the most mules that run at the same time.
        min: the number of mules that always run; only these can have programs.
        idle: seconds without work after which the runtime stops one of the others; `math.inf` keeps them.
    Raises:
        ConfigError: a value is impossible.
    """

    max: int
    min: int = 1
    idle: float = 60

    def __post_init__(self) -> None:
        for name in ("min", "max"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"mules: {name}={getattr(self, name)!r} is not a whole number", f"write {name}=1")
        if not 0 <= self.min <= self.max:
            raise ConfigError(
                f"mules: min={self.min} and max={self.max} make no pool",
                "use 0 or more for min, and min or more for max",
            )
        if type(self.idle) not in (int, float) or not self.idle > 0:
            raise ConfigError(
                f"mules: idle={self.idle!r} is not possible", "use more than 0 seconds, or math.inf to keep idle mules"
            )

    def __str__(self) -> str:
        return f"{self.min}-{self.max}"

    @classmethod
    def parse(cls, text: str) -> int | Mules:
        """Read the value of `--mules`: `"2"`, or `"1-4"` for a pool.

        Raises:
            ConfigError: it does not have that form, or is impossible.
        """
        numbers = re.fullmatch("([0-9]+)(?:-([0-9]+))?", text)
        if numbers is None:
            raise ConfigError(f"mules: {text!r} is neither a number nor a range of numbers", "write 2, or 1-4")
        return int(numbers[1]) if numbers[2] is None else cls(min=int(numbers[1]), max=int(numbers[2]))


def farms(given: object, mules: int) -> dict[str, tuple[int, ...]]:
    """Read `Config.farms`: names with the numbers of their mules.

    Args:
        given: the value of the option.
        mules: the highest number of a mule.
    Raises:
        ConfigError: a name or a number is impossible, or a farm has no mule or one mule twice.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"farms={given!r} is not a mapping", "write farms={'images': [1, 2]}")
    found: dict[str, tuple[int, ...]] = {}
    for name, numbers in given.items():
        if not isinstance(name, str) or not _FARM_NAME.fullmatch(name):
            raise ConfigError(f"farms: {name!r} is not the name of a farm", "use letters, digits, '_', '-' and '.'")
        if isinstance(numbers, str | bytes) or not isinstance(numbers, Iterable):
            raise ConfigError(
                f"farm {name!r} has {numbers!r}, which is not a list of mules", f"write farms={{{name!r}: [1, 2]}}"
            )
        found[name] = tuple(numbers)
        for number in found[name]:
            if type(number) is not int or not 1 <= number <= mules:
                there = f"use 1{f' to {mules}' * (mules > 1)}, or set mules higher" if mules else "set mules=1"
                raise ConfigError(f"farm {name!r} has mule {number!r}, which does not exist", there)
        if not found[name] or len(set(found[name])) < len(found[name]):
            raise ConfigError(f"farm {name!r} has the mules {list(found[name])}", "name one or more, each once")
    return found
