"""What was measured, and how it reads: medians, spreads, ratios, tables of Markdown, and what wrk prints. Pure.

A `Record` is everything of one run of a command. It is kept as JSON in `results/`, and tables and plots come from it.
"""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple  # Any: JSON


class Spread(NamedTuple):
    """The median of several values, the least, and the greatest."""

    median: float
    low: float
    high: float


class Load(NamedTuple):
    """What wrk saw: requests, requests per second, latencies in milliseconds, and how many requests failed."""

    requests: int
    rate: float
    p50: float
    p99: float
    failed: int


class Quantity(NamedTuple):
    """What is measured. `more`: the more, the better. `compared`: ratios are those of this one."""

    name: str
    more: bool = False
    compared: bool = False


@dataclasses.dataclass
class Scenario:
    """One situation, with the values of each round by contender and quantity.

    `absent` has those who were left out, with the reason. `group` and `size` are those of one of several scenarios that
    show how a cost grows.
    """

    title: str
    quantities: list[Quantity]
    values: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    group: str = ""
    size: int = 0

    def add(self, contender: str, found: Mapping[str, float]) -> None:
        """The values of one round."""
        for quantity, value in found.items():
            self.values.setdefault(contender, {}).setdefault(quantity, []).append(value)


@dataclasses.dataclass
class Record:
    """One run of a command."""

    command: str
    rounds: int
    seconds: float
    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    ours: list[str]
    scenarios: dict[str, Scenario] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """The text of its file."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record of a file."""
        fields: dict[str, Any] = json.loads(text)
        scenarios = {
            name: Scenario(**{**scenario, "quantities": [Quantity(*each) for each in scenario["quantities"]]})
            for name, scenario in fields.pop("scenarios").items()
        }
        return cls(**fields, scenarios=scenarios)


def spread(values: Sequence[float]) -> Spread:
    """The median and the range of one or more values."""
    return Spread(statistics.median(values), min(values), max(values))


def number(value: float) -> str:
    """With as many digits as mean something."""
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 20 else 2 if size >= 0.1 or not size else 4
    return f"{value:,.{digits}f}"


def cell(values: Sequence[float]) -> str:
    """A median, and the range if there is one."""
    if not values:
        return "-"
    median, low, high = spread(values)
    return number(median) if low == high else f"{number(median)} ({number(low)} to {number(high)})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The quotient of the medians."""
    divisor = statistics.median(theirs) if theirs else 0
    return f"{statistics.median(ours) / divisor:.2f}" if ours and divisor else "-"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: names on the left, numbers on the right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison(scenario: Scenario, ours: Iterable[str]) -> str:
    """The table of a scenario: all contenders, the best first, and how each of ours compares with them.

    The ratio is ours to theirs in the quantity that is compared, whichever is better.
    """
    compared = next((quantity for quantity in scenario.quantities if quantity.compared), scenario.quantities[0])
    mine = [name for name in scenario.values if is_one_of(name, ours)]
    order = sorted(
        scenario.values,
        key=lambda name: spread(scenario.values[name].get(compared.name) or [0.0]).median,
        reverse=compared.more,
    )
    rows = []
    for name in order:
        values = scenario.values[name]
        ratios = [
            ratio(scenario.values[one].get(compared.name, []), values.get(compared.name, [])) if one != name else ""
            for one in mine
        ]
        bold = f"**{name}**" if name in mine else name
        rows.append([bold, *(cell(values.get(each.name, [])) for each in scenario.quantities), *ratios])
    heads = [scenario.title, *(each.name for each in scenario.quantities), *(f"{one} / it" for one in mine)]
    return "\n".join([markdown(heads, rows), *_reasons(scenario.absent)])


def beside(scenarios: Sequence[Scenario], base: str) -> str:
    """One table of several scenarios of one quantity, each a row, with all contenders beside each other.

    Args:
        scenarios: the rows.
        base: the contender whose part of the others' numbers is shown.
    """
    names = list(dict.fromkeys(name for scenario in scenarios for name in scenario.values))
    names.sort(key=lambda name: name != base)
    rows = []
    for scenario in scenarios:
        (quantity,) = scenario.quantities
        row = [f"{scenario.title}, {quantity.name}"]
        for name in names:
            values, bases = (scenario.values.get(one, {}).get(quantity.name, []) for one in (name, base))
            part = ratio(values, bases) if quantity.compared and name != base else "-"
            row.append(cell(values) if part == "-" else f"{cell(values)} = {part} x")
        rows.append(row)
    absent = {name: reason for scenario in scenarios for name, reason in scenario.absent.items()}
    return "\n".join([markdown(["", *names], rows), *_reasons(absent)])


def growing(scenarios: Sequence[Scenario]) -> str:
    """One table of scenarios that differ in size."""
    names = list(dict.fromkeys(name for scenario in scenarios for name in scenario.values))
    quantities = scenarios[0].quantities
    heads = [scenarios[0].group, *(f"{each.name}, {name}" for name in names for each in quantities)]
    rows = [
        [f"{scenario.size:,}"]
        + [cell(scenario.values.get(name, {}).get(each.name, [])) for name in names for each in quantities]
        for scenario in scenarios
    ]
    absent = {f"{name} with {one.size:,}": reason for one in scenarios for name, reason in one.absent.items()}
    return "\n".join([markdown(heads, rows), *_reasons(absent)])


def groups(scenarios: Iterable[Scenario]) -> dict[str, list[Scenario]]:
    """Those of each group, by size."""
    found: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        found.setdefault(scenario.group, []).append(scenario)
    return {name: sorted(each, key=lambda one: one.size) for name, each in found.items()}


def _reasons(absent: Mapping[str, str]) -> list[str]:
    """Who could not be measured, and why."""
    return ["", *(f"- {name}: not measured. {reason}" for name, reason in absent.items())] if absent else []


def is_one_of(name: str, ours: Iterable[str]) -> bool:
    """Is this contender a build of ours? Those of a build begin with its name."""
    return any(name == one or name.startswith(f"{one} ") for one in ours)


def load_of(text: str) -> Load:
    """What wrk printed at its end, through `wrk.lua`.

    Raises:
        ValueError: it printed something else.
    """
    found = re.search(r"^RESULT (\{.*\})$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no result:\n{text}")
    result: dict[str, float] = json.loads(found[1])
    count, seconds = int(result["requests"]), result["us"] / 1e6
    return Load(count, count / seconds, result["p50"] / 1e3, result["p99"] / 1e3, int(result["failed"]))
