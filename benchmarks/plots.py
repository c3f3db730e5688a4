"""Draws the plots of docs/explanation/performance.md, and writes its table: `python benchmarks/plots.py`.

The numbers are those that `compare.py` has recorded in `results/compare.json`. The plots are SVG of bars and text, in
colours that can be read on a light and on a dark page. `--check` changes nothing, and fails if a file is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "compare.json"
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
PLOTS = PAGE.parent / "plots"
BEGIN, END = "<!-- results: written by benchmarks/plots.py -->", "<!-- end of results -->"

TEXT = "#767d87"
# Of the two parts of a bar.
OURS, PEER = ("#d9822b", "#ecb985"), ("#5b8db8", "#a3bfd8")
WIDTH, NAME, VALUE, ROW, TOP = 760, 215, 165, 26, 34
STYLE = f"text{{font:14px sans-serif;fill:{TEXT}}} .title{{font-weight:bold}}"

# What compare.py recorded: a server's numbers by name.
Server = Mapping[str, Any]
Bar = tuple[str, list[float], str]  # name, lengths of its parts, text


def is_ours(name: str) -> bool:
    """Is it a row of this server?"""
    return name.startswith("trio_uwsgi")


def bars(title: str, rows: list[Bar]) -> str:
    """One plot of horizontal bars, which may have two parts."""
    longest = max(sum(parts) for _, parts, _ in rows) or 1
    height = TOP + ROW * len(rows) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="0" y="18">{escape(title)}</text>',
    ]
    for number, (name, parts, text) in enumerate(rows):
        y = TOP + ROW * number
        x = float(NAME)
        lines.append(f'<text x="{NAME - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        for part, colour in zip(parts, OURS if is_ours(name) else PEER, strict=False):
            width = max(1.0, part / longest * (WIDTH - NAME - VALUE))
            lines.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="18" fill="{colour}"/>')
            x += width
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 16}">{escape(text)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def chosen(servers: Mapping[str, Server], interface: str, key: str, *, most_first: bool) -> list[tuple[str, Server]]:
    """The servers of an interface that have a number, in its order."""
    found = [(name, one) for name, one in servers.items() if one["interface"] == interface and one[key] is not None]
    return sorted(found, key=lambda item: item[1][key], reverse=most_first)


def rates(servers: Mapping[str, Server], interface: str) -> list[Bar]:
    """Requests per second."""
    found = chosen(servers, interface, "keep-alive rate", most_first=True)
    note = {name: "" if one["keeps"] else " (closes)" for name, one in found}
    return [(name, [one["keep-alive rate"]], f"{one['keep-alive rate']:,.0f}{note[name]}") for name, one in found]


def latencies(servers: Mapping[str, Server], interface: str) -> list[Bar]:
    """The median, and what the 99th percentile is above it."""
    return [
        (
            name,
            [one["keep-alive p50"], max(0.0, one["keep-alive p99"] - one["keep-alive p50"])],
            f"{one['keep-alive p50']:.2f} / {one['keep-alive p99']:.2f} ms",
        )
        for name, one in chosen(servers, interface, "keep-alive p99", most_first=False)
    ]


def memories(servers: Mapping[str, Server]) -> list[Bar]:
    """All processes with one worker, and what a second one adds."""
    found = sorted(servers.items(), key=lambda item: float(item[1]["memory"]))
    return [
        (
            name,
            [one["memory"], one["second worker"] or 0],
            f"{one['memory']:.0f}" + ("" if one["second worker"] is None else f" + {one['second worker']:.0f}") + " MB",
        )
        for name, one in found
    ]


def starts(servers: Mapping[str, Server]) -> list[Bar]:
    """From the command to the first answer."""
    found = sorted(servers.items(), key=lambda item: float(item[1]["start"]))
    return [(name, [one["start"]], f"{one['start'] * 1000:,.0f} ms") for name, one in found]


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """The part of the page that has the numbers."""
    versions = record["versions"]
    if record["trial"]:
        yield "```{warning}"
        yield "These numbers are of a trial run, on a machine that did other work. Do not use them."
        yield "```"
        yield ""
    yield "| what was measured with | |"
    yield "|---|---|"
    yield f"| date | {record['date']} |"
    yield f"| processor | {record['processor']}, two virtual cores |"
    yield f"| kernel | Linux {record['kernel']} |"
    for name, version in sorted(versions.items(), key=lambda item: item[0].lower()):
        yield f"| {name} | {version} |"
    yield f"| rounds | {record['rounds']} of {record['seconds']:g} s each |"
    yield ""
    for interface in ("wsgi", "asgi"):
        heads = ("requests/s", "µs/request", "p50 ms", "p99 ms", "one connection, p50 ms", "closing, requests/s")
        yield f"| {interface.upper()} | {' | '.join(heads)} |"
        yield "|---|---|---|---|---|---|---|"
        for name, one in chosen(record["servers"], interface, "keep-alive rate", most_first=True):
            numbers = (
                f"{one['keep-alive rate']:,.0f}{'' if one['keeps'] else ' (closes)'}",
                f"{one['keep-alive cpu']:.0f}",
                f"{one['keep-alive p50']:.2f}",
                f"{one['keep-alive p99']:.2f}",
                f"{one['single p50']:.3f}",
                f"{one['close rate']:,.0f}",
            )
            yield f"| {name} | {' | '.join(numbers)} |"
        yield ""


def drawn(record: Mapping[str, Any], page: str) -> dict[Path, str]:
    """All files, with their text.

    Args:
        record: what `compare.py` has recorded.
        page: the page as it is.
    """
    servers = record["servers"]
    trial = " (trial run, not to be used)" if record["trial"] else ""
    plots: dict[str, Callable[[], str]] = {
        "wsgi_rates": lambda: bars(f"WSGI: requests per second on one core{trial}", rates(servers, "wsgi")),
        "asgi_rates": lambda: bars(f"ASGI: requests per second on one core{trial}", rates(servers, "asgi")),
        "wsgi_latencies": lambda: bars(
            f"WSGI: latency with 64 connections, median and 99th percentile{trial}", latencies(servers, "wsgi")
        ),
        "asgi_latencies": lambda: bars(
            f"ASGI: latency with 64 connections, median and 99th percentile{trial}", latencies(servers, "asgi")
        ),
        "memory": lambda: bars(f"Memory with one worker, and what a second one adds{trial}", memories(servers)),
        "start": lambda: bars(f"From the command to the first answer{trial}", starts(servers)),
    }
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([f"{before}{BEGIN}", "", *table(record), f"{END}{after}"])
    return {PAGE: text, **{PLOTS / f"{name}.svg": draw() for name, draw in plots.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a file is out of date")
    options = parser.parse_args()
    stale = []
    PLOTS.mkdir(exist_ok=True)
    for path, text in drawn(json.loads(RESULTS.read_text()), PAGE.read_text()).items():
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if not options.check:
                path.write_text(text)
    if options.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python benchmarks/plots.py")


if __name__ == "__main__":
    main()
