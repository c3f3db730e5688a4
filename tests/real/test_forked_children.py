"""Processes that the application forks inside of a request: what they have, how they end, and what ends without."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.real.process_runtimes import alive
from tests.real.servers import SECONDS, every_mode, serving, until

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

SOURCE = """
import json
from multiprocessing import get_context
fork = get_context("fork")

def terminate():
    child = fork.Process(target=time.sleep, args=(30,), daemon=True)
    child.start()
    child.terminate()
    child.join(10)
    return child.exitcode
def interrupt():
    pid = os.fork()
    if not pid:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.1)
    os.kill(pid, int(os.environ["NUMBER"]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def square(number):
    return number * number
def pool():
    with fork.Pool(2) as pool:
        return pool.map(square, range(4))
def daemon():
    child = fork.Process(target=time.sleep, args=(30,), daemon=True)
    child.start()
    return child.pid
def orphan():
    pid = os.fork()
    if not pid:
        time.sleep(30)
        os._exit(0)
    return pid
def leaves():
    return left(lambda: sys.exit(3)), left(lambda: 1 / 0), left(int)
def left(leave):
    pid = os.fork()
    if not pid:
        return leave()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def facts():
    near, far = os.pipe()
    pid = os.fork()
    if not pid:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{fd}"))
            except OSError:
                pass
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
        handled = [number for number in range(1, 32) if int(status["SigCgt"], 16) >> (number - 1) & 1]
        blocked = int(status["SigBlk"], 16)
        said = [found, handled, blocked, signal.set_wakeup_fd(-1)]
        os.write(far, json.dumps(said).encode())
        os._exit(0)
    os.close(far)
    os.waitpid(pid, 0)
    said = os.read(near, 65536).decode()
    os.close(near)
    return said
def loop():
    child = fork.Process(target=run)
    child.start()
    child.join(10)
    return child.exitcode
def run():
    import trio, asyncio
    async def seven():
        await trio.sleep(0)
        return 7
    async def eight():
        await asyncio.sleep(0)
        return 8
    os._exit(trio.run(seven) + asyncio.run(eight()))
"""


@every_mode
def test_how_a_child_ends(tmp_path: Path, mode: str) -> None:
    """`terminate` ends it at once, with its status; and a loop of its own may run in it."""
    with serving(tmp_path, SOURCE, mode) as server:
        for _ in range(5):
            assert "-15" == server.get("/terminate")
        assert "15" == server.get("/loop")
        assert 0 == server.end()


@every_mode
def test_a_child_that_leaves_the_view(tmp_path: Path, mode: str) -> None:
    """It ends there, with the code of `sys.exit`; no copy of the server goes on in it."""
    with serving(tmp_path, SOURCE, mode) as server:
        assert "(3, 1, 0)" == server.get("/leaves")
        assert 0 == server.end()


@every_mode
def test_what_a_child_has(tmp_path: Path, mode: str) -> None:
    """Nothing handles a posix signal there but Python's own SIGINT, none is blocked, and no socket is the server's."""
    with serving(tmp_path, SOURCE, mode) as server:
        files, handled, blocked, wakeup = json.loads(server.get("/facts"))
        assert [signal.SIGINT] == [number for number in handled if number < 32]
        assert 0 == blocked
        assert -1 == wakeup
        listening = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(" s")}
        assert not listening & {name.removeprefix("socket:[").removesuffix("]") for name in files}
        assert 0 == server.end()


@pytest.mark.parametrize("mode", ["tasks", "processes"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"])
def test_signals_to_a_child(tmp_path: Path, mode: str, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that ends a process ends the child, and has no effect on the server."""
    monkeypatch.setenv("NUMBER", str(int(signal.Signals[number])))
    with serving(tmp_path, SOURCE, mode) as server:
        began = time.monotonic()
        code = server.get("/interrupt")
        assert time.monotonic() - began < 10
        assert str(-signal.Signals[number]) == code
        assert "stopping" not in server.said
        assert "reload" not in server.said


@every_mode
def test_pools(tmp_path: Path, mode: str) -> None:
    """A pool of forked processes ends each time."""
    with serving(tmp_path, SOURCE, mode) as server:
        for _ in range(50):
            assert "[0, 1, 4, 9]" == server.get("/pool")
        assert 0 == server.end()


@every_mode
@pytest.mark.parametrize("kind", ["daemon", "orphan"])
def test_a_stop_does_not_wait_for_a_child(tmp_path: Path, mode: str, kind: str) -> None:
    """Children of multiprocessing end with their parent, others keep running; neither blocks a client or the stop."""
    with serving(tmp_path, SOURCE, mode, "--mercy", "5") as server:
        server.wait_for("of process")  # a stop before everything serves is no graceful one
        pid = int(server.get(f"/{kind}"))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(server.socket)
            client.sendall(f"GET /{kind} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            began = time.monotonic()
            said = b""
            while data := client.recv(4096):
                said += data
            assert time.monotonic() - began < 5
        other = int(said.rpartition(b"\n")[2])
        began = time.monotonic()
        assert 0 == server.end()
        assert time.monotonic() - began < 4
        assert "cancelled" not in server.said
        if kind == "daemon":
            until(lambda: not (alive(pid) or alive(other)))
        else:
            for orphan in (pid, other):
                os.kill(orphan, signal.SIGKILL)
