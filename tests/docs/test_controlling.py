"""The table on docs/reference/controlling.md has every signal, letter and method, in the row of its command."""

from __future__ import annotations

import re
import signal
from typing import Any, cast

from tests.docs.blocks import ROOT
from trio_uwsgi._program.control import Control
from trio_uwsgi._runtime.runtime import Runtime

PAGE = (ROOT / "docs" / "reference" / "controlling.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("| command |")[2].partition("\n\n")[0].splitlines()[2:]
]
# The method of `Control` for the first words of a row.
METHODS = {
    "stop gracefully": "stop",
    "stop immediately": "stop_now",
    "reload": "reload",
    "reload one worker at a time": "chain_reload",
    "add a worker": "add_worker",
    "remove a worker": "remove_worker",
    "pause or resume accepting": "pause",
    "log statistics": "log_statistics",
    "print stacks": "dump_stacks",
}


def commands(column: int, pattern: str) -> dict[str, str]:
    """What a column names, and the method of `Control` in whose row that is."""
    found = {}
    for row in ROWS:
        label = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", row[0])
        for name in re.findall(pattern, row[column]):
            found[name] = METHODS[label]
    return found


def test_signals_and_letters() -> None:
    """They are those that the server obeys."""
    control = Control(cast("Any", None), cast("Any", None))
    signals = {signal.Signals(number).name: call.__name__ for number, call in control._signals.items()}
    assert signals == commands(1, r"SIG\w+")
    assert {letter: call.__name__ for letter, call in control._letters.items()} == commands(2, r"`(.)`")


def test_methods_exist() -> None:
    """`Runtime` has them."""
    names = [name for row in ROWS for name in re.findall(r"(\w+)\(", row[3])]
    assert set() == {name for name in names if not hasattr(Runtime, name)}
    assert 8 == len(set(names))


def test_signals_of_systemctl_are_those_of_the_row() -> None:
    """`systemctl kill -s` sends what the second column names."""
    sent = [(row[1], re.findall(r"-s (\w+)", row[4])) for row in ROWS]
    assert [] == [(name, words) for name, words in sent if words and f"SIG{words[0]}" != name]
