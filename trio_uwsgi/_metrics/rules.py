"""What each operation makes of a metric's number, which has 64 bits and a sign. Pure."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from trio_uwsgi._caches.rules import quotient
from trio_uwsgi.errors import MetricError

__all__ = ["MetricStatistics", "Operation", "changed"]

Operation: TypeAlias = Literal["set", "inc", "dec", "mul", "div", "set_max", "set_min"]

_OPERATIONS: Mapping[Operation, Callable[[int, int], int]] = {
    "set": lambda number, value: value,
    "inc": operator.add,
    "dec": operator.sub,
    "mul": operator.mul,
    "div": quotient,
    "set_max": max,
    "set_min": min,
}


@dataclasses.dataclass(frozen=True, slots=True)
class MetricStatistics:
    """One metric.

    Attributes:
        name: its name.
        type: `counter`, `gauge` or `absolute`, as it was defined.
        value: its number.
    """

    name: str
    type: str
    value: int


def changed(name: str, operation: Operation, number: int, value: int) -> int:
    """The number after an operation.

    Raises:
        TypeError: the value is not an int.
        MetricError: the number would have more than 64 bits, or the value is 0 and divides.
    """
    if not isinstance(value, int):
        raise TypeError(f"a metric is changed by an int, not by {type(value).__name__}")
    if operation == "div" and not value:
        raise MetricError(f"metric {name!r} cannot be divided by 0")
    result = _OPERATIONS[operation](number, int(value))
    if not -(2**63) <= result < 2**63:
        raise MetricError(
            f"metric {name!r} is {number} and would be {result}, which has more than 64 bits; it is unchanged"
        )
    return result
