"""Draws what was measured as SVG, in colours that can be read on a light and on a dark page.

Needs matplotlib: `pip install 'trio-uwsgi[benchmarks]'`, or this package's checkout with that extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # matplotlib has types only where it is installed

from benchmarks.measured import Record, Scenario, groups, is_one_of, spread

TEXT, GRID = "#808890", "#80889040"
OURS, PEER = ("#d9822b", "#8f5ac2", "#2f9e6e"), "#5b8db8"
WIDTH = 7.6  # inches
# Rows of `serving` and `memory` that have a plot of bars. The tables have all.
PLOTTED = ("keep-alive", "close", "flask", "connections", "workers")


def drawn(record: Record, folder: Path) -> dict[str, str]:
    """Draw the plots of a record.

    Args:
        record: what was measured.
        folder: where the files go.
    Returns:
        the names of the files, with what each shows.
    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise SystemExit("the plots need matplotlib: pip install -e '.[benchmarks]'") from None
    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "trio_uwsgi",  # the same numbers make the same file
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "text.color": TEXT,
            "axes.labelcolor": TEXT,
            "axes.edgecolor": GRID,
            "xtick.color": TEXT,
            "ytick.color": TEXT,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    if record.command == "growth":
        for name, scenarios in groups(record.scenarios.values()).items():
            file = f"growth_{name.replace(' ', '_')}.svg"
            _lines(scenarios, record.ours, folder / file)
            found[file] = f"{scenarios[0].quantities[0].name} by {name}"
    else:
        for key, scenario in plotted(record).items():
            file = f"{record.command}_{key.replace(' ', '_')}.svg"
            _bars(scenario, record.ours, folder / file)
            found[file] = scenario.title
    return found


def plotted(record: Record) -> Mapping[str, Scenario]:
    """The scenarios that have a plot of bars, by the first word of their name."""
    return {
        key: scenario
        for key, scenario in record.scenarios.items()
        if key.partition(" ")[0] in PLOTTED and len(scenario.values) > 1
    }


def _colours(names: Sequence[str], ours: Sequence[str]) -> list[str]:
    return [next((OURS[n % len(OURS)] for n, one in enumerate(ours) if is_one_of(name, [one])), PEER) for name in names]


def _bars(scenario: Scenario, ours: Sequence[str], file: Path) -> None:
    """One bar for each contender, the best at the top, with a line from the least to the greatest value."""
    from matplotlib.figure import Figure

    quantity = next((each for each in scenario.quantities if each.compared), scenario.quantities[0])
    values = {name: spread(each[quantity.name]) for name, each in scenario.values.items() if each.get(quantity.name)}
    names = sorted(values, key=lambda name: values[name].median, reverse=not quantity.more)
    figure = Figure(figsize=(WIDTH, 0.6 + 0.32 * len(names)), layout="constrained")
    axes: Any = figure.subplots()
    medians = [values[name].median for name in names]
    errors = [[values[n].median - values[n].low for n in names], [values[n].high - values[n].median for n in names]]
    axes.barh(names, medians, color=_colours(names, ours), xerr=errors, ecolor=TEXT)
    axes.set_title(f"{scenario.title}: {quantity.name}", loc="left", fontsize=10)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    _save(figure, file)


def _lines(scenarios: Sequence[Scenario], ours: Sequence[str], file: Path) -> None:
    """The compared quantity over the size, a line for each of ours."""
    from matplotlib.figure import Figure

    quantity = next((each for each in scenarios[0].quantities if each.compared), scenarios[0].quantities[0])
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    axes: Any = figure.subplots()
    names = list(dict.fromkeys(name for scenario in scenarios for name in scenario.values))
    for name, colour in zip(names, _colours(names, ours), strict=True):
        points = [(one.size, spread(one.values[name][quantity.name]).median) for one in scenarios if name in one.values]
        axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(scenarios[0].group)
    axes.set_ylabel(quantity.name)
    axes.grid(color=GRID)
    axes.legend(frameon=False)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, transparent=True, metadata={"Date": None, "Creator": None})
