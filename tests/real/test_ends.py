"""Starts and stops end in time with the right exit code, whatever keeps the interpreter alive, and the log names it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.real.commands import PACKAGE, Command, body
from tests.real.servers import UNSHARE, may_unshare

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

PLACEMENTS = {
    "tasks": ("--threads", "2"),
    "inline": ("-p", "1"),
    "lazy": ("-p", "1", "--threads", "2", "--lazy-apps"),
}
MERCY = 2.0
# What a machine that is busy may take beyond a limit.
MORE = 6.0

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
FOREVER = """
import threading, time
def forever():
    while True:
        time.sleep(1)
"""
# What keeps Python, and what the line says of it.
KEEPERS = {
    "thread": (FOREVER + "threading.Thread(target=forever, name='poller').start()\n", "thread 'poller'"),
    "executor": (
        FOREVER + "import concurrent.futures\n"
        "pool = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix='pool')\npool.submit(forever)\n",
        "thread 'pool_0'",
    ),
    "atexit": (FOREVER + "import atexit\natexit.register(forever)\n", "a call at Python's exit, in forever"),
    "child": (
        FOREVER + "import multiprocessing\n"
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,), name='helper').start()\n",
        "('helper' of multiprocessing)",
    ),
    "post_fork": (
        FOREVER + "from trio_uwsgi import uwsgi\n"
        "@uwsgi.post_fork\nasync def begin():\n"
        "    threading.Thread(target=forever, name='late', daemon=False).start()\n",
        "thread 'late'",
    ),
}


@contextlib.contextmanager
def started(folder: Path, source: str, *words: str, wrap: Sequence[str] = ()) -> Iterator[Command]:
    """The command line with an application of this source, in a session of its own that is killed at the end."""
    (folder / "shop.py").write_text(source)
    line = [*wrap, sys.executable, "-m", "trio_uwsgi", "shop.py", "--http", "127.0.0.1:0", *words]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        line,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Command(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended(command: Command, seconds: float) -> int:
    """The exit code; the output is in `said`. Other processes that keep standard output open are not waited for."""
    code = command.process.wait(seconds)
    assert command.process.stdout is not None
    os.set_blocking(command.process.stdout.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(command.process.stdout.fileno(), 65536):
            command.said += data.decode()
    return code


# A zygote refuses an application that starts threads when it is imported.
REFUSED_BY_ZYGOTES = (("thread", "inline"), ("executor", "inline"))
KEPT = [(keeper, where) for keeper in KEEPERS for where in PLACEMENTS if (keeper, where) not in REFUSED_BY_ZYGOTES]


@pytest.mark.parametrize(("keeper", "where"), KEPT)
def test_a_stop_ends_within_the_mercy(tmp_path: Path, keeper: str, where: str) -> None:
    """What keeps the interpreter alive after a stop is logged, and ended at the end of the mercy; the code is 0."""
    source, name = KEEPERS[keeper]
    with started(tmp_path, source + APP, "--mercy", str(MERCY), *PLACEMENTS[where]) as server:
        server.read("of process")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MERCY + MORE)
        took = time.monotonic() - began
    if keeper == "child" and where == "inline":  # it is the zygote's, which waits for nobody
        return
    assert MERCY / 2 < took
    assert name in next(line for line in server.said.splitlines() if "did not exit within" in line), server.said
    if keeper != "child":  # which has the member's sockets, so that its end is seen later
        assert "was cancelled" not in server.said
    assert "Traceback" not in server.said


@pytest.mark.parametrize("where", ["inline", "lazy"])
def test_the_end_of_a_member_is_not_under_harakiri(tmp_path: Path, where: str) -> None:
    """Its event loop does not run any more, which is no reason to kill it; what it waits for is logged at once."""
    with started(
        tmp_path, KEEPERS["post_fork"][0] + APP, "--mercy", "3", "--harakiri", "1", *PLACEMENTS[where]
    ) as server:
        server.read("of process")
        server.process.send_signal(signal.SIGTERM)
        server.read("worker1 has stopped; the process waits for these to end: thread 'late'")
        assert 0 == ended(server, MERCY + MORE)
    assert "did not exit within" in server.said
    assert "harakiri" not in server.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("keeper", ["thread", "atexit"])
def test_a_second_signal_during_the_shutdown_of_the_interpreter(
    tmp_path: Path, number: int, code: int, keeper: str
) -> None:
    """It ends the process at once, with the same code as while the runtime runs."""
    with started(tmp_path, KEEPERS[keeper][0] + APP, "--mercy", "60") as server:
        server.read("of process")
        server.process.send_signal(number)
        server.read("a second signal stops immediately")
        if keeper == "thread":
            server.read("the process waits for these to end: thread 'poller'")
        else:
            time.sleep(0.5)
        server.process.send_signal(number)
        assert code == ended(server, MORE)
    assert f"{signal.Signals(number).name}: stopping immediately" in server.said


def test_an_idle_executor_is_not_logged(tmp_path: Path) -> None:
    """Its threads end with the interpreter."""
    source = "import concurrent.futures\npool = concurrent.futures.ThreadPoolExecutor(2)\npool.submit(print).result()\n"
    with started(tmp_path, source + APP) as server:
        server.read("of process")
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MORE)
    assert "the process waits for these to end" not in server.said
    assert "did not exit within" not in server.said


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_an_import_that_fails_after_it_started_a_thread(tmp_path: Path, placement: tuple[str, ...]) -> None:
    """It is exit code 4; the last line says what failed, or what was still running."""
    source = KEEPERS["thread"][0] + "raise LookupError('no database')\n"
    with started(tmp_path, source, *placement) as server:
        assert 4 == ended(server, 30)
    assert f"trio-uwsgi: importing {tmp_path}/shop.py failed: LookupError: no database" in server.said.splitlines()


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_a_port_that_is_taken_while_a_thread_runs(tmp_path: Path, placement: tuple[str, ...]) -> None:
    """It is exit code 3, also when the import has started a thread."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with started(tmp_path, KEEPERS["thread"][0] + APP, "--http", address, *placement) as server:
            assert 3 == ended(server, 20)
    assert f"trio-uwsgi: cannot listen on {address}" in server.said


FAILURES = {
    "CancelledError": "__import__('asyncio').CancelledError('gone')",
    "SystemExit": "SystemExit('gone')",
    "KeyboardInterrupt": "KeyboardInterrupt('gone')",
    "Own": "type('Own', (BaseException,), {})('gone')",
}


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
@pytest.mark.parametrize("failure", FAILURES)
def test_an_import_fails_whatever_it_raises(tmp_path: Path, placement: tuple[str, ...], failure: str) -> None:
    """A BaseException is a failed import like any other, in every placement."""
    with started(tmp_path, f"raise {FAILURES[failure]}", *placement) as server:
        assert 4 == ended(server, 30)
    assert f"trio-uwsgi: importing {tmp_path}/shop.py failed: {failure}: gone" in server.said.splitlines()


BEGIN = "import asyncio, os, sys\nfrom trio_uwsgi import uwsgi\n@uwsgi.post_fork\ndef begin():\n    "
LIFESPAN = "import asyncio, sys\nasync def app(scope, receive, send):\n    await receive()\n    "
STARTS = {
    "killed": BEGIN + "os.kill(os.getpid(), 9)\n" + APP,
    "left": BEGIN + "os._exit(0)\n" + APP,
    "post_fork": BEGIN + "raise asyncio.CancelledError('gone')\n" + APP,
    "lifespan": LIFESPAN + "raise asyncio.CancelledError('gone')\n",
    "lifespan exits": LIFESPAN + "sys.exit()\n",
}


@pytest.mark.parametrize("placement", [PLACEMENTS["inline"], PLACEMENTS["lazy"]], ids=["inline", "lazy"])
@pytest.mark.parametrize("start", STARTS)
def test_members_that_end_before_they_are_ready(tmp_path: Path, placement: tuple[str, ...], start: str) -> None:
    """The third one in a row is a failed start, unlike the death of a member that was ready."""
    lifespan = ("--lifespan", "on") if "lifespan" in start else ()
    with started(tmp_path, STARTS[start], *lifespan, *placement) as server:
        assert 4 == ended(server, 30)
    assert server.said.splitlines()[-1].startswith("trio-uwsgi: ")
    assert 2 == server.said.count("worker1 cannot start: ")
    if start == "killed":
        assert "trio-uwsgi: worker1 ended before it was ready: killed by SIGKILL" == server.said.splitlines()[-1]


def test_a_reload_to_a_version_that_does_not_start(tmp_path: Path) -> None:
    """A version whose import fails after it started a thread is given up, which is logged, and the next one serves."""
    good = APP.replace("ok", "{}")
    with started(tmp_path, good.format("v1"), "-p", "1", "--lazy-apps") as server:
        server.read("of process")
        (tmp_path / "shop.py").write_text(KEEPERS["thread"][0] + "raise LookupError('no database')\n")
        server.process.send_signal(signal.SIGHUP)
        server.read("a member with the new code did not start")
        (tmp_path / "shop.py").write_text(good.format("v2"))
        server.process.send_signal(signal.SIGHUP)
        server.read("reloaded in")
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MORE)
    stays = "worker1 is not replaced: its replacement ended before it served: it cannot start: "
    assert f"{stays}importing {tmp_path}/shop.py failed: LookupError: no database" in server.said
    assert "Died(" not in server.said


def test_a_thread_of_a_replaced_worker(tmp_path: Path) -> None:
    """In a reload the replaced worker ends within the mercy, and the log names its thread; no death is counted."""
    with started(tmp_path, KEEPERS["thread"][0] + APP, "-p", "1", "--lazy-apps", "--mercy", str(MERCY)) as server:
        server.read("of process")
        server.process.send_signal(signal.SIGHUP)
        server.read("reloaded in", "did not exit within")
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MERCY + MORE)
    assert "died" not in server.said
    assert re.search(r"worker1 \(process \d+\) has stopped, but did not exit within .* thread 'poller'", server.said)


SLOW = "import time\nprint('importing', flush=True)\ndef hang():\n    time.sleep(60)\nhang()\n"


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_an_import_that_takes_too_long(tmp_path: Path, placement: tuple[str, ...]) -> None:
    """Beyond `--import-timeout` it is exit code 4, with an error and the stack, in every placement."""
    with started(tmp_path, SLOW, "--import-timeout", "3", *placement) as server:
        assert 4 == ended(server, 40)
    assert "trio-uwsgi: importing shop.py took longer than the import_timeout of 3 s" in server.said
    assert "in hang" in server.said


# A namespace of users has one group.
STOPPED = [(words, first) for words in PLACEMENTS.values() for first in ("", "process 1")] + [(("--gid", "65534"), "")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("placement", "first"), STOPPED)
def test_a_stop_during_an_import(tmp_path: Path, placement: tuple[str, ...], first: str, number: int) -> None:
    """SIGTERM ends the server at once, with code 0 and a log line, also as process 1, which has no default actions."""
    wrap = [*UNSHARE] if first else []
    if wrap and not may_unshare():
        pytest.skip("this system lets nobody unshare")
    if "--gid" in placement and os.getuid():
        pytest.skip("only root changes its group")
    with started(tmp_path, SLOW, *placement, wrap=wrap) as server:
        server.read("importing")
        began = time.monotonic()
        os.kill(_first_below(server.process.pid) if wrap else server.process.pid, number)
        assert 0 == ended(server, MORE)
        assert MORE > time.monotonic() - began
    assert f"{signal.Signals(number).name}: stopping before anything was served" in server.said


def _first_below(pid: int) -> int:
    """The process that `unshare` has forked."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize("placement", [PLACEMENTS["tasks"], PLACEMENTS["inline"]], ids=["tasks", "inline"])
def test_a_start_that_waits_is_logged(tmp_path: Path, placement: tuple[str, ...]) -> None:
    """A lifespan that does not answer has no limit, and after a while the log says what is waited for."""
    source = "import trio\nasync def app(scope, receive, send):\n    await trio.sleep_forever()\n"
    with started(tmp_path, source, *placement) as server:
        server.read("still waiting for worker1 to start (import, lifespan, post_fork) after 10 s")
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MORE)


def test_what_a_script_waits_for_is_logged(tmp_path: Path) -> None:
    """Where `serve` ends, a script may go on, so it is not ended; the log line names what the process waits for."""
    script = tmp_path / "script.py"
    end = "import trio, trio_uwsgi\ntrio.run(trio_uwsgi.serve, app, trio_uwsgi.Config(http='127.0.0.1:0'))\n"
    script.write_text(KEEPERS["thread"][0] + APP + end + "print('the script goes on', flush=True)\n")
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            server = Command(process)
            server.read("of process")
            process.send_signal(signal.SIGTERM)
            server.read("WARNING: the server has stopped; the process waits for these to end: thread 'poller'")
            server.read("the script goes on")
        finally:
            process.kill()


# ----- what the system refuses

REFUSED = {
    "pidfd_open": "os.pidfd_open = refused",
    "memfd_create": "os.memfd_create = refused",
    "pidfd_send_signal": "signal.pidfd_send_signal = refused",
    "no memfd_create": "del os.memfd_create",
}
SITE = """
import os, signal
def refused(*args):
    raise PermissionError(1, "Operation not permitted")
{}
"""


@contextlib.contextmanager
def sandbox(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every new interpreter begins with this."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(text))
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "PACKAGE", f"{site}:{PACKAGE}")
        yield


@pytest.mark.parametrize("placement", [("-p", "2"), ("-p", "2", "--lazy-apps")], ids=["inline", "lazy"])
@pytest.mark.parametrize("call", REFUSED)
def test_a_sandbox_without_what_processes_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, placement: tuple[str, ...]
) -> None:
    """It is an error before anything is started, in one line that names the call and a remedy, with exit code 2."""
    with sandbox(tmp_path, REFUSED[call], monkeypatch), started(tmp_path, APP, *placement) as server:
        assert 2 == ended(server, 20)
    (line,) = server.said.splitlines()
    assert f"need the system call {call.removeprefix('no ')}, which this system refuses: " in line
    assert "run members as tasks: leave out --processes, or " in line


def test_a_fork_that_is_always_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three attempts the start has failed, with one line that names the call and a remedy."""
    text = "def refused(*args):\n    raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = refused"
    with sandbox(tmp_path, text, monkeypatch), started(tmp_path, APP, "-p", "1") as server:
        assert 4 == ended(server, 30)
    line = server.said.splitlines()[-1]
    assert (
        "cannot start a process for worker1: the system refused fork: [Errno 11] Resource temporarily unavailable"
        in line
    )
    assert "run members as tasks: leave out --processes, or " in line


def test_a_kill_that_is_refused_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sandbox that later refuses signals over pidfds a blocked worker is still killed, and a stop still ends."""
    text = """
send = signal.pidfd_send_signal
def refuse_most(pidfd, number, *rest):
    return refused() if number else send(pidfd, number, *rest)
signal.pidfd_send_signal = refuse_most
"""
    app = APP.replace("    start", "    if environ['PATH_INFO'] == '/slow':\n        time.sleep(60)\n    start")
    with (
        sandbox(tmp_path, text, monkeypatch),
        started(tmp_path, "import time" + app, "-p", "1", "--harakiri", "1") as it,
    ):
        it.read("of process")
        found = re.search(r"http on ([\d.]+):(\d+)", it.said)
        assert found is not None
        it.address = found[1], int(found[2])
        with socket.create_connection(it.address, timeout=20) as slow:
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"" == slow.recv(100)
        with it.client() as sock:
            assert "ok" == body(sock)
        it.process.send_signal(signal.SIGTERM)
        assert 0 == ended(it, MORE)
    assert "harakiri on worker1" in it.said
