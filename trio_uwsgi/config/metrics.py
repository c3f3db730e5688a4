"""Metrics that applications define. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from trio_uwsgi.errors import ConfigError

__all__ = ["Metric", "metrics"]

_TYPES = ("counter", "gauge", "absolute")

_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_BY_ITSELF = "only the application changes a metric"
# The keys of uWSGI's option `metric` that are not supported, with the reason.
_NOT_HERE = {
    **dict.fromkeys(("collector", "freq", "children", "alias", "arg1", "arg2", "arg3"), _BY_ITSELF),
    **dict.fromkeys(("arg1n", "arg2n", "arg3n"), _BY_ITSELF),
    "oid": "there is no SNMP",
    "reset_after_push": "metrics are not pushed",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a runtime, shared by its members, for `Config.metrics`.

    Args:
        name: the name of the metric: letters, digits, `.`, `-` and `_`.
        type: `counter`, `gauge` or `absolute`. It tells those who read the statistics what the number means; every
            metric takes every operation.
        initial_value: its value at the start, which fits into 64 bits.
    Raises:
        ConfigError: a value is impossible.
    """

    name: str
    type: Literal["counter", "gauge", "absolute"] = dataclasses.field(default="counter", kw_only=True)
    initial_value: int = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} is not the name of a metric", "use letters, digits, '.', '-' and '_'")
        if self.type not in _TYPES:
            types = ", ".join(map(repr, _TYPES))
            raise ConfigError(f"metric {self.name!r}: the type {self.type!r} does not exist", f"use one of {types}")
        if type(self.initial_value) is not int or not -(2**63) <= self.initial_value < 2**63:
            raise ConfigError(
                f"metric {self.name!r}: initial_value={self.initial_value!r} is not possible",
                "use a whole number that fits into 64 bits",
            )

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read the form of the command line, which is uWSGI's: `"orders"`, or `"name=load,type=gauge"`.

        Raises:
            ConfigError: a key or a value is not possible, or `name` is missing.
        """
        if "=" not in text:
            return cls(text)
        found: dict[str, str] = {}
        for pair in text.split(","):
            key, _, value = (part.strip() for part in pair.partition("="))
            if key in _NOT_HERE:
                raise ConfigError(f"metric: {key!r} does not exist here", f"leave it out: {_NOT_HERE[key]}")
            if key not in _FIELDS:
                close = difflib.get_close_matches(key, _FIELDS, n=1)
                raise ConfigError(
                    f"metric: there is no {key!r}", f"did you mean {close[0]!r}?" if close else f"use {_FIELDS_TEXT}"
                )
            found[key] = value
        if "name" not in found:
            raise ConfigError(f"metric: {text!r} lacks a name", "write name=orders")
        try:
            initial = int(found.pop("initial_value", "0"))
        except ValueError:
            raise ConfigError(f"metric: the initial_value of {text!r} is not possible", "write a number") from None
        return cls(**found, initial_value=initial)  # type: ignore[arg-type]  # an impossible type is refused


_FIELDS = [field.name for field in dataclasses.fields(Metric)]
_FIELDS_TEXT = ", ".join(_FIELDS)


def metrics(given: object) -> tuple[Metric, ...]:
    """Read the value of `Config.metrics`.

    Raises:
        ConfigError: it is not a list of metrics, or two of them have the same name.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ConfigError(f"metrics={given!r} is not a list", "write metrics=[Metric('orders')]")
    found: dict[str, Metric] = {}
    for metric in given:
        if not isinstance(metric, Metric):
            raise ConfigError(f"metrics has {metric!r} in it", "write Metric('orders')")
        if metric.name in found:
            raise ConfigError(f"two metrics are called {metric.name!r}", "give each its own name")
        found[metric.name] = metric
    return tuple(found.values())
