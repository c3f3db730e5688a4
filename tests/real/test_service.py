"""A server under a service manager: passed sockets, another user, a pidfile, notifications, and the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.program.service_manager import Manager
from tests.real.commands import PACKAGE, SECONDS, Command, body
from tests.real.process_runtimes import descendants
from trio_uwsgi._system.privileges import group_name, user_name

pytestmark = pytest.mark.real

# To whom the tests go, if they may.
UID, GID = (65534, 65533) if os.getuid() == 0 else (os.getuid(), os.getgid())

APP = """
import os
from pathlib import Path
from trio_uwsgi import uwsgi

HERE = Path(__file__).parent

def note(what):
    with open(HERE / "log", "a", buffering=1) as log:
        log.write(f"{what}\\n")

def me():
    return f"worker {uwsgi.worker_id()}" if uwsgi.worker_id() else f"mule {uwsgi.mule_id()}"

note(f"imported by {os.getuid()} with umask {os.umask(0o22):o}")

@uwsgi.post_fork
def begin():
    assert "LISTEN_FDS" not in os.environ and "NOTIFY_SOCKET" not in os.environ

@uwsgi.atexit
async def end():
    note(f"{me()} left")

def app(environ, start_response):
    body = f"{os.environ['SHOP']} in {os.getcwd()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

# Passes sockets as systemd does. Where the tests are root's, the folders of this Python may be closed for others, so
# the capability to read them stays with whoever root becomes.
LAUNCHER = """
import ctypes, fcntl, os, sys
count, options = int(sys.argv[1]), sys.argv[2:]
sockets = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in options[:count]]
for number, fd in enumerate(sockets):
    os.dup2(fd, 3 + number)
if os.getuid() == 0:
    libc, header, data = ctypes.CDLL(None), (ctypes.c_uint * 2)(0x20080522, 0), (ctypes.c_uint * 6)()
    assert libc.capget(header, data) == 0
    data[2] |= 1 << 1  # CAP_DAC_OVERRIDE, inheritable
    assert libc.capset(header, data) == 0
    assert libc.prctl(47, 2, 1, 0, 0) == 0  # ambient
    assert libc.prctl(28, 1 << 2, 0, 0, 0) == 0  # not lost with setuid
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(sys.executable, [sys.executable, "-m", "trio_uwsgi", *options[count:]])
"""


@contextlib.contextmanager
def launched(
    folder: Path, *options: str, sockets: tuple[socket.socket, ...] = (), **environment: str
) -> Iterator[Command]:
    """The command line with this application and these sockets; stopped gracefully."""
    (folder / "shop.py").write_text(APP)
    descriptors = [sock.fileno() for sock in sockets]
    line = [sys.executable, "-c", LAUNCHER, str(len(sockets)), *map(str, descriptors)]
    line += ["shop:app", "--disable-logging", *options]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    with subprocess.Popen(
        line,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=descriptors,
    ) as process:
        command = Command(process)
        try:
            command.read(f"of process {process.pid}")
            yield command
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=SECONDS)
            command.said += rest
            assert process.returncode == 0, command.said
        finally:
            process.kill()


def identity(pid: int) -> tuple[set[int], set[int]]:
    """The users and groups of a process."""
    words = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    found = {name: {int(number) for number in value.split()} for name, _, value in words if name in ("Uid", "Gid")}
    return found["Uid"], found["Gid"]


def titles(pid: int) -> list[str]:
    """The titles of this process and all below it; empty while one of them ends."""
    try:
        commands = [Path(f"/proc/{process}/cmdline") for process in (pid, *descendants(pid))]
        return sorted(command.read_bytes().rstrip(b"\0").decode() for command in commands)
    except OSError:
        return []


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


def test_a_service_in_processes(tmp_path: Path) -> None:
    """It serves the passed sockets, all processes have the user, reloads are reported, and nothing is left."""
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        heard = _live_as_service(tmp_path / "site", manager)
    told = [first for first, *_ in heard if first != "WATCHDOG=1"]
    assert ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"] == told
    assert ["WATCHDOG=1"] in heard
    assert ["log", "shop.py"] == sorted(path.name for path in (tmp_path / "site").iterdir())
    left = dict.fromkeys(("mule 1 left", "worker 1 left", f"imported by {UID} with umask 27"), 2)
    assert left == Counter((tmp_path / "site" / "log").read_text().splitlines())


def _live_as_service(folder: Path, manager: Manager) -> list[list[str]]:
    folder.mkdir()
    heard: list[list[str]] = []

    def readies() -> int:
        heard.extend(manager.heard())
        return sum(lines[0] == "READY=1" for lines in heard)

    with (
        socket.create_server(("127.0.0.1", 0)) as http,
        socket.create_server(("127.0.0.1", 0)) as packets,
        launched(
            folder,
            *("-p", "1", "--mules", "1", "--uid", str(UID), "--gid", str(GID), "--pidfile", "shop.pid"),
            *("--env", "SHOP=books", "--umask", "027"),
            sockets=(http, packets),
            LISTEN_FDNAMES="web:uwsgi",
            NOTIFY_SOCKET=manager.address,
            WATCHDOG_USEC="500000",
        ) as server,
    ):
        pid = server.process.pid
        assert f"http on 127.0.0.1:{http.getsockname()[1]}" in server.said
        assert f"uwsgi on 127.0.0.1:{packets.getsockname()[1]}" in server.said
        server.address = http.getsockname()
        with server.client() as client:
            assert f"books in {folder}" == body(client)
        assert f"{pid}\n" == (folder / "shop.pid").read_text()
        until(lambda: readies() == 1)
        assert f"MAINPID={pid}" in heard[0]
        server.process.send_signal(signal.SIGHUP)
        until(lambda: readies() == 2)
        until(lambda: [f"trio-uwsgi {role}" for role in ("master", "mule 1", "worker 1", "zygote")] == titles(pid))
        assert [({UID}, {GID})] * 4 == [identity(process) for process in (pid, *descendants(pid))]
    return heard + manager.heard()


def test_a_program_in_one_process(tmp_path: Path) -> None:
    """The application is imported as the configured user, who owns the socket file; a reload is refused."""
    folder = tmp_path / "site"
    folder.mkdir()
    manager = Manager(str(tmp_path / "notify"))
    options = ["--uid", str(UID), "--gid", str(GID), "--pidfile", "shop.pid", "--env", "SHOP=books"]
    options += ["--http", "./shop.sock", "--chdir", str(folder), "--umask", "022"]
    with (
        manager.socket,
        socket.create_server(("127.0.0.1", 0)) as unused,
        launched(folder, *options, sockets=(unused,), NOTIFY_SOCKET=manager.address) as server,
    ):
        made = (folder / "shop.sock").stat()
        assert (UID, GID) == (made.st_uid, made.st_gid)
        assert ({UID}, {GID}) == identity(server.process.pid)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "shop.sock"))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert f"books in {folder}" == body(client)
        assert "systemd passed fd://3, but it is not served" in server.said
        server.process.send_signal(signal.SIGHUP)
        server.read(
            "SIGHUP: the reload was refused: Runtime.reload() was called where members are tasks of one process; only"
        )
        heard: list[list[str]] = []

        def all_is_heard() -> bool:
            heard.extend(manager.heard())
            return len(heard) == 3

        until(all_is_heard)
        assert ["READY=1", "RELOADING=1", "READY=1"] == [lines[0] for lines in heard]
    log = (folder / "log").read_text().splitlines()
    assert [f"imported by {UID} with umask 22", "worker 1 left"] == log
    assert ["log", "shop.py"] == sorted(path.name for path in folder.iterdir())


# Changes in a folder in which it may write before, and not after.
CHANGE = """
import logging, os, sys, trio
from trio_uwsgi._program import process_setup as own_process
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._system.privileges import Identity, become
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.errors import UwsgiError
from trio_uwsgi.config.connections import SocketOptions
from trio_uwsgi.config.options import ProcessOptions

async def change(uid, gid):
    async with open_listeners([Address.unix("s")], SocketOptions(backlog=1, mode=None)) as listeners:
        with own_process.finish_process_setup(ProcessOptions(uid=uid, gid=gid, pidfile="p"), listeners):
            print(sorted(os.listdir()), os.getresuid(), os.getresgid(), os.getgroups())
            if os.stat(".").st_uid == uid:
                os.chmod(".", 0o555)

def attempt(function, *args):
    try:
        function(*args)
    except UwsgiError as error:
        print(error)

logging.basicConfig(format="%(message)s", stream=sys.stdout)
os.chdir(sys.argv[1])
uid, gid = map(int, sys.argv[2:])
if os.getuid() == 0:
    os.close(os.open("secret", os.O_CREAT, 0o600))
    own_process._PROGRAM = [("secret", os.R_OK)]
    attempt(trio.run, change, uid, gid)
    print(os.listdir(), os.getresuid())
    own_process._PROGRAM = []
attempt(trio.run, change, uid, gid)
attempt(become, Identity(1, 1, [1]))
"""


def test_a_change_of_the_user(tmp_path: Path) -> None:
    """It is permanent; files that the user cannot read are an error before, files that it cannot remove are logged."""
    folder = tmp_path / "run"
    folder.mkdir()
    line = [sys.executable, "-c", CHANGE, str(folder), str(UID), str(GID)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=True)
    *before, changed, pidfile, file, again = done.stdout.splitlines()
    if os.getuid() == 0:
        refused = f"{user_name(UID)} has no access to secret; install it where that user can read it"
        assert [refused, "['secret'] (0, 0, 0)"] == before
        assert f"['p', 's', 'secret'] {(UID,) * 3} {(GID,) * 3} {[GID]}" == changed
    else:
        assert changed.startswith(f"['p', 's'] {(UID,) * 3} {(GID,) * 3}")
    assert f"cannot remove the pidfile {folder}/p as this user: Permission denied" == pidfile
    assert f"cannot remove the socket file {folder}/s: Permission denied" == file
    others = f"{user_name(1)} and {group_name(1)}"
    assert f"{user_name(UID)} cannot switch to {others}; start it as root, or leave uid and gid out" == again
    folder.chmod(0o755)
