"""docs/reference/api/index.md is true: a row for every name, with the signature, the errors and a test that exist."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from trio_uwsgi import errors, uwsgi

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/api/index.md").read_text()

# The names on uWSGI's official API page. A remote signal is a separate call here, because it waits.
CONTRACT = (
    *("signal", "register_rpc", "rpc", "call", "cache_get", "add_timer", "add_rb_timer", "lock", "unlock", "masterpid"),
    *("alarm", "suspend", "async_sleep", "connection_fd", "async_connect", "wait_fd_read", "wait_fd_write", "ready_fd"),
    *("send", "recv", "close", "setprocname", "add_cron", "disconnect", "worker_id", "mule_id", "signal_registered"),
    *("opt", "version", "hostname", "register_signal", "set_user_harakiri"),
)


class Row(NamedTuple):
    """One line of a table."""

    name: str
    signature: str
    blocking: str
    errors: str
    difference: str
    test: str


def rows() -> list[Row]:
    """The rows of all tables of the page; a `|` inside of code is written `\\|`."""
    found = []
    for line in PAGE.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if line.startswith("| `"):
            signature = cells[0].strip("`")
            found.append(Row(re.split(r"[(:]", signature)[0], signature, *cells[1:]))
    return found


ROWS = {row.name: row for row in rows()}


def shown(name: str) -> str:
    """How a public name is written on the page."""
    value = getattr(uwsgi, name)
    if not inspect.isfunction(value):
        return name
    # Annotations are strings, and shown in quotes; defaults that are strings keep theirs.
    signature = re.sub(r"(: |-> )'([^']+)'", r"\1\2", str(inspect.signature(value)))
    return name + signature.replace("inf", "math.inf")


@cache
def names_of_tests(path: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_public_name_has_one_row() -> None:
    """No name is missing, twice, or unknown."""
    assert sorted(uwsgi.__all__) == sorted(row.name for row in rows())


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_is_kept(name: str) -> None:
    """Every name of that page exists and has a row here."""
    assert hasattr(uwsgi, name)
    assert name in ROWS


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_is_true(row: Row) -> None:
    """The signature is the function's, `blocking` says whether it is awaited, its errors and its test exist."""
    value = getattr(uwsgi, row.name)
    assert shown(row.name) == row.signature
    awaited = inspect.iscoroutinefunction(inspect.unwrap(value))
    assert awaited == row.blocking.startswith(("always", "only"))
    for word in re.findall(r"`([A-Z][A-Za-z]+)`", row.errors):
        assert any(hasattr(module, word) for module in (errors, builtins, trio)), word
    path, _, test = row.test.strip("`").partition("::")
    assert test in names_of_tests(f"tests/{path}")
