"""The reference is complete: every public name has an entry on the site, and a line in the table of all names."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import trio_uwsgi
from tests.docs.shown_by import SHOWN_BY
from trio_uwsgi import Cache, Config, Mules, Registry, Runtime, errors, sync, testing, uwsgi
from trio_uwsgi._caches.caches import LocalCache
from trio_uwsgi._program.command_options import OPTIONS, flag_of

ROOT = Path(__file__).parents[2]
API = ROOT / "docs/reference/api"

# The names on uWSGI's official API page. A remote signal is a separate call here, because it waits.
CONTRACT = (
    *("signal", "register_rpc", "rpc", "call", "cache_get", "add_timer", "add_rb_timer", "lock", "unlock", "masterpid"),
    *("alarm", "suspend", "async_sleep", "connection_fd", "async_connect", "wait_fd_read", "wait_fd_write", "ready_fd"),
    *("send", "recv", "close", "setprocname", "add_cron", "disconnect", "worker_id", "mule_id", "signal_registered"),
    *("opt", "version", "hostname", "register_signal", "set_user_harakiri"),
)


@cache
def extension(name: str) -> ModuleType:
    """A module of docs/extensions, as Sphinx imports it."""
    sys.path.insert(0, str(ROOT / "docs/extensions"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The full names of all entries of the site, with their kind, as the built site lists them for other sites.

    The variable BUILT_SITE names the folder of a site that was just built.
    """
    if built := os.environ.get("BUILT_SITE"):
        folder = Path(built)
    else:
        folder = tmp_path_factory.mktemp("site")
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-D", "html_theme=basic", "docs", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    inventory = (folder / "objects.inv").read_bytes()
    body = inventory.split(b"\n", 4)[4]
    lines = (line.split(" ") for line in zlib.decompress(body).decode().splitlines())
    return {name: kind for name, kind, *_ in lines if kind.startswith(("py:", "std:cmdoption"))}


def full_name(value: type) -> str:
    """The name under which a class is described: its public one, or that of its module."""
    for module in (trio_uwsgi, testing):
        if getattr(module, value.__name__, None) is value:
            return f"{module.__name__}.{value.__name__}"
    return f"{value.__module__}.{value.__name__}"


def public_names() -> Iterator[str]:
    """Every public name that has to have an entry."""
    for module in (trio_uwsgi, uwsgi, errors, testing):
        for name in module.__all__:
            if not inspect.ismodule(getattr(module, name)):
                yield f"{module.__name__}.{name}"
    for name in sync.__all__:
        if extension("names").is_only_in_sync(name):
            yield f"trio_uwsgi.sync.{name}"
    for cls in (Runtime, testing.RuntimeUnderTest, LocalCache, Registry, testing.EventLog, uwsgi.TimerHandle):
        for name, member in vars(cls).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                in_uwsgi = cls is uwsgi.TimerHandle
                yield f"{'trio_uwsgi.uwsgi.TimerHandle' if in_uwsgi else full_name(cls)}.{name}"
    for cls in (Config, Cache, Mules, *extension("names").STATISTICS):
        yield full_name(cls)
        for field in dataclasses.fields(cls):
            yield f"{full_name(cls)}.{field.name}"


def test_every_public_name_has_an_entry(entries: dict[str, str]) -> None:
    """No name, method, option or field of the statistics is missing from the site."""
    assert [] == [name for name in public_names() if name not in entries]


def test_whatever_can_be_a_link_has_an_entry(entries: dict[str, str]) -> None:
    """Names that prose may link to, such as `Config.mercy` or `CacheFull.items`, lead to an entry."""
    targets = {*extension("names").QUALIFIED.values(), *extension("names").FLAGS.values()}
    assert set() == targets - set(entries)


def test_every_option_of_the_command_line_is_a_target(entries: dict[str, str]) -> None:
    """The role `option` finds each flag of the server on the page of options."""
    flags = {flag for option in OPTIONS for flag in (flag_of(option), *option.aliases)}
    assert set() == {flag for flag in flags if entries.get(flag) != "std:cmdoption"}


# ----- the table of all names


class Row(NamedTuple):
    """One line of the table of all names."""

    page: str
    name: str
    awaited: str


def rows() -> list[Row]:
    """The lines of the table; the first column is empty where the subject is that of the line before."""
    found: list[Row] = []
    for line in (API / "index.md").read_text().splitlines():
        if "{py:obj}" in line:
            subject, name, _, awaited = (cell.strip() for cell in line.strip("|").split("|"))
            page = re.search(r"\((.+)\)", subject)
            full = re.fullmatch(r"\{py:obj\}`~trio_uwsgi\.uwsgi\.(\w+)`", name)
            assert full is not None
            found.append(Row(page[1] if page else found[-1].page, full[1], awaited))
    return found


ROWS = {row.name: row for row in rows()}


def how_awaited(value: object) -> str:
    """What the table says of a name: the first words of `Checkpoint:` in its docstring."""
    doc = inspect.getdoc(value) or ""
    found = re.search(r"^Checkpoint: (never|always|only when contended)", doc, re.MULTILINE)
    return found[1] if found else "-"


def test_every_name_has_one_line() -> None:
    """No name of `trio_uwsgi.uwsgi` is missing from the table, there twice, or unknown."""
    assert sorted(uwsgi.__all__) == sorted(row.name for row in rows())


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_is_kept(name: str) -> None:
    """Every name of uWSGI's official API page exists and has a line."""
    assert hasattr(uwsgi, name)
    assert name in ROWS


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_line_is_true(row: Row) -> None:
    """The page describes the name, a test shows it, and the last column is what the docstring and the code say."""
    value = getattr(uwsgi, row.name)
    directive = rf"(:: trio_uwsgi\.uwsgi\.|{{py:data}} ){row.name}$"
    described = re.search(directive, (API / row.page).read_text(), re.MULTILINE)
    assert described is not None
    if inspect.isfunction(value):
        assert how_awaited(value) == row.awaited
        assert inspect.iscoroutinefunction(inspect.unwrap(value)) == (row.awaited != "never")
    elif row.name == "locked":
        assert "only when contended" == row.awaited
    else:
        assert "-" == row.awaited
    path, _, test = SHOWN_BY[row.name].partition("::")
    assert test in names_of_tests(f"tests/{path}")


@cache
def names_of_tests(path: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


# ----- how docstrings are read


@pytest.mark.parametrize(
    ("text", "scope", "expected"),
    [
        ("Config.mercy", (), "trio_uwsgi.Config.mercy"),
        ("uwsgi.signal()", (), "trio_uwsgi.uwsgi.signal"),
        ("Runtime.stop", (), "trio_uwsgi.Runtime.stop"),
        ("SPOOL_RETRY", (), "trio_uwsgi.uwsgi.SPOOL_RETRY"),
        ("CacheFull", (), "trio_uwsgi.errors.CacheFull"),
        ("--mercy", (), "trio_uwsgi.Config.mercy"),
        ("--mercy 5", (), "trio_uwsgi.Config.mercy"),
        ("--json", (), None),
        ("signal", (), None),
        ("signal", ("uwsgi",), "trio_uwsgi.uwsgi.signal"),
        ("signal", ("uwsgi", "", frozenset({"signal"})), None),
        ("mercy", ("", "Config"), "trio_uwsgi.Config.mercy"),
        ("Config(mules=1)", (), None),
        ("with", ("uwsgi",), None),
    ],
)
def test_what_a_name_means(text: str, scope: tuple[object, ...], expected: str | None) -> None:
    """Code in backticks is a link if it is the name of something, in the place where it stands."""
    names = extension("names")
    assert expected == names.entry_of(text, names.Scope(*scope))


def test_what_a_docstring_becomes() -> None:
    """Sections become fields, an example a block of Python, and single backticks links or code."""
    docstring = inspect.cleandoc(
        """Raise it.

        Args:
            signum: see `Config.mercy` or `x`.
        Checkpoint: never, and
            that is all.
        uWSGI: `uwsgi.signal` there, `signal_wait` here.
        Example:
            uwsgi.signal(1)
        """
    )
    expected = """Raise it.

        Args:
            signum: see :py:obj:`Config.mercy <trio_uwsgi.Config.mercy>` or ``x``.

        :Checkpoint: never, and
            that is all.

        :In uWSGI: ``uwsgi.signal`` there, :py:obj:`signal_wait <trio_uwsgi.uwsgi.signal_wait>` here.

        .. rubric:: Example

        .. code-block:: python

            uwsgi.signal(1)
        """
    made = extension("docstrings").as_rest(docstring.splitlines(), "trio_uwsgi.uwsgi.signal", uwsgi.signal)
    assert inspect.cleandoc(expected) == re.sub(r"\n{3,}", "\n\n", "\n".join(made)).strip()
