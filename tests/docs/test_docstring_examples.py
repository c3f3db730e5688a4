"""The examples in docstrings run: declarations are called once by a runtime, everything else is run in a request."""

from __future__ import annotations

import ast
import inspect
import re
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import trio_uwsgi
from trio_uwsgi import Cache, Config, Registry, errors, testing, uwsgi
from trio_uwsgi._caches.caches import LocalCache
from trio_uwsgi.testing import Notes, open_runtime
from trio_uwsgi.uwsgi._spool import Spooled


def examples() -> Iterator[tuple[str, str]]:
    """The `Example:` of every public docstring: the name of what it belongs to, and the code."""
    for module in (trio_uwsgi, uwsgi, errors, testing):
        for name in module.__all__:
            value = getattr(module, name)
            yield from _examples_of(f"{module.__name__}.{name}", value)
    for cls in (LocalCache, Spooled):
        yield from _examples_of(cls.__name__, cls)


def _examples_of(name: str, value: object) -> Iterator[tuple[str, str]]:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return
    found = re.search(r"^Example:\n((?: +.*\n?|\n)+)", inspect.getdoc(value) or "", re.MULTILINE)
    if found:
        yield name, textwrap.dedent(found[1])
    if inspect.isclass(value):
        for member in vars(value):
            if not member.startswith("_"):
                yield from _examples_of(f"{name}.{member}", getattr(value, member))


EXAMPLES = dict(examples())


class Database:
    """What the examples of hooks open and close."""

    async def aclose(self) -> None:
        """Do nothing."""


async def open_database() -> Database:
    """Open the database of the examples."""
    return Database()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application of the examples: runs the function in `scope["state"]`, if there is one."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that examples use without defining them."""
    monkeypatch.setattr(uwsgi, "registry", Registry())
    here, there = socket.socketpair()
    with here, there:
        known: dict[str, Any] = {"trio": trio, "trio_uwsgi": trio_uwsgi, "uwsgi": uwsgi, "Config": Config, "app": app}
        known |= {"open_runtime": open_runtime, "Notes": Notes, "uwsgi_registry": uwsgi.registry, "prices": {}}
        known |= {
            "state": {"database": Database()},
            "site": app,
            "shop": app,
            "mount": trio_uwsgi.mount,
            "Tls": trio_uwsgi.Tls,
            "open_database": open_database,
            "fd": here.fileno(),
        }
        yield known


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration with all that examples use."""
    return Config(
        mules=1,
        farms={"images": [1]},
        locks=1,
        sharedarea=[4096],
        caches=[Cache("default", items=10)],
        queue=10,
        metrics=[trio_uwsgi.Metric("orders")],
        alarms={"disk": "log:"},
        spooler=str(tmp_path / "jobs"),
    )


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_runs(
    name: str,
    names: dict[str, Any],
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What it declares is served and called; what it calls is called in a request, as readers would."""
    code = EXAMPLES[name]
    served: list[tuple[object, ...]] = []
    monkeypatch.setattr(trio, "run", lambda *args: served.append(args))
    if "\n@" in f"\n{code}" or "trio.run(" in code:
        exec(compile(code, name, "exec"), names)
        for serve, application, options in served:
            assert trio_uwsgi.serve is serve
            async with open_runtime(application, options) as runtime:  # type: ignore[arg-type]
                assert 200 == (await runtime.client.get("/")).status_code
        if not served:
            await call_all(config)
        return
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    run = compile(code, name, "exec", flags=flags)
    if "open_runtime(" in code:
        await eval(run, names)
        return

    async def running(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            result = eval(run, names)
            if inspect.iscoroutine(result):
                await result
        await app(scope, receive, send)

    async with open_runtime(running, config) as runtime:
        assert 200 == (await runtime.client.get("/")).status_code


async def call_all(config: Config) -> None:
    """Serve the default registry, and have each of its functions called once."""
    registry = uwsgi.registry

    async def calling(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            for function in uwsgi.rpc_list():
                assert b"3" == await uwsgi.call(function, "1", "2")
        await app(scope, receive, send)

    async with open_runtime(calling, config) as runtime:
        assert 200 == (await runtime.client.get("/")).status_code
        for signum in registry.signals:
            runtime.signal(signum)
        runtime.mule_msg(b"cat.png")
        runtime.farm_msg("images", b"cat.png")
        for function in registry.spool.functions:
            await runtime.spool(ud_spool_func=function, number="17")
        await trio.sleep(100)
        statistics = runtime.statistics()
    assert len(registry.signals) <= statistics.signals.delivered
    assert len(registry.spool.functions) == sum(spool.done for spool in statistics.spools)


def test_there_are_examples() -> None:
    """They are found where they are written: of functions, classes and methods."""
    assert {"trio_uwsgi.serve", "trio_uwsgi.uwsgi.locked", "trio_uwsgi.Address.parse"} <= set(EXAMPLES)
