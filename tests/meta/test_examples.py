"""Every example does what it promises: its application is served with its declarations, on mock time."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import trio

from trio_uwsgi import Config, Registry, serve, uwsgi
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

EXAMPLES = Path(__file__).parents[2] / "examples"
PATHS = sorted(EXAMPLES.glob("*.py"))


class Example:
    """One example, imported with a separate default registry, as if it were alone in its process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def load(self, name: str) -> ModuleType:
        """Import the example of that name."""
        self._monkeypatch.setattr(uwsgi, "registry", Registry())
        spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        self._monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    @asynccontextmanager
    async def serve(
        self, name: str, app: str = "app", begin: datetime.datetime | None = None
    ) -> AsyncIterator[RuntimeUnderTest]:
        """Import the example, and serve one of its applications with its `config`."""
        module = self.load(name)
        config = getattr(module, "config", Config())
        begin = begin or datetime.datetime(2026, 1, 5, 12, tzinfo=datetime.UTC)
        async with open_runtime(getattr(module, app), config, begin=begin) as runtime:
            yield runtime


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Example:
    """A way to import and serve examples."""
    return Example(monkeypatch)


async def text(runtime: RuntimeUnderTest, path: str = "/") -> str:
    """What GET answers, which must be 200."""
    response = await runtime.client.get(path)
    assert 200 == response.status_code
    return response.text


# ----- all of them


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_examples_are_short_and_say_what_they_are(path: Path) -> None:
    """At most 60 lines, with a header that says what is shown, how to try it, and what is left out."""
    source = path.read_text()
    assert 60 >= len(source.splitlines())
    header = ast.get_docstring(ast.parse(source)) or ""
    assert ["Shows", "Try it", "Leaves out"] == re.findall(r"^(Shows|Try it|Leaves out)\b", header, flags=re.MULTILINE)
    assert f"python examples/{path.name}" in header


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_examples_are_all_tested(path: Path) -> None:
    """There is a test here that is named after each."""
    assert f"test_{path.stem}" in globals()


# ----- one by one


async def test_hello_asgi(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """It says hello, and has no lifespan."""
    async with example.serve("hello_asgi") as runtime:
        assert "hello from ASGI\n" == await text(runtime)


async def test_hello_wsgi(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """It says hello."""
    async with example.serve("hello_wsgi") as runtime:
        assert "hello from WSGI\n" == await text(runtime)


async def test_spooler(
    example: Example, autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What requests queue is done afterwards, each once, and nothing is left."""
    monkeypatch.chdir(tmp_path)
    async with example.serve("spooler", begin=datetime.datetime.now(datetime.UTC)) as runtime:
        await runtime.client.post("/picture", content=b"x" * 1000)
        await runtime.client.post("/invoice", content=b"ada@example.com")
        await trio.sleep(60)
        assert {
            "picture of 1000 bytes, called holiday, try 1",
            "invoice 1 sent to ada@example.com",
        } == set((await text(runtime)).splitlines())
    assert [] == list((tmp_path / "spooled").rglob("uwsgi_spoolfile_on_*"))


async def test_hello_flask(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """It says hello, and counts a body that comes in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    async with example.serve("hello_flask") as runtime:
        assert "hello from Flask\n" == await text(runtime)
        response = await runtime.client.post("/length", content=pieces())
        assert {"bytes": 1_000_000} == response.json()


async def test_hello_starlette(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """Its lifespan gives the greeting, and a stream of five seconds arrives a line a second."""
    async with example.serve("hello_starlette") as runtime:
        assert "hello from Starlette\n" == await text(runtime)
        began = trio.current_time()
        async with runtime.client.stream("GET", "/count") as response:
            arrived = [(round(trio.current_time() - began, 6), line) async for line in response.aiter_lines()]
        assert [(n - 1.0, str(n)) for n in range(1, 6)] == arrived


@pytest.mark.real
async def test_rpc_and_cache(example: Example) -> None:
    """The price is asked for over a socket, and then comes from the cache; what there is not is a clear error."""
    module = example.load("rpc_and_cache")
    async with trio.open_nursery() as nursery:
        config = dataclasses.replace(module.config, http="127.0.0.1:0", socket="127.0.0.1:0")
        runtime = await nursery.start(serve, module.app, config)
        vars(module)["NODE"] = str(runtime.uwsgi_addresses[0])
        async with httpx.AsyncClient(base_url=f"http://{runtime.addresses[0]}") as client:
            assert "2.50\n" == (await client.get("/tea")).text
            module.prices[b"tea"] = b"9"
            assert "2.50\n" == (await client.get("/tea")).text
            answer = await client.get("/milk")
        assert (502, True) == (answer.status_code, "RPC function 'price' gave no result" in answer.text)
        runtime.stop()


async def test_wsgi_generator(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """The first backend answers at once; the second answer does not come, and is waited for a second."""
    async with example.serve("wsgi_generator") as runtime:
        began = trio.current_time()
        assert "answer: hello\nno answer\n" == await text(runtime)
        assert 1.5 == round(trio.current_time() - began, 3)


async def test_signals_and_timers(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """Its timers run as often as they say, where they say, and a request raises its signal."""
    async with example.serve("signals_and_timers") as runtime:
        await trio.sleep(125)
        assert ["heartbeat: 12", "refresh: 2", "warm up of worker 1: 3", "warm up of worker 2: 3"] == (
            await text(runtime)
        ).splitlines()
        await runtime.client.post("/")
        await trio.sleep(1)
        assert "refresh: 3" in await text(runtime)
        assert 3 == runtime.log.count("signal 17")
        assert [10.0 * n for n in range(1, 13)] == runtime.log.times("signal 255", "mule1")


async def test_cron(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """Its crons run at their minutes, in the time zone of its config."""
    begin = datetime.datetime(2026, 12, 20, 12, 10, tzinfo=datetime.UTC)  # a Sunday
    async with example.serve("cron", begin=begin) as runtime:
        assert ["ran: nothing yet", "christmas: 2026-12-25 07:00 UTC"] == (await text(runtime)).splitlines()
        await trio.sleep(3600)
        assert "ran: quarter, quarter, quarter, quarter" == (await text(runtime)).splitlines()[0]
        await trio.sleep(5 * 86400)
        ran, christmas = (await text(runtime)).splitlines()
        assert (1, 1) == (ran.count("monday"), ran.count("christmas"))
        assert "christmas: 2027-12-25 07:00 UTC" == christmas
        monday = datetime.datetime(2026, 12, 21, 2, 0, tzinfo=datetime.UTC)  # three in Rome
        assert [(monday - begin).total_seconds()] == runtime.log.times("signal 254")


async def test_mule_messages(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """A request sends to the handler or to the program, and does not wait for either."""
    async with example.serve("mule_messages") as runtime:
        for path in ("/handler", "/program"):
            response = await runtime.client.post(path, content=b"hello")
            assert 202 == response.status_code
        await trio.testing.wait_all_tasks_blocked()
        assert "mule 2 read hello\n" == await text(runtime)
        await trio.sleep(1.5)
        assert "mule 2 read hello\nmule 1 handled hello\n" == await text(runtime)
        await trio.sleep(3600)
        assert (await text(runtime)).endswith("mule 2 had nothing to do for an hour\n")


async def test_farm(example: Example, autojump_clock: trio.testing.MockClock) -> None:
    """The farm's mules are started for six photos and resize two each; one of a mule that died comes again."""
    async with example.serve("farm") as runtime:
        for n in range(1, 7):
            assert 202 == (await runtime.client.post("/", content=f"photo {n}")).status_code
        await trio.sleep(1)
        assert ["ready"] * 5 == [member.state for member in runtime.statistics().members]
        runtime.kill("mule3")
        await trio.sleep(10)
        lines = (await text(runtime)).splitlines()
        assert "photo 2 again" in lines
        assert [f"photo {n}" for n in range(1, 7)] == sorted(line[-7:] for line in lines if "resized" in line)
        await trio.sleep(60)
        assert ["ready"] * 2 + ["vacant"] * 3 == [member.state for member in runtime.statistics().members]


@pytest.mark.parametrize("app", ["app", "wsgi_app"])
async def test_harakiri(example: Example, app: str, autojump_clock: trio.testing.MockClock) -> None:
    """Each path is ended at its limit, in a task as in a thread; the one that is in time is not."""
    async with example.serve("harakiri", app) as runtime:
        for path, seconds in (("/wait", 2), ("/own", 0.5), ("/part", 1)):
            began = trio.current_time()
            response = await runtime.client.get(path)
            assert (504, seconds) == (response.status_code, round(trio.current_time() - began, 6))
        assert "in time\n" == await text(runtime)
        assert 3 == runtime.statistics().members[0].harakiri


@pytest.mark.parametrize(
    "name", ["test_a_report_every_night", "test_a_slow_request_is_ended", "test_a_failing_request_is_contained"]
)
async def test_testing_on_mock_time(example: Example, name: str, autojump_clock: trio.testing.MockClock) -> None:
    """The tests it consists of pass."""
    await getattr(example.load("testing_on_mock_time"), name)(autojump_clock)


# ----- as a program


@pytest.mark.real
async def test_an_example_as_a_program(tmp_path: Path) -> None:
    """`python examples/hello_asgi.py` serves until SIGTERM, which it takes for a graceful stop."""
    address = tmp_path / "hello.sock"
    command = [sys.executable, str(EXAMPLES / "hello_asgi.py"), str(address)]
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, cwd=tmp_path)
        try:
            assert process.stderr is not None
            log = b""
            while b"in tasks of process" not in log:  # the last line of the start
                log += (piece := await process.stderr.receive_some())
                assert piece, log
            assert f"http on unix:{address}\n" in log.decode()
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(address))) as client:
                assert "hello from ASGI\n" == (await client.get("http://localhost/")).text
            process.send_signal(signal.SIGTERM)
            assert 0 == await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    assert not address.exists()


# Log lines at the start of those with a `config`, which no option of the command line sets.
STARTED = {
    "farm": "1 worker, 1 to 4 mules, in {} of process",
    "mule_messages": "1 worker, 2 mules, in {} of process",
    "rpc_and_cache": "uwsgi on 127.0.0.1:",
    "signals_and_timers": "2 workers, 1 mule, in {} of process",
    "spooler": "1 worker, 0 mules and 1 spooler, in {} of process",
    "testing_on_mock_time": "1 worker, 1 mule, in {} of process",
}
IN_PROCESSES = ("cron", "farm", "hello_asgi", "spooler")


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "where"),
    [
        *((path, "tasks") for path in PATHS),
        *(pytest.param(EXAMPLES / f"{name}.py", "processes", marks=pytest.mark.long) for name in IN_PROCESSES),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_examples_start_from_the_command_line(path: Path, where: str, tmp_path: Path) -> None:
    """`trio-uwsgi examples/X.py` needs no options: what its `config` says counts, in tasks as in processes."""
    words = [*("--http", "127.0.0.1:0", "--socket", "127.0.0.1:0"), *(["-p", "1"] if where == "processes" else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "trio_uwsgi", str(path), *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            assert process.stderr is not None
            said = ""
            while f"in {where} of process" not in said:  # the last line of the start
                line = process.stderr.readline()
                assert line, said
                said += line
            process.send_signal(signal.SIGTERM)
            said += process.stderr.read()
            assert 0 == process.wait(30), said
        finally:
            guard.cancel()
            process.kill()
    assert STARTED.get(path.stem, "").format(where) in said
    assert ("config = " in path.read_text()) == (f"using the config in {path};" in said)
