"""Masters of members' processes: starts, refused starts, stops, and what is left when they are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.interop.peers import free_port
from tests.real.process_runtimes import (
    ROOT,
    Program,
    alive,
    children,
    descendants,
    get,
    process_runtime,
    program,
    until,
)
from trio_uwsgi import Config, serve
from trio_uwsgi.errors import BootError, ConfigError

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]


def serving(port: int, options: str = "") -> str:
    """The end of a script that serves."""
    return f"""
if __name__ == "__main__":
    import trio_uwsgi
    config = trio_uwsgi.Config(http="127.0.0.1:{port}", placement="process", {options})
    trio.run(trio_uwsgi.serve, app, config)
"""


def ask(port: int, path: str) -> str:
    """One request."""
    return trio.run(get, port, path)


def is_free(port: int) -> bool:
    """Can it be listened on?"""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
        return True


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


# ----- ends


@pytest.mark.parametrize("how", ["master", "master and zygote"])
def test_no_process_outlives_a_killed_master(tmp_path: Path, how: str) -> None:
    """Within two seconds there is no process left, also of those that are stuck, and the port is free."""
    port = free_port()
    source = """
async def stick():
    time.sleep(1000)
"""
    options = f"workers=2, mules=1, spooler={str(tmp_path / 'spool')!r}"
    with program(tmp_path, source + serving(port, options)) as master:
        master.wait_for(f"http on 127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"GET /stick HTTP/1.1\r\nHost: x\r\n\r\n")
            pids = descendants(master.process.pid)
            assert 5 == len(pids)
            time.sleep(0.1)
            if how == "master and zygote":
                (zygote,) = children(master.process.pid)
                os.kill(zygote, signal.SIGKILL)
            master.end(signal.SIGKILL)
            wait_until(lambda: not any(alive(pid) for pid in pids) and is_free(port))


SLOW = """
async def slow():
    note("begun")
    await trio.sleep(0.5)
    return "whole"

async def never():
    note("begun")
    await trio.sleep_forever()

@uwsgi.mule_message_handler
async def message(text):
    await trio.sleep(0.2)
    note(text.decode())
"""


async def asked(program: Program, port: int, path: str, number: int, answers: list[str]) -> float:
    """Send a posix signal while a request runs. The seconds from there to the end."""

    async def client() -> None:
        answers.append(await get(port, path))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        await until(lambda: program.log.exists() and "begun" in program.log.read_text())
        began = time.monotonic()
        code = await trio.to_thread.run_sync(program.end, number)
        answers.append(str(code))
        return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_a_graceful_stop_ends_what_runs(tmp_path: Path, number: signal.Signals) -> None:
    """The running request is answered, queued messages are handled, all processes end, and the code is 0."""
    port = free_port()
    answers: list[str] = []
    with program(tmp_path, SLOW + serving(port, "workers=2, mules=1")) as master:
        await trio.to_thread.run_sync(master.wait_for, f"http on 127.0.0.1:{port}")
        pids = descendants(master.process.pid)
        for text in "abc":
            await get(port, f"/send_message?{text}")
        await asked(master, port, "/slow", number, answers)
        assert ["0", "whole"] == sorted(answers)
        # Two workers sent them: they come in any order.
        assert ["a", "b", "c"] == sorted(line[0] for line in master.log.read_text().splitlines() if line[1] == " ")
        assert [False] * 4 == [alive(pid) for pid in pids]
        assert is_free(port)
        assert "ERROR" not in master.said


async def test_sigterm_to_all_processes_is_a_graceful_stop(tmp_path: Path) -> None:
    """As a service manager sends it: running requests are not cut off."""
    port = free_port()
    answers: list[str] = []
    with program(tmp_path, SLOW + serving(port, "workers=2, mules=1")) as master:
        await trio.to_thread.run_sync(master.wait_for, f"http on 127.0.0.1:{port}")
        pids = descendants(master.process.pid)

        async def client() -> None:
            answers.append(await get(port, "/slow"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            await until(lambda: master.log.exists() and "begun" in master.log.read_text())
            for pid in [*pids, master.process.pid]:
                os.kill(pid, signal.SIGTERM)
            assert 0 == await trio.to_thread.run_sync(master.process.wait, 20)
        assert ["whole"] == answers
        assert "stopping gracefully" in master.said
        assert "replacing" not in master.said
        assert [False] * 4 == [alive(pid) for pid in pids]


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Running requests are cut off, no process is left, and the code says which signal it was."""
    port = free_port()
    answers: list[str] = []
    with program(tmp_path, SLOW + serving(port, "workers=1, mules=1")) as master:
        await trio.to_thread.run_sync(master.wait_for, f"http on 127.0.0.1:{port}")
        pids = descendants(master.process.pid)

        async def again() -> None:
            await trio.to_thread.run_sync(master.wait_for, "stopping gracefully")
            master.process.send_signal(signal.SIGTERM)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(again)
            assert await asked(master, port, "/never", signal.SIGTERM, answers) < 3
        assert ["", str(128 + signal.SIGTERM)] == sorted(answers)
        assert [False] * 3 == [alive(pid) for pid in pids]


async def test_the_mercy_ends(tmp_path: Path) -> None:
    """Code that runs longer than the mercy is cut off, whatever it is stuck in, and the runtime ends."""
    others = set(descendants(os.getpid()))  # servers that other tests share
    async with process_runtime(
        tmp_path,
        """
async def stick():
    note("begun")
    time.sleep(1000)
""",
        mercy=0.3,
    ) as server:
        house_pids = set(descendants(os.getpid())) - others
        assert house_pids
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.get, "/stick")
            await until(server.noted)
            server.runtime.stop()
            with trio.fail_after(20):
                await server.runtime._tree.ended.wait()
    assert not any(alive(pid) for pid in house_pids)


# ----- starts


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, to its end."""
    command = [sys.executable, "-m", "trio_uwsgi", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)


OPTIONS = ("--http", "127.0.0.1:0", "--processes", "2")


def test_an_application_that_does_not_import(tmp_path: Path) -> None:
    """The exit code is 4, and the traceback is that of the application."""
    (tmp_path / "broken.py").write_text("def connect():\n    raise LookupError('no database')\n\nconnect()\n")
    ended = run(tmp_path, "broken:app", *OPTIONS)
    assert 4 == ended.returncode
    assert 'broken.py", line 2, in connect' in ended.stderr
    assert "trio-uwsgi: importing broken failed: LookupError: no database" in ended.stderr
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert "RemoteTraceback" not in ended.stderr


def test_an_application_that_does_not_start_up(tmp_path: Path) -> None:
    """Each worker is tried up to three times, and the exit code is 4. All fail alike: the log has the traceback once,
    and the error at the end has it again.
    """
    (tmp_path / "broken.py").write_text(
        "from pathlib import Path\n"
        "async def app(scope, receive, send):\n"
        "    with open(Path(__file__).parent / 'tries', 'a') as tries: tries.write('x')\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
        "    raise LookupError('for this reason')\n"
    )
    ended = run(tmp_path, "broken:app", "--http", "127.0.0.1:0", "--processes", "2")
    assert (4, True) == (ended.returncode, len((tmp_path / "tries").read_text()) in range(3, 7))
    assert "trio-uwsgi: the application's startup failed: no database" in ended.stderr
    assert 'broken.py", line 6, in app' in ended.stderr
    assert 2 <= ended.stderr.count(" cannot start: the application's startup failed: no database\n") <= 4
    assert 2 == ended.stderr.count("LookupError: for this reason")


def test_an_application_of_no_known_kind(tmp_path: Path) -> None:
    """It is refused with a remedy, and not retried."""
    (tmp_path / "odd.py").write_text("class Odd:\n    def __call__(self, *args): ...\n\napp = Odd()\n")
    ended = run(tmp_path, "odd:app", "--http", "127.0.0.1:0", "--processes", "1")
    assert 4 == ended.returncode
    assert "interface" in ended.stderr.splitlines()[-1]


def test_a_declaration_that_does_not_fit(tmp_path: Path) -> None:
    """A signal for a member that does not exist is an error of the start, as with members in tasks."""
    (tmp_path / "shop.py").write_text(
        "from trio_uwsgi import uwsgi\n"
        "@uwsgi.signal_handler(1, target='mule3')\n"
        "def handler(signum): ...\n"
        "def app(environ, start_response): ...\n"
    )
    ended = run(tmp_path, "shop:app", *OPTIONS)
    assert 4 == ended.returncode
    assert "mule3" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("guarded", [pytest.param(True, marks=pytest.mark.long), False], ids=["guarded", "unguarded"])
def test_an_application_of_the_script(tmp_path: Path, guarded: bool) -> None:
    """A script that serves its own application is run a second time for the processes, with or without the line."""
    port = free_port()
    source = serving(port, "workers=2")
    if not guarded:
        source = source.replace('if __name__ == "__main__":', "if True:")
    with program(tmp_path, source) as master:
        master.wait_for(f"http on 127.0.0.1:{port}")
        assert "worker" == ask(port, "/pid")[:6]
        assert 3 == len(descendants(master.process.pid))
        assert 0 == master.end()


async def test_an_application_that_has_no_name() -> None:
    """An application that was made in a function is refused with a remedy."""

    async def app(scope: object, receive: object, send: object) -> None: ...

    with pytest.raises(ConfigError, match="make it at the top level of a module, or pass its name: 'module:attribute'"):
        await serve(app, Config(http="127.0.0.1:0", placement="process"))


# ----- around the members


async def test_each_worker_has_a_lifespan(tmp_path: Path) -> None:
    """Startup and shutdown run in each worker's process, and its state is that of the requests there."""
    source = """
requests = app

async def app(scope, receive, send):
    if scope["type"] == "http":
        global state
        state = scope["state"]
        return await requests(scope, receive, send)
    await receive()
    scope["state"]["from"] = os.getpid()
    line(f"up {os.getpid()}")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    line(f"down {os.getpid()}")
    await send({"type": "lifespan.shutdown.complete"})

def line(text):
    with open(HERE / "log", "a", buffering=1) as log:
        log.write(text + "\\n")

async def same():
    return state["from"] == os.getpid()
"""
    async with process_runtime(tmp_path, source, workers=2, mules=1, lifespan="on") as server:
        pids = {await server.pid("worker1"), await server.pid("worker2")}
        assert [["up"], ["up"]] == [line[:1] for line in server.noted()]
        assert pids == {int(line[1]) for line in server.noted()}
        assert {"True"} == {await server.get("/same") for _ in range(4)}
    assert ["up", "up", "down", "down"] == server.said()
    assert pids == {int(line[1]) for line in server.noted()[2:]}


async def test_rpc_between_runtimes(tmp_path: Path) -> None:
    """A member of one calls a function of the other over its uwsgi port, and gets what a member there returned."""
    source = """
@uwsgi.rpc_handler("who")
async def who(name):
    return name + f" of {uwsgi.masterpid()} by {os.getpid()}".encode()

async def ask(node=""):
    return (await uwsgi.rpc(node, "who", "x")).decode()
"""
    (tmp_path / "other").mkdir()
    port = free_port()
    other = serving(free_port(), f'socket="127.0.0.1:{port}", workers=1')
    with program(tmp_path / "other", source + other) as master:
        await trio.to_thread.run_sync(master.wait_for, "uwsgi on")
        async with process_runtime(tmp_path, source) as server:
            answer = (await server.get(f"/ask?127.0.0.1:{port}")).split()
            assert ["x", "of", str(master.process.pid), "by"] == answer[:4]
            assert int(answer[4]) in descendants(master.process.pid)
            assert await server.get("/ask") == f"x of {os.getpid()} by {await server.pid('worker1')}"


async def test_alarms_of_members(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The master runs the alarms that members raise: a log line, a signal, a command."""
    source = """
@uwsgi.signal_handler(5, target="mule1")
async def handler(signum):
    note("signal")

async def ring(name):
    uwsgi.alarm(name, "disk full")
"""
    alarms = {"log": "log:ALARM", "sig": "signal:5", "run": f"cmd:cat >{tmp_path / 'ran'}"}
    async with process_runtime(tmp_path, source, mules=1, alarms=alarms) as server:
        for name in alarms:
            await server.get(f"/ring?{name}")
        await until(server.noted)
        await until(lambda: (tmp_path / "ran").exists() and "disk full" in (tmp_path / "ran").read_text())
        assert [["signal", "mule1"]] == [line[:2] for line in server.noted()]
        assert 1 == sum("ALARM" in line and "disk full" in line for line in caplog.messages)


async def test_a_runtime_in_a_nursery_that_cannot_start(tmp_path: Path) -> None:
    """The error is that of the application, with its traceback as the cause, and no process is left."""
    before = children(os.getpid())
    with pytest.RaisesGroup(pytest.RaisesExc(BootError, match="ZeroDivisionError")) as caught:
        async with process_runtime(tmp_path, "1 / 0"):
            raise AssertionError("it serves")
    assert "shop.py" in str(caught.value.exceptions[0].__cause__)
    assert before == children(os.getpid())


async def test_a_member_may_send_as_much_as_a_queue_holds(tmp_path: Path) -> None:
    """A member that does not read the answers gets an error then; each accepted message is handled once."""
    source = """
async def flood(count):
    sent = 0
    try:
        for number in range(int(count)):
            uwsgi.mule_msg(f"m{number}")
            sent += 1
    except Exception as error:
        return f"{sent} {error}"
    return f"{sent} all"

@uwsgi.mule_message_handler
async def message(text):
    note(text.decode())
"""
    async with process_runtime(tmp_path, source, mules=1, signal_queue=50, message_queue=1000) as server:
        sent, _, said = (await server.get("/flood?500")).partition(" ")
        assert "the master has" in said or said == "all"
        await until(lambda: int(sent) == len(server.noted()))
        assert [f"m{number}" for number in range(int(sent))] == server.said()
        statistics = server.runtime.statistics().messages
        assert (int(sent), 0) == (statistics.queued, statistics.lost)


def test_the_title_is_put_back(tmp_path: Path) -> None:
    """After a server with processes has ended, its process has its former title again."""
    source = """
    if __name__ == "__main__":
        async def main():
            title = lambda: Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").replace(b"\\0", b" ").decode()
            before = title()
            with trio.move_on_after(60) as scope:
                async with trio.open_nursery() as nursery:
                    config = trio_uwsgi.Config(http="127.0.0.1:0", placement="process")
                    nursery.start_soon(trio_uwsgi.serve, app, config)
                    while title() == before:
                        await trio.sleep(0.01)
                    during = title()
                    scope.cancel()
            note(during == "trio-uwsgi master" and title() == before)
        import trio_uwsgi
        trio.run(main)
    """
    with program(tmp_path, source) as script:
        assert 0 == script.process.wait(60), script.said
        assert script.log.read_text().startswith("True")
