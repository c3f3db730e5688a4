"""The example applications start with the commands that they print, do what they say, and stop with exit code 0."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import datetime
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.meta.test_examples import Example
from trio_uwsgi.testing import open_runtime

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SECONDS = 40.0

both = pytest.mark.parametrize("mode", ["tasks", pytest.param("processes", marks=pytest.mark.long)])


class Started:
    """A running example. `said` is what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self._output = output

    @property
    def said(self) -> str:
        return self._output.read_text()

    def wait_for(self, pattern: str) -> str:
        """Wait until it has printed this. Returns the first group, or all that was found."""
        until(lambda: re.search(pattern, self.said) is not None or self.process.poll() is not None, lambda: self.said)
        found = re.search(pattern, self.said)
        assert found is not None, self.said
        return found[1] if found.re.groups else found[0]

    def client(self) -> httpx.Client:
        """A client of its HTTP address."""
        self.wait_for(r"in (?:tasks|processes) of process|console on")
        return httpx.Client(base_url=f"http://{self.wait_for(r'http on ([0-9.]+:[0-9]+)')}", timeout=SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it gracefully. Its exit code must be 0."""
        self.process.send_signal(number)
        assert 0 == self.process.wait(SECONDS), self.said


def until(condition: Callable[[], object], say: Callable[[], object] = lambda: "") -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to that in time\n{say()}"
        time.sleep(0.02)


def printed_command(file: Path, start: str) -> list[str]:
    """The command of the example's docstring that begins like this, as words for this interpreter and any folder."""
    (line,) = [line for line in re.split(r"\n| {3,}", file.read_text()) if line.strip() == start]
    words = shlex.split(line)
    programs = {"trio-uwsgi": [sys.executable, "-m", "trio_uwsgi"], "python": [sys.executable]}
    return [*programs[words[0]], *(str(ROOT / word) if word.startswith("examples/") else word for word in words[1:])]


@contextlib.contextmanager
def started(folder: Path, file: str, command: str, *options: str) -> Iterator[Started]:
    """Start an example in another folder with its printed command, and with options for a free port."""
    output = folder.parent / f"{folder.name}.output"
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    words = [*printed_command(EXAMPLES / file, command), *options]
    with output.open("wb") as file_:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=file_, stderr=subprocess.STDOUT)
    try:
        yield Started(process, output, folder)
    finally:
        process.kill()
        process.wait(SECONDS)
    assert {"var"} >= {path.name for path in folder.iterdir()}


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The messages of a stream of server-sent events."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


# ----- the chat


def running_requests(server: Started, total: int) -> list[int]:
    """How many requests each worker runs, as soon as it is this many in all."""
    found: list[int] = []

    def complete() -> bool:
        before = server.said.count("SpoolStatistics")
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: server.said.count("SpoolStatistics") > before, lambda: server.said)
        found[:] = [int(n) for n in re.findall(r"HttpStatistics\(.*, running=(\d+)", server.said)[-2:]]
        return sum(found) == total

    until(complete, lambda: server.said)
    return found


@pytest.mark.real
@both
def test_chat(mode: str, tmp_path: Path) -> None:
    """A message reaches streams of both workers and a later run, and the transcript is written by a job."""
    command = "trio-uwsgi examples/chat/chat.py" + (" --processes 2" if mode == "processes" else "")
    ada = {"name": "Ada", "text": "hello"}
    with started(tmp_path / "x", "chat/chat.py", command, "--http", "127.0.0.1:0") as chat, chat.client() as client:
        assert f"2 workers, 0 mules and 1 spooler, in {mode} of process" in chat.said
        assert "EventSource" in client.get("/").text
        with contextlib.ExitStack() as stack:
            streams: list[Iterator[dict[str, Any]]] = []
            while len(streams) < 20 and min(running_requests(chat, len(streams))) == 0:  # not yet one of each worker
                streams.append(events(stack.enter_context(client.stream("GET", "/messages"))))
            assert 20 > len(streams)
            for number in (1, 2):
                answer = client.post("/messages", json=ada)
                assert (201, {"number": number}) == (answer.status_code, answer.json())
                assert [ada] * len(streams) == [next(stream) for stream in streams]
        assert 400 == client.post("/messages", content=b"[]").status_code
        assert 202 == client.post("/transcript", json={"to": "eve@example.com"}).status_code
        outbox = chat.folder / "var" / "outbox"
        until(lambda: list(outbox.iterdir()), lambda: chat.said)
        (mail,) = outbox.iterdir()
        assert "\n\nAda: hello\nAda: hello\n" in mail.read_text()
        chat.stop()
    with started(tmp_path / "x", "chat/chat.py", command, "--http", "127.0.0.1:0") as chat, chat.client() as client:
        with client.stream("GET", "/messages", headers={"last-event-id": "1"}) as response:
            assert ada == next(events(response))
        assert {"number": 3} == client.post("/messages", json=ada).json()
        chat.stop()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Example:
    """A way to import an example, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return Example(monkeypatch)


async def test_chat_keeps_the_newest_messages(
    example: Example, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones are deleted, and the cache never becomes full."""
    chat = example.load("chat/chat")
    monkeypatch.setattr(chat, "KEPT", 3)
    caches = [dataclasses.replace(chat.config.caches[0], items=3 + 1)]
    async with open_runtime(chat.app, dataclasses.replace(chat.config, caches=caches)) as runtime:
        for number in range(1, 8):
            answer = await runtime.client.post("/messages", json={"name": "Ada", "text": str(number)})
            assert 201 == answer.status_code
        stream = runtime.connect()
        await stream.send_all(b"GET /messages HTTP/1.1\r\nhost: chat\r\n\r\n")
        seen = b""
        while b"id: 7\n" not in seen:
            seen += await stream.receive_some()
        await stream.aclose()
    assert [b"id: 5", b"id: 6", b"id: 7"] == re.findall(rb"id: \d+", seen)


# ----- the service of crons


@pytest.mark.real
@both
def test_cron_service(mode: str, tmp_path: Path) -> None:
    """It takes a sample at its start, shows its state in a file and its statistics after SIGUSR1, and stops."""
    command = "trio-uwsgi examples/cron_service/service.py" + (" --placement process" if mode == "processes" else "")
    with started(tmp_path / "x", "cron_service/service.py", command) as service:
        service.wait_for(f"1 worker, 1 mule and 1 spooler, in {mode} of process")
        assert "http on" not in service.said
        status = service.folder / "var" / "status.json"
        until(status.exists, lambda: service.said)
        assert ("samples", 1) == (json.loads(status.read_text())["last"], json.loads(status.read_text())["samples"])
        assert service.process.pid == int((service.folder / "var" / "service.pid").read_text())
        service.process.send_signal(signal.SIGUSR1)
        service.wait_for(r"SIGUSR1: MemberStatistics\(name='mule1', state='ready'")
        service.stop()
        assert not (service.folder / "var" / "service.pid").exists()


async def test_cron_service_in_a_night(
    example: Example, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hour that is over has a report of all of its samples; reports of more than 14 days ago are deleted."""
    service = example.load("cron_service/service")
    begin, began = datetime.datetime(2026, 11, 15, tzinfo=datetime.UTC), trio.current_time()
    now = lambda: begin + datetime.timedelta(seconds=autojump_clock.current_time() - began + 0.001)  # noqa: E731
    monkeypatch.setattr(service, "now", now)
    for old in ("2026-11-01T02", "2026-11-01T04"):
        (service.REPORTS / f"{old}.txt").touch()
    (service.SAMPLES / "2026-11-14T22.csv").write_text("22:00:00,1.50,1000\n")  # the service was stopped since
    async with open_runtime(service.app, service.config, begin=begin):
        await trio.sleep(4 * 3600 + 5)
    assert [
        "2026-11-01T04.txt",
        "2026-11-14T22.txt",
        *(f"2026-11-15T0{hour}.txt" for hour in range(4)),
    ] == sorted(path.name for path in service.REPORTS.iterdir())
    assert (
        "2026-11-14T22: 1 samples, load 1.50 on average, 1.5 at most\n"
        == (service.REPORTS / "2026-11-14T22.txt").read_text()
    )
    for hour in range(4):
        assert ": 360 samples, " in (service.REPORTS / f"2026-11-15T0{hour}.txt").read_text()
    assert {"samples": 1441, "hours": 4, "rotations": 1} == dict(service.counts)


# ----- embedding


@pytest.mark.real
@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
def test_embedding(how: str, tmp_path: Path) -> None:
    """Its console reaches the server; the server stops before what it depends on."""
    with started(
        tmp_path / "x", "embedding/embedding.py", "python examples/embedding/embedding.py", "127.0.0.1:0", "0"
    ) as program:
        with program.client() as client:
            port = int(program.wait_for(r"console on 127\.0\.0\.1:(\d+)"))
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock, sock.makefile("rw") as console:

                def ask(line: str) -> str:
                    console.write(f"{line}\n")
                    console.flush()
                    return console.readline().strip()

                assert ["ok", "ok"] == [ask("signal"), ask("message hello")]
                assert "type signal, message TEXT, statistics or stop" == ask("what")
                until(lambda: "{'signals': 1, 'messages': 1}" in client.get("/").text, lambda: program.said)
                assert re.fullmatch(r"worker1 ready, \d+ done", ask("statistics"))
                assert "mule1 ready, 1 done" == console.readline().strip()
                if how == "stop":
                    assert "ok" == ask("stop")
        if how != "stop":
            program.process.send_signal(signal.Signals[how])
        assert 0 == program.process.wait(SECONDS), program.said
        assert ["database opened", "server stopped", "database closed"] == [
            line for line in program.said.splitlines() if " on " not in line
        ]


# ----- reloading


@pytest.mark.real
def test_reloading(tmp_path: Path) -> None:
    """The reload loses no request, the version changes, and another process takes the place of the killed one."""
    with started(tmp_path / "x", "reloading/try_it.py", "python examples/reloading/try_it.py") as script:
        assert 0 == script.process.wait(2 * SECONDS), script.said
        assert re.search(r"the reload lost 0 of \d+ requests", script.said), script.said
        old, new = (re.search(rf"version {n} is served by the processes \[(.*)\]", script.said) for n in (1, 2))
        assert old is not None
        assert new is not None
        assert set() == set(old[1].split(", ")) & set(new[1].split(", "))
        killed = script.wait_for(r"kill -9 (\d+): worker 1 is now process \d+")
        assert killed in new[1].split(", ")
        assert "the server has stopped with exit code 0\n" in script.said


@pytest.mark.real
@pytest.mark.long
def test_reloading_by_hand(tmp_path: Path) -> None:
    """The application alone starts with its own command."""
    with (
        started(
            tmp_path / "x",
            "reloading/app.py",
            "trio-uwsgi examples/reloading/app.py",
            "--http",
            "127.0.0.1:0",
        ) as server,
        server.client() as client,
    ):
        assert 1 == client.get("/").json()["version"]
        server.stop()


# ----- the tested project


@pytest.mark.real
def test_tested_project(tmp_path: Path) -> None:
    """Its tests pass from any folder, and leave nothing there."""
    command = "python -m pytest examples/tested_project"
    with started(tmp_path / "x", "tested_project/src/bakery.py", command) as tests:
        assert 0 == tests.process.wait(3 * SECONDS), tests.said
        assert re.search(r"16 passed", tests.said), tests.said


@pytest.mark.real
@pytest.mark.long
def test_tested_project_serves(tmp_path: Path) -> None:
    """It is an application too."""
    with (
        started(
            tmp_path / "x",
            "tested_project/src/bakery.py",
            "trio-uwsgi examples/tested_project/src/bakery.py",
            "--http",
            "127.0.0.1:0",
        ) as server,
        server.client() as client,
    ):
        assert {"loaves": 0} == client.get("/stock").json()
        server.stop()


# ----- the table


def test_the_table_names_all_examples() -> None:
    """Each example has one row with its command, which names a file that exists."""
    rows = re.findall(r"^\| `([^`]+)` \| [^|]+ \| `([^`]+)` \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    names = [name for name, _ in rows]
    here = {f"{path.name}/" for path in EXAMPLES.iterdir() if any(path.glob("**/*.py"))}
    here |= {path.name for path in EXAMPLES.glob("*.py")}
    assert len(names) == len(set(names))
    assert set() == here - set(names)
    for name, command in rows:
        (path,) = [word for word in shlex.split(command) if word.startswith("examples/")]
        assert path.startswith(f"examples/{name.rstrip('/')}")
        if name in here:
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/**/*.py")), ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_applications_are_short_and_say_what_they_are(file: Path) -> None:
    """One file is one screen or two; an application says at its top what it shows and how it starts."""
    source = file.read_text()
    assert 200 >= len(source.splitlines())
    text = ast.get_docstring(ast.parse(source)) or ""
    if "test" not in file.stem:
        assert ["Shows", "Try it", "Leaves out"] == re.findall(r"^(Shows|Try it|Leaves out)\b", text, re.MULTILINE)
        started = file.with_name("uwsgi.ini") if file.with_name("uwsgi.ini").exists() else file
        assert re.search(rf"(python|trio-uwsgi|trio-uwsgi --ini) {started.relative_to(ROOT)}", text)
    else:
        assert text
