"""What the README shows is run: every block of Python, and what it says about options and limits."""

from __future__ import annotations

import dataclasses
import datetime
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from trio_uwsgi import Config, Registry, serve, uwsgi
from trio_uwsgi._program.command_options import OPTIONS, UWSGI_OPTIONS
from trio_uwsgi.testing import open_runtime

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
BLOCKS = [text for language, text in FENCED if language == "python"]
COMMANDS = [text for language, text in FENCED if not language]

Main = Callable[[object], Awaitable[None]]


@pytest.fixture(autouse=True)
def _fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block declares as if it were alone in its process."""
    monkeypatch.setattr(uwsgi, "registry", Registry())


def block(start: str) -> str:
    """The one block that has this in it."""
    (found,) = (text for text in BLOCKS if start in text)
    return str(found)


def run(source: str, name: str = "readme") -> ModuleType:
    """Run a block as a module."""
    module = ModuleType(name)
    exec(compile(source, f"README.md ({name})", "exec"), vars(module))
    return module


async def answer(scope: dict[str, Any], receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """An application for the blocks that have none. A scope holds whatever its type says."""
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


def test_the_first_program_passes_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test in the README, which imports the program in the README, passes on a mock clock."""
    program = block("# hello.py")
    assert 15 >= len([line for line in program.splitlines()[1:] if line])
    monkeypatch.setitem(sys.modules, "hello", run(program, "hello"))
    test = run(block("# test_hello.py"), "test_hello").test_a_day_of_beats
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(test, clock, clock=clock)
    assert 24 * 3600 + 1 <= clock.current_time() < 24 * 3600 + 2


async def test_the_signals_block(autojump_clock: trio.testing.MockClock) -> None:
    """Its timer raises its signal from a thread of the mule, and its cron runs on Monday at three."""
    shown = run(block("def weekly"))
    begin = datetime.datetime(2026, 1, 5, 2, 59, tzinfo=datetime.UTC)  # a Monday
    async with open_runtime(answer, Config(mules=1, timezone="UTC"), begin=begin) as runtime:
        await trio.sleep(60.25)
        assert 120 == runtime.log.count(f"signal {shown.poll.signum}", "mule1")
        assert 120 == runtime.log.count(f"signal {shown.refresh.signum}", "worker1")
        assert [60.0] == runtime.log.times(f"signal {shown.weekly.signum}")


async def test_the_mules_block(autojump_clock: trio.testing.MockClock) -> None:
    """Mule 1 gives a message to the handler; mule 2's program reads its own."""
    run(block("def watch"))
    async with open_runtime(answer, Config(mules=2)) as runtime:
        runtime.mule_msg(b"one", 1)
        runtime.mule_msg(b"two", 2)
        await trio.sleep(1)
        assert (1, 0) == (runtime.log.count("message 3 bytes", "mule1"), runtime.log.count("message 3 bytes", "mule2"))
        assert [0, 0, 0] == [member.waiting + member.running for member in runtime.statistics().members]


@pytest.mark.real
async def test_the_rpc_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its function is called here and over a socket; its signal goes to another node."""
    monkeypatch.chdir(tmp_path)
    source = block("def convert").replace("10.0.0.2:3031", "./a.sock").replace("/run/other.sock", "./a.sock")
    shown = run(source)
    uwsgi.register_signal(17, "mule1", lambda signum: None)
    answers = []

    @uwsgi.mule(1)
    async def ask() -> None:
        answers.append(await shown.ask())

    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(serve, answer, Config(socket="./a.sock", mules=1))
        with trio.fail_after(20):
            while not answers or runtime.statistics().signals.delivered < 1:
                await trio.lowlevel.checkpoint()
        runtime.stop()
    assert [(b"24 EUR", b"24 EUR")] == answers


async def test_the_caches_block(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Its page is made once, counted each time, and made again when it has expired."""
    monkeypatch.chdir(tmp_path)
    shown = run(block("async def page(name)"))
    counts = []

    @uwsgi.signal_handler(1)
    async def visit(signum: int) -> None:
        name = "x" * 200
        counts.append((len(await shown.page(name)), await uwsgi.cache_num(name, cache="hits")))

    async with open_runtime(answer, shown.config) as runtime:
        runtime.signal(1)
        runtime.signal(1)
        await trio.sleep(61)
        assert [(204, 1), (204, 2)] == counts
        assert 1 == runtime.statistics().alarms.raised  # the second one came with the same message at once


async def test_the_descriptors_block(autojump_clock: trio.testing.MockClock) -> None:
    """The first descriptor that can be read is told, or the timeout; the generator waits where it yields."""
    shown = run(block("async def first_of"))
    found = []

    @uwsgi.signal_handler(1)
    async def wait(signum: int) -> None:
        left, right = socket.socketpair()
        with left, right:
            found.append(await shown.first_of(left.fileno(), right.fileno()))
            left.send(b"x")
            found.append((await shown.first_of(left.fileno(), right.fileno())) == right.fileno())

    async with open_runtime(shown.app) as runtime:
        runtime.signal(1)
        await trio.sleep(6)
        response = await runtime.client.get("/")
        assert [-1, True] == found
        assert "later\n" == response.text


@pytest.mark.real
async def test_the_embedding_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It serves on a free port and a unix socket, and stops."""
    monkeypatch.chdir(tmp_path)
    main: Main = run(block("runtime.stop()")).main
    with trio.fail_after(20):
        await main(answer)
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d* unix:.*app\.sock\n", capsys.readouterr().out)
    assert [] == list(tmp_path.iterdir())


async def test_work_for_later(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `order` queues, the spooler runs."""
    shown = run(block("send_invoice.spool"))
    ran: list[object] = []
    function = uwsgi.registry.spool.functions["send_invoice"]

    async def send_invoice(number: str, *, copy: bool) -> None:
        ran.append((number, copy))

    uwsgi.registry.spool.functions["send_invoice"] = dataclasses.replace(function, func=send_invoice)

    @uwsgi.signal_handler(1)
    async def order(signum: int) -> None:
        await shown.order("17")

    config = dataclasses.replace(shown.config, spooler=str(tmp_path / "jobs"))
    assert 2 == config.spooler_processes
    async with open_runtime(None, config) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
    assert [("17", True)] == ran


def test_all_blocks_are_run_here() -> None:
    """There are as many as there are tests of them."""
    assert 9 == len(BLOCKS)


def test_the_commands_set_up_an_environment_first() -> None:
    """The two command lines come before any other, one serves an example that exists, and the other runs the tests."""
    serve, test, *_ = COMMANDS
    assert serve.startswith("python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/trio-uwsgi ")
    assert (ROOT / serve.split()[-1]).is_file()
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest\n" == test


def test_options_exist() -> None:
    """What is written like an option is one, here or in uWSGI."""
    ours = {(option.flag or option.field).lstrip("-").replace("_", "-") for option in OPTIONS} | {
        "factory",
        "help",
        "processes",
    }
    assert set() == set(re.findall(r"--([a-z][a-z-]+)", README)) - ours
    assert "reload-mercy" in UWSGI_OPTIONS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal_queue", 10_000),
        ("message_queue", 10_000),
        ("max_header_size", 32 * 1024),
        ("max_headers", 100),
        ("max_body", 0),
        ("header_timeout", 15),
        ("keep_alive_timeout", 75),
        ("socket_timeout", 60),
        ("mercy", 30),
    ],
)
def test_defaults_are_those_of_config(field: str, value: float) -> None:
    """The section on limits names the option and tells its default."""
    assert f"`{field}`" in README or f"--{field}" in README
    assert value == getattr(Config(), field)


def test_links_lead_somewhere() -> None:
    """Every relative link is a file of this repository."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert [] == [link for link in links if not (ROOT / link).exists()]
