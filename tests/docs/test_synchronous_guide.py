"""The guide to synchronous code: each cell of its tables, in every place where synchronous code runs."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import greenback
import pytest
import trio

from tests.docs.blocks import ROOT
from trio_uwsgi import Cache, Config, Metric, Registry, sync, uwsgi
from trio_uwsgi.errors import NotServing
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIEnvironment

    from trio.testing import MockClock

PAGE = ROOT / "docs" / "guides" / "synchronous_code.md"
BESIDE_VIEWS = ("signal", "message", "farm", "program", "job", "rpc", "post_fork", "atexit")
INLINE = "processes without threads"


def rows(heading: str) -> list[list[str]]:
    """The rows of the tables below a heading, without those that name the columns."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) == {"-"}]
    return [row for number, row in enumerate(cells) if {number, number + 1}.isdisjoint(rules)]


def lines() -> list[str]:
    """The lines to write."""
    found = [
        line
        for row in rows("What to write")
        for line in re.findall("`([^`]+)`", row[1])
        if not line.startswith("with ")
    ]
    assert len(found) > 6
    # In this order a lock is acquired before it is released.
    return sorted(found, key=lambda line: "unlock" in line)


async def compute() -> str:
    """Other Trio code."""
    await trio.sleep(0.01)
    return "computed"


async def fetch() -> str:
    """Code of asyncio."""
    await asyncio.sleep(0)
    return "fetched"


class Probe:
    """Runs lines in the places that are asked for, and notes for each which error it raised."""

    def __init__(self, registry: Registry, tried: list[str], *places: str) -> None:
        self.notes: Notes[tuple[str, str, str]] = Notes()
        self._registry = registry
        self._tried = tried
        self._places = places
        self._names: dict[str, Any] = {  # Any: whatever the lines call
            "asyncio": asyncio,
            "compute": compute,
            "fetch": fetch,
            "greenback": greenback,
            "node": "/run/b.sock",
            "sync": sync,
            "trio": trio,
            "uwsgi": uwsgi,
        }
        self._declare()

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """The view."""
        self.run("view")
        start_response("200 OK", [])
        return []

    def run(self, place: str, result: object = None) -> object:
        """Run the lines, if this is a place that was asked for."""
        if place in self._places:
            for line in self._tried:
                try:
                    eval(line, self._names)
                    error = ""
                except Exception as raised:
                    error = f"{type(raised).__name__}: {raised}"
                self.notes.append((place, line, error))
        return result

    def _declare(self) -> None:
        registry, run = self._registry, self.run
        invoice: Callable[..., object] = lambda number: None  # noqa: E731
        self._names["invoice"] = registry.spool_handler(name="invoice", pass_arguments=True)(invoice)
        registry.spool_handler(name="probe")(lambda job: run("job"))
        registry.rpc_handler("price")(lambda *drink: run("rpc", b"2.50") if drink == (b"?",) else b"2.50")
        registry.signal_handler(17)(lambda signum: None)
        registry.signal_handler(18)(lambda signum: run("signal"))
        registry.signal_handler(19)(functools.partial(_ask_price))
        registry.mule_message_handler(lambda message: run("message") if message == b"probe" else None)
        registry.farm("images")(lambda message: run("farm") if message == b"probe" else None)
        registry.mule(1)(lambda: run("program"))
        registry.post_fork(lambda: run("post_fork") if uwsgi.worker_id() else None)
        registry.atexit(lambda: run("atexit") if uwsgi.worker_id() else None)

    async def everywhere(self, config: Config) -> dict[str, dict[str, str]]:
        """Make the lines run in all places; the errors by place and line."""
        async with open_runtime(self.app, config, registry=self._registry) as runtime:
            await runtime.client.get("/")
            for signum in (18, 19):
                runtime.signal(signum)
            runtime.mule_msg(b"probe", 2)
            runtime.farm_msg("images", b"probe")
            await runtime.spool(ud_spool_func="probe")
            await trio.sleep(10)
        errors: dict[str, dict[str, str]] = {}
        for place, line, error in self.notes:
            errors.setdefault(place, {})[line] = error
        return errors


async def _ask_price(signum: int) -> None:
    await uwsgi.call("price", b"?")


def options(mode: str, folder: Path) -> Config:
    """The options of one column of the guide's first table."""
    return Config(
        placement="task" if mode == "tasks" else "process",
        threads=2 if mode == "processes with threads" else None,
        mules=3,
        farms={"images": [3]},
        spooler=str(folder / "jobs"),
        spooler_fsync=False,
        locks=1,
        caches=[Cache("pages", items=10)],
        queue=10,
        metrics=[Metric("orders")],
        alarms={"disk": "log:disk"},
    )


@pytest.mark.parametrize("mode", ["tasks", "processes with threads", INLINE])
async def test_every_line_works_where_the_guide_says_so(autojump_clock: MockClock, tmp_path: Path, mode: str) -> None:
    """Each line of the table runs in each mode: in views, handlers, programs, jobs, RPC functions and hooks."""
    quiet = [line for line in lines() if line not in ("sync.signal(17)", "sync.add_timer(17, 60)")]
    for tried, places in ((lines(), ("view",)), (quiet, BESIDE_VIEWS)):
        errors = await Probe(Registry(), tried, *places).everywhere(options(mode, tmp_path))
        assert set(places) == set(errors)
        for place in places:
            wrong = {line: error for line, error in errors[place].items() if error}
            unreachable = {line for line in tried if re.search(r"\bnode\b", line)}
            assert unreachable == set(wrong), place
            assert {"NodeUnreachable"} == {error.partition(":")[0] for error in wrong.values()}


@pytest.mark.parametrize(("case", "said"), rows("What the errors mean"))
async def test_every_error_is_as_the_guide_says(
    autojump_clock: MockClock, tmp_path: Path, case: str, said: str
) -> None:
    """Each line of the second table raises what stands beside it."""
    code = case.split("`")[1]
    text = said.split("`")[1]
    if "at import" in case:
        with ThreadPoolExecutor(1) as elsewhere, pytest.raises(NotServing) as raised:  # Trio runs in this thread
            elsewhere.submit(eval, code, globals()).result()
        assert text == f"NotServing: {raised.value}"
        return
    mode = INLINE if "inline" in case else "tasks"
    errors = await Probe(Registry(), [code], "view").everywhere(options(mode, tmp_path))
    assert {"view": {code: text}} == errors
