"""Counts the instructions of a request: `python -m benchmarks instructions [--write]`.

Other programs on the machine do not change this number, so a small subset can be held against committed figures. One
request that answers five bytes is counted as ASGI, as WSGI without a thread, and as ASGI with a line of the access log.
Valgrind runs `counted.py`, which answers each kind in two processes, in one of them twice as many. The difference is
that of the requests alone, without imports and without the start.

Valgrind's tool is cachegrind without a cache: it counts the same instructions as callgrind in half of the time.

The figures are in `instructions.toml`, for each interpreter, as another one needs other instructions for the same code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILE = HERE / "instructions.toml"
CLIENTS = 16  # connections, which send a request each in a round
ROUNDS = 50
DEARER = 0.05  # how much of a request more is refused
LIMIT = 300  # seconds of the run, which takes some 20
# What is counted, in the words of counted.py.
NAMES = {"asgi": "ASGI", "inline": "WSGI without a thread", "log": "ASGI with the access log"}
KINDS = tuple(NAMES)

Figures = dict[str, int]


def totals_of(printed: str, report: str) -> dict[str, int]:
    """The instructions of each process that answered requests, by what it was to do, as "asgi=50".

    Args:
        printed: what `counted.py` printed: this and the process id, in each line.
        report: what valgrind printed.
    """
    found = re.findall(r"^==(\d+)== I\s+refs:\s+([\d,]+)", report, re.MULTILINE)
    counts = {int(pid): int(count.replace(",", "")) for pid, count in found}
    return {word: counts[int(pid)] for word, pid in map(str.split, printed.splitlines())}


def of_one_request(totals: Mapping[str, int]) -> Figures:
    """The instructions of a request of each kind, from the totals of some rounds and of twice as many."""
    return {
        kind: round((totals[f"{kind}={2 * ROUNDS}"] - totals[f"{kind}={ROUNDS}"]) / (ROUNDS * CLIENTS))
        for kind in KINDS
    }


def dearer(counted: Figures, committed: Figures) -> list[str]:
    """What to say of each request that needs noticeably more instructions than it did."""
    return [
        f"A request of {NAMES.get(kind, kind)} needs {counted[kind]:,} instructions, {counted[kind] / figure - 1:.1%} "
        f"more than the committed {figure:,}."
        for kind, figure in committed.items()
        if kind in counted and counted[kind] > figure * (1 + DEARER)
    ]


def table(counted: Figures, committed: Figures) -> str:
    """All figures, one in a line."""
    lines = [f"{'instructions of a request':<28}{'now':>10}{'committed':>12}{'change':>9}"]
    for kind, figure in counted.items():
        before = committed.get(kind)
        change = f"{f'{before:,}':>12}{figure / before - 1:>+9.1%}" if before else f"{'-':>12}"
        lines.append(f"{NAMES.get(kind, kind):<28}{figure:>10,}{change}")
    return "\n".join(lines)


def with_figures(text: str, name: str, figures: Mapping[str, int | str]) -> str:
    """The file, with the figures of one interpreter added or replaced."""
    head, *sections = re.split(r"(?m)^(?=\[)", text)
    section = "\n".join([f'["{name}"]', *(f"{key} = {toml(value)}" for key, value in figures.items())]) + "\n\n"
    others = [part.rstrip() + "\n\n" for part in sections if not part.startswith(f'["{name}"]')]
    return (head + "".join(sorted([*others, section]))).rstrip() + "\n"


def toml(value: int | str) -> str:
    """A value as it is written in the file."""
    return f'"{value}"' if isinstance(value, str) else f"{value:_}"


def count(python: str) -> tuple[dict[str, str], Figures]:
    """Run valgrind. Gives what `counted.py` says of its interpreter, and the figures."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is not installed; it counts the instructions")
    counted = [python, "-m", "benchmarks.counted"]
    words = [f"{kind}={rounds}" for kind in KINDS for rounds in (ROUNDS, 2 * ROUNDS)]
    tool = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    with tempfile.TemporaryDirectory() as folder:
        # The package is that of the interpreter, and not the one beside this folder.
        Path(folder, "benchmarks").symlink_to(HERE)
        # Once without valgrind, which leaves bytecode behind: compiling it would take valgrind half a minute.
        about, _ = _output([*counted, *(f"{kind}=1" for kind in KINDS), "about"], folder)
        printed, report = _output([*tool, *counted, *words], folder)
    return json.loads(about.splitlines()[-1]), of_one_request(totals_of(printed, report))


def _output(command: list[str], folder: str) -> tuple[str, str]:
    """Run a command with few variables, which are always the same, and give back what it printed."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout, done.stderr


def run(python: str, *, write: bool) -> int:
    """Count and compare. Returns the exit code: 1 if a request got dearer.

    Args:
        python: the interpreter, whose environment has the package.
        write: keep the new figures, and do not compare.
    """
    about, counted = count(python)
    name = about.pop("interpreter")
    text = FILE.read_text()
    entry = tomllib.loads(text).get(name, {})
    committed = {kind: figure for kind, figure in entry.items() if kind in KINDS}
    print(f"{name}\n{table(counted, committed)}", flush=True)
    if write:
        FILE.write_text(with_figures(text, name, {**counted, **about}))
        return 0
    if not committed:
        print("No figures are committed for this interpreter; `python -m benchmarks instructions --write` adds them.")
        return 0
    complaints = dearer(counted, committed)
    if complaints:
        others = [f"{what} was {entry[what]} and is {now}" for what, now in about.items() if entry.get(what) != now]
        complaints += [f"Not all of it may be this package's: {'; '.join(others)}."] if others else []
        complaints.append("If that is meant, `python -m benchmarks instructions --write` renews the figures.")
        print(*complaints, sep="\n", file=sys.stderr)
    return 1 if complaints else 0
