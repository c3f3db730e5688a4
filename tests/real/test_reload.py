"""Zero-downtime reloads and recycling: with real processes, under clients that never pause."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.real.commands import running
from tests.real.process_runtimes import ProcessRuntime, children, process_runtime, program, until, write

pytestmark = pytest.mark.real

REQUEST = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions of a file may have the same size and second, and then Python would use the first one's bytecode."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


def source(version: str, more: str = "") -> str:
    """An application that keeps connections, and answers with its version."""
    return f"""
VERSION = {version!r}

async def app(scope, receive, send, asked=app):
    if scope["type"] != "http" or scope["path"] != "/version":
        return await asked(scope, receive, send)
    await trio.sleep(0.002)
    body = VERSION.encode() * 1000
    await send({{"type": "http.response.start", "status": 200,
                 "headers": [(b"content-length", str(len(body)).encode())]}})
    await send({{"type": "http.response.body", "body": body}})

async def which():
    return VERSION

async def reload():
    uwsgi.reload()
{more}
"""


class Client:
    """Sends one request after another, on one connection as long as that is kept; counts answers, by version."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self.lost = 0
        self._port = port

    async def run(self) -> None:
        """Send requests until cancelled."""
        while True:
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                while await self._ask(stream):
                    pass

    async def _ask(self, stream: trio.SocketStream) -> bool:
        data = b""
        try:
            await stream.send_all(REQUEST)
            while not data.partition(b"\r\n\r\n")[2] or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
                part = await stream.receive_some()
                if not part:
                    raise trio.BrokenResourceError
                data += part
        except trio.BrokenResourceError:
            self.lost += 1
            return False
        head, _, body = data.partition(b"\r\n\r\n")
        version = body[: len(body) // 1000].decode()
        assert (b"HTTP/1.1 200 OK", version.encode() * 1000) == (head.partition(b"\r\n")[0], body)
        self.answers[version] += 1
        return b"connection: close" not in head.lower()


def _length(data: bytes) -> int:
    found = re.search(rb"content-length: (\d+)", data.lower())
    return int(found[1]) if found else 1


async def served_by(server: ProcessRuntime, version: str) -> None:
    """Wait until every answer is of this version."""
    with trio.fail_after(20):
        while {version} != {await server.get("/which") for _ in range(6)}:  # noqa: ASYNC110  # it asks another process
            await trio.sleep(0.02)


def logged(caplog: pytest.LogCaptureFixture, words: str) -> int:
    """The number of log lines with this text."""
    return sum(words in message for message in caplog.messages)


async def test_two_reloads_lose_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every answer is complete and from an existing version, and the last ones are from the newest."""
    caplog.set_level("INFO")
    async with process_runtime(tmp_path, source("1"), workers=2, lifespan="off", disable_logging=True) as server:
        clients = [Client(server.address.port) for _ in range(6)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.run)
            for number in (2, 3):
                await trio.sleep(0.2)
                write(tmp_path, source(str(number)))
                server.runtime.reload()
                await until(lambda number=number: number - 1 == logged(caplog, "reloaded in"), 20)  # type: ignore[misc]
            await served_by(server, "3")
            before = [client.answers["3"] for client in clients]
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
        answers = sum((client.answers for client in clients), Counter[str]())
        assert {"1", "2", "3"} == set(answers)
        assert 0 == sum(client.lost for client in clients)
        assert all(client.answers["3"] > count for client, count in zip(clients, before, strict=True))
        assert [0, 0] == [member.deaths for member in server.runtime.statistics().members]


@pytest.mark.parametrize(
    "broken",
    [
        "raise ValueError('broken')",
        pytest.param("uwsgi.add_timer(1, 60)\nuwsgi.mule(7)(print)", marks=pytest.mark.long),
        pytest.param("uwsgi.mule_message_handler(print)", marks=pytest.mark.long),
    ],
)
async def test_a_version_that_is_not_imported(tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str) -> None:
    """The running version stays, in the same processes; the log says why; and the next reload works."""
    async with process_runtime(tmp_path, source("1"), workers=1, lifespan="off") as server:
        worker = await server.pid("worker1")
        write(tmp_path, source("2", broken))
        server.runtime.reload()
        await until(lambda: logged(caplog, "reload failed, the running version stays"), 20)
        await trio.sleep(0.2)
        assert ("1", worker) == (await server.get("/which"), await server.pid("worker1"))
        write(tmp_path, source("3"))
        server.runtime.reload()
        await served_by(server, "3")


async def test_a_version_that_does_not_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the lifespan's startup of the new workers fails, the running version stays."""
    fails = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
    async with process_runtime(tmp_path, source("1"), workers=2, mules=1) as server:
        write(tmp_path, source("2", fails))
        server.runtime.reload()
        await until(lambda: logged(caplog, "a member with the new code did not start"), 20)
        await served_by(server, "1")
        assert logged(caplog, "no database")
        assert [0, 0, 0] == [member.deaths for member in server.runtime.statistics().members]


@pytest.mark.long
async def test_a_worker_in_backoff_when_a_reload_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It starts again with the old code while others start with the new code, and is replaced, too."""
    caplog.set_level("INFO")
    slow = """
@uwsgi.post_fork
async def slowly():
    if uwsgi.worker_id() == 2:
        await trio.sleep(1.5)
"""
    async with process_runtime(tmp_path, source("1"), workers=2, lifespan="off") as server:
        os.kill(await server.pid("worker1"), signal.SIGKILL)
        await until(lambda: server.state("worker1") != "ready")
        write(tmp_path, source("2", slow))
        server.runtime.reload()
        await until(lambda: logged(caplog, "reloaded in"), 20)
        await served_by(server, "2")
        assert {"2"} == {await server.get("/which") for _ in range(20)}


async def test_a_member_reloads(tmp_path: Path) -> None:
    """`uwsgi.reload()`, one worker after the other, with what an application may have."""
    options = {"workers": 2, "mules": 1, "spooler": str(tmp_path / "jobs"), "chain_reload": True, "lifespan": "off"}
    async with process_runtime(tmp_path, source("1"), **options) as server:
        write(tmp_path, source("2"))
        await server.get("/reload")
        await served_by(server, "2")


async def test_workers_are_recycled_after_max_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are replaced one at a time, and no request is lost."""
    caplog.set_level("INFO")
    options = {"workers": 2, "max_requests": 100, "max_requests_delta": 20, "lifespan": "off", "disable_logging": True}
    async with process_runtime(tmp_path, source("1"), **options) as server:
        clients = [Client(server.address.port) for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.run)
            await until(lambda: logged(caplog, "max_requests") >= 4, 20)
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
        assert 0 == sum(client.lost for client in clients)
        assert [0, 0] == [member.deaths for member in server.runtime.statistics().members]


@pytest.mark.long
async def test_other_limits(tmp_path: Path) -> None:
    """A worker that reached its lifetime or memory limit is replaced by another process."""
    for options in ({"max_worker_lifetime": 0.3}, {"reload_on_rss": 1024}):
        async with process_runtime(tmp_path, source("1"), workers=1, lifespan="off", **options) as server:
            first = await server.pid("worker1")
            with trio.fail_after(20):
                while first == await server.pid("worker1"):  # noqa: ASYNC110  # likewise
                    await trio.sleep(0.05)


@pytest.mark.long
async def test_signals_and_messages_during_a_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """None is lost or handled twice, whichever member handles it; a mule function never runs twice at once."""
    caplog.set_level("INFO")
    handlers = """
@uwsgi.signal_handler(5, target="worker")
async def five(signum):
    note("signal")

@uwsgi.mule_message_handler
async def got(message):
    await trio.sleep(0.001)
    note(message.decode())

@uwsgi.mule(2)
async def program():
    note("begins")
    try:
        await trio.sleep_forever()
    finally:
        note("ends")
"""
    async with process_runtime(tmp_path, source("1", handlers), workers=2, mules=2, lifespan="off") as server:
        write(tmp_path, source("2", handlers))
        server.runtime.reload()
        sent = 0
        while not logged(caplog, "reloaded in"):
            server.runtime.signal(5)
            server.runtime.mule_msg(f"message{sent}", 1 + sent % 2)
            sent += 1
            await trio.sleep(0.004)
        for _ in range(100):
            server.runtime.signal(5)
        await until(lambda: len(server.noted()) == 2 * sent + 103, 20)
        counts = Counter(server.said())
        assert {sent + 100} == {counts.pop("signal")}
        assert ["begins", "ends", "begins"] == [word for word in server.said() if word in ("begins", "ends")]
        assert (2, 1) == (counts.pop("begins"), counts.pop("ends"))
        assert {f"message{number}": 1 for number in range(sent)} == dict(counts)


@pytest.mark.long
async def test_timers_are_not_doubled(tmp_path: Path) -> None:
    """Those of the old code end, those of the new code begin, also those that a member added."""
    timers = """
uwsgi.add_timer(9, 0.1)
uwsgi.register_signal(9, "mule1", lambda signum: note("tick" + VERSION))

async def add():
    uwsgi.register_signal(10, "mule1", lambda signum: None)
    uwsgi.add_timer(10, 0.1)
"""
    async with process_runtime(tmp_path, source("1", timers), workers=1, mules=1, lifespan="off") as server:
        await server.get("/add")
        write(tmp_path, source("2", timers))
        server.runtime.reload()
        await until(lambda: "tick2" in server.said(), 20)
        server.log.unlink()
        before = server.runtime.statistics().signals.raised
        await trio.sleep(1.05)
        raised = server.runtime.statistics().signals.raised - before
        assert {"tick2"} == set(server.said())
        assert 9 <= raised <= 11


@pytest.mark.long
async def test_a_stop_during_a_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stops, whatever the reload has done so far, and no process is left."""
    caplog.set_level("INFO")
    before = children(os.getpid())
    for seconds in (0.0, 0.3, 0.6):
        async with process_runtime(
            tmp_path, source("1", "time.sleep(0.2)"), workers=2, mules=1, lifespan="off"
        ) as server:
            server.runtime.reload()
            server.runtime.reload()
            await trio.sleep(seconds)
            with trio.fail_after(15):
                server.runtime.stop()
                await server.runtime._tree.ended.wait()
    assert children(os.getpid()) == before


def test_sighup_reloads(tmp_path: Path) -> None:
    """The command line reloads; a hangup that reaches the whole group ends no process."""
    write(tmp_path, source("1"))
    with running(tmp_path, "shop:app", "--processes", "1", "--lifespan", "off") as command:
        write(tmp_path, source("2"))
        command.process.send_signal(signal.SIGHUP)
        command.read("reloaded in")


def test_sighup_where_members_are_tasks(tmp_path: Path) -> None:
    """It is refused with the reason, and the server keeps serving."""
    script = """
import trio_uwsgi
trio.run(trio_uwsgi.serve, app, trio_uwsgi.Config(http="127.0.0.1:0", lifespan="off"))
"""
    with program(tmp_path, script) as served:
        served.wait_for("in tasks of process")
        served.process.send_signal(signal.SIGHUP)
        served.wait_for("Config(placement='process'), on the command line --processes N")
        assert 0 == served.end()
