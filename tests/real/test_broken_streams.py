"""Standard streams that are closed, full, or have no reader: nothing goes elsewhere, and no dump changes anything."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.process_runtimes import descendants, program
from tests.real.servers import MODES, Server, environment, serving

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

SOURCE = """
def slow():
    time.sleep(60)
def write():
    os.write(1, b"to descriptor 1")
    os.write(2, b"to descriptor 2")
    return "written"
def streams():
    print("to the stream")
    sys.stderr.write("to the stream")
    return " ".join(os.readlink(f"/proc/self/fd/{number}") for number in range(3))
"""


@contextlib.contextmanager
def broken(folder: Path, how: str, mode: str, *words: str) -> Iterator[Server]:
    """A server whose standard streams are so."""
    if how == "full":
        with open("/dev/full", "wb") as full, serving(folder, SOURCE, mode, *words, stderr=full) as server:
            yield server
    elif how == "no reader":
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as pipe, serving(folder, SOURCE, mode, *words, stderr=pipe) as server:
            yield server
    else:
        shell = ("sh", "-c", f'exec "$@" {how}', "sh")
        with serving(folder, SOURCE, mode, *words, prefix=shell) as server:
            yield server


NOTHING = "0<&- 1>&- 2>&-"


@pytest.mark.parametrize(
    ("how", "mode"),
    [
        ("full", "tasks"),
        (NOTHING, "processes"),
        *(pytest.param("full", mode, marks=pytest.mark.long) for mode in MODES if mode != "tasks"),
        *(pytest.param(NOTHING, mode, marks=pytest.mark.long) for mode in MODES if mode != "processes"),
        *(
            pytest.param(how, mode, marks=pytest.mark.long)
            for how in ("no reader", "2>&-", "1>&- 2>&-", "0<&-")
            for mode in ("tasks", "processes")
        ),
    ],
)
def test_commands_that_print(tmp_path: Path, how: str, mode: str) -> None:
    """SIGUSR1, SIGUSR2 and everything that is logged end nothing, and what the application writes goes nowhere else."""
    with broken(tmp_path, how, mode) as server:
        before = descendants(server.process.pid)
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
            server.process.send_signal(number)
            time.sleep(0.3)
        if "&-" in how:
            assert "written" == server.get("/write")
            assert [os.devnull] * 2 == server.get("/streams").split()[:2]
        assert "hello" == server.get()
        assert before == descendants(server.process.pid)
        assert 0 == server.end()


@pytest.mark.parametrize(
    "how", ["full", *(pytest.param(how, marks=pytest.mark.long) for how in ("no reader", "2>&-", "1>&- 2>&-"))]
)
def test_a_blocked_worker(tmp_path: Path, how: str) -> None:
    """It is killed and replaced, although its stacks cannot be printed."""
    with broken(tmp_path, how, "processes", "--harakiri", "1") as server:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            server.get("/slow")
        assert time.monotonic() - began < 8
        assert "hello" == server.get()
        assert 0 == server.end()


@pytest.mark.parametrize("how", ["2>&-", "0<&- 1>&- 2>&-"])
def test_options_that_are_wrong(tmp_path: Path, how: str) -> None:
    """The exit code is 2, although the error cannot be printed."""
    line = ["sh", "-c", f'exec "$@" {how}', "sh", sys.executable, "-m", "trio_uwsgi", "--nonsense"]
    assert 2 == subprocess.run(line, env=environment(), cwd=tmp_path, timeout=20, check=False).returncode


@pytest.mark.long
def test_an_embedded_server(tmp_path: Path) -> None:
    """In an embedded server with closed descriptors, a dump and a blocked worker end nothing."""
    source = """
    import time
    from trio_uwsgi import Config, serve
    from trio_uwsgi.testing import wait_until

    async def hello():
        return "hello"

    async def main():
        for number in range(3):
            os.close(number)
        async with trio.open_nursery() as nursery:
            config = Config(http="unix:s", placement="process", workers=2)
            runtime = await nursery.start(serve, app, config)
            for _ in range(2):
                await runtime.dump_stacks()
            note("served")
            runtime.stop()
        note("stopped")

    if __name__ == "__main__":
        trio.run(main)
    """.replace("    from trio_uwsgi.testing import wait_until\n", "").replace("me()", "'it'")
    with program(tmp_path, source) as script:
        assert 0 == script.process.wait(20)
        assert ["served", "stopped"] == [line.split()[0] for line in script.log.read_text().splitlines()]


def test_what_a_dump_says(tmp_path: Path) -> None:
    """It names each process by its role, each task by what it runs, and the application's frames with file and line."""
    source = """
    import trio
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/wait":
            await wait()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})
    async def wait():
        await trio.sleep_forever()
    """
    with serving(tmp_path, source, "processes", "--lifespan", "off") as server, contextlib.ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(contextlib.closing(server.connection())).request("GET", "/wait")
        server.wait_for("in processes of process")
        server.process.send_signal(signal.SIGUSR2)
        said = server.wait_for("worker 1 (process", "worker 2 (process", "master (process", "(request GET /wait)")
        line = next(line for line in said.splitlines() if "(request GET /wait)" in line)
        file = re.escape(str(tmp_path / "app.py"))
        assert re.search(rf" > {file}:\d+ in app > {file}:\d+ in wait > _timeouts.py:\d+ in sleep_forever$", line), line
