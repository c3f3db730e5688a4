"""Every wait in a test has an end: a test that hangs is a test that fails, and soon."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a wait for a process or a thread is called on. A `trio.Event` is awaited.
_OTHERS = re.compile(r"process|peer|master|thread|child|server|popen|both", re.IGNORECASE)
FILES = sorted((ROOT / "tests").rglob("*.py"))


def _waits_for_ever(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that wait for another process or thread, and were not told how long."""
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or id(node) in awaited:
            continue
        name, on = node.func.attr, node.func.value
        limited = any(keyword.arg == "timeout" for keyword in node.keywords)
        program = ast.unparse(on) == "subprocess" and name in ("run", "check_output", "check_call")
        other = name in ("wait", "join") and not node.args and _OTHERS.search(ast.unparse(on))
        if not limited and (program or other or name in ("communicate", "create_connection")):
            yield node


def test_waits_for_processes_and_threads_are_limited() -> None:
    """Each says how long; what waits in Trio, or for a socket, is ended with its test (see `tests/conftest.py`)."""
    assert [] == [f"{file}:{call.lineno}" for file in FILES for call in _waits_for_ever(ast.parse(file.read_text()))]


def test_the_rule_finds_what_it_is_for() -> None:
    """And leaves alone what only looks like it."""
    source = """
process.communicate()
process.wait()
thread.join()
subprocess.run(["x"])
socket.create_connection(("h", 1))
await event.wait()
", ".join(words)
process.wait(3)
process.communicate(timeout=3)
nursery.run("x")
"""
    assert [2, 3, 4, 5, 6] == [call.lineno for call in _waits_for_ever(ast.parse(source))]


@pytest.mark.real
def test_a_test_that_hangs_is_ended() -> None:
    """Whatever it waits for."""
    signal.setitimer(signal.ITIMER_REAL, 0.05)  # the test's own limit, brought forward; it is set anew with the next
    with pytest.raises(pytest.fail.Exception, match="did not end in time"):
        time.sleep(60)


@pytest.mark.real
def test_where_signals_are_ignored() -> None:
    """As under `nohup`: programs that tests start have their signals all the same, and end."""
    program = (
        "import os, signal, sys\n"
        "for number in (signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'pytest', '-q', *sys.argv[1:]])"
    )
    test = "tests/real/test_shared_caches.py::test_nothing_is_left_in_shared_memory"
    done = subprocess.run(
        [sys.executable, "-c", program, test], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert "1 passed" in done.stdout
