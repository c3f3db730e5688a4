"""The shop in its three versions: the same tests on mock time, wherever its code can run.

The views of the Flask versions are synchronous, so there are four places for them: tasks with one thread or four,
processes inline, and processes with threads. The views of the Starlette version are Trio tasks, which have no threads:
for them there are two places, tasks and processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from tests.compat.conftest import load_ours, load_theirs
from tests.docs.blocks import ROOT
from tests.paths.placements import HAS_PROCESSES
from trio_uwsgi import Config, Registry, compat, sync
from trio_uwsgi import uwsgi as native
from trio_uwsgi._program.command_line import fields_of, parse
from trio_uwsgi._program.uwsgi_files import translated
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

EXAMPLES = ROOT / "examples"
TEA = {"product": "tea", "email": "ada@example.com"}
COFFEE = {"product": "coffee", "email": "ada@example.com"}

TASKS: dict[str, dict[str, object]] = {"tasks": {"placement": "task", "threads": None}}
PROCESSES: dict[str, dict[str, object]] = {"processes inline": {"placement": "process", "threads": None}}
THREADS: dict[str, dict[str, object]] = {
    "tasks, threads": {"placement": "task", "threads": 4},
    "processes, threads": {"placement": "process", "threads": 4},
}
ALL = TASKS | PROCESSES | THREADS
VERSIONS = {"starlette": TASKS | PROCESSES, "flask": ALL, "uwsgi": ALL, "uwsgi, its own decorators": ALL}
DECORATORS = {"uwsgi": load_ours, "uwsgi, its own decorators": load_theirs}


def in_all_places() -> pytest.MarkDecorator:
    """The test once for each version of the shop in each place where it runs."""
    cases = [(version, place) for version, places in VERSIONS.items() for place in places]
    return pytest.mark.parametrize(
        "shop",
        [
            pytest.param(case, marks=pytest.mark.processes if "processes" in case[1] else (), id="-".join(case))
            for case in cases
            if HAS_PROCESSES or "processes" not in case[1]
        ],
        indirect=True,
    )


@dataclasses.dataclass
class Shop:
    """One version of the shop, with the config for one place."""

    module: ModuleType
    config: Config

    @property
    def app(self) -> Any:  # Any: a WSGI or an ASGI application
        return self.module.app

    def replacing(self, func: Callable[..., Awaitable[None]]) -> Callable[..., object]:
        """An async function as this version calls it: as it is, or as one that waits."""
        return func if self.module.app.__class__.__name__ == "Starlette" else lambda *args: sync.wait(func, *args)


def imported(version: str) -> Shop:
    """The version's module, with the config that its one command makes."""
    folder = EXAMPLES / f"shop_{version.partition(',')[0]}"
    if version in DECORATORS:
        DECORATORS[version]()
    spec = importlib.util.spec_from_file_location("shop", folder / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Shop(module, getattr(module, "config", Config()))


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A version of the shop, in a folder without a shop.db."""
    version, place = request.param
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(native, "registry", Registry())
    config = Config()
    if version in DECORATORS:
        command = translated(["--ini", str(EXAMPLES / "shop_uwsgi" / "uwsgi.ini")])
        config = Config(**fields_of(parse(command.words)))
    with compat.entered(config):
        found = imported(version)
        chosen = config if version in DECORATORS else found.config
        changes: dict[str, Any] = {"workers": 2, "spooler_fsync": False, **VERSIONS[version][place]}
        yield Shop(found.module, dataclasses.replace(chosen, **changes))


def happened(runtime: RuntimeUnderTest, pattern: str, member: str | None = None) -> int:
    """How many events there were of this kind, of one member or of all."""
    kinds = {event.what for event in runtime.log if re.fullmatch(pattern, event.what)}
    return sum(runtime.log.count(what, member) for what in kinds)


def test_the_guide_shows_lines_of_the_versions() -> None:
    """What the columns of its table show is in the files of these versions."""
    text = (ROOT / "docs" / "guides" / "from_uwsgi.md").read_text()
    table = text.partition("| what | `shop_uwsgi`")[2].partition("\n\n")[0]
    lines = [re.findall("`([^`]+)`", line) for line in table.splitlines()[2:]]
    assert 8 == len(lines)
    for version, shown in zip(("uwsgi", "flask", "starlette"), zip(*lines, strict=True), strict=True):
        source = "".join(path.read_text() for path in (EXAMPLES / f"shop_{version}").glob("[su]*.*"))
        assert [] == [line for line in shown if line not in source]


@in_all_places()
async def test_an_order(shop: Shop, autojump_clock: trio.testing.MockClock) -> None:
    """It is accepted at once, and soon confirmed and counted."""
    async with open_runtime(shop.app, shop.config) as runtime:
        assert "tea: 6 EUR, 50 in stock" in (await runtime.client.get("/")).text
        response = await runtime.client.post("/orders", data=TEA)
        assert (202, "order 1 accepted\n") == (response.status_code, response.text)
        await trio.sleep(1)
        assert {"product": "tea", "confirmed": True} == (await runtime.client.get("/orders/1")).json()
        assert "tea: 6 EUR, 49 in stock" in (await runtime.client.get("/")).text
        assert 404 == (await runtime.client.get("/orders/2")).status_code
        assert 1 == happened(runtime, r"message \d+ bytes", "mule1")
        assert 1 == happened(runtime, r"job \w+")


@in_all_places()
async def test_an_hour(shop: Shop, autojump_clock: trio.testing.MockClock) -> None:
    """The stock is counted once a minute, in the mule, and the page is renewed."""
    async with open_runtime(shop.app, shop.config) as runtime:
        assert "tea: 6 EUR" in (await runtime.client.get("/")).text
        with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
            connection.execute("UPDATE products SET price = price + 1")
        assert "tea: 6 EUR" in (await runtime.client.get("/")).text
        await trio.sleep(3600)
        assert "tea: 7 EUR" in (await runtime.client.get("/")).text
        assert 60 == happened(runtime, r"signal \d+", "mule1") == happened(runtime, r"signal \d+")


@in_all_places()
async def test_sold_out(shop: Shop, autojump_clock: trio.testing.MockClock) -> None:
    """What is not in stock cannot be ordered."""
    async with open_runtime(shop.app, shop.config) as runtime:
        answers = [await runtime.client.post("/orders", data=COFFEE) for _ in range(21)]
        assert [202] * 20 + [409] == [answer.status_code for answer in answers]


@in_all_places()
async def test_letters_are_retried(
    shop: Shop, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the mail server is down, the job is retried after pauses that grow."""
    began = trio.current_time()

    async def send_mail(email: str, text: str) -> None:
        if trio.current_time() < began + 10:
            raise OSError("no mail server")

    monkeypatch.setattr(shop.module, "send_mail", shop.replacing(send_mail))
    async with open_runtime(shop.app, shop.config, allow_failures=True) as runtime:
        await runtime.client.post("/orders", data=TEA)
        await trio.sleep(60)
        assert 2 == happened(runtime, r"job \w+ retry")
        assert {"product": "tea", "confirmed": True} == (await runtime.client.get("/orders/1")).json()


@in_all_places()
async def test_a_slow_page_is_cancelled(
    shop: Shop, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that takes longer than `harakiri` is answered with 504; others are not affected."""
    monkeypatch.setattr(shop.module, "render", functools.partial(shop.replacing(trio.sleep), 3600))
    async with open_runtime(shop.app, shop.config) as runtime:
        assert 504 == (await runtime.client.get("/")).status_code
        assert [10.0] == runtime.log.times("request GET / harakiri")
        assert 202 == (await runtime.client.post("/orders", data=TEA)).status_code
