"""State of the process that an application changes when it is imported: the server's own work does not depend on it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.real.servers import Server, answers, command, environment, every_mode, serving, until, write

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]


@every_mode
def test_a_default_timeout_of_sockets(tmp_path: Path, mode: str) -> None:
    """`socket.setdefaulttimeout` reaches no socket of the server: clients who wait before they ask are answered, and so
    are those beside them, at once; and it stops at once.
    """
    source = "import socket; socket.setdefaulttimeout(3)"
    words = ("--mules", "1", "--spooler", "spool", "--socket", "unix:p")
    with serving(tmp_path, source, mode, *words) as server, contextlib.ExitStack() as clients:
        began = time.monotonic()
        slow = [clients.enter_context(contextlib.closing(server.connection())) for _ in range(4)]
        for client in slow:
            client.connect()
        first = server.get("/pid")
        assert time.monotonic() - began < 2.9
        time.sleep(3.2)
        for client in slow:
            client.request("GET", "/hello")
            assert b"hello" == client.getresponse().read()
        clients.close()  # until then a worker that has more of them than others leaves new ones to those
        until(lambda: first == server.get("/pid"))
        assert 0 == server.end(seconds=5)
        assert "timed out" not in server.said
        assert " died" not in server.said


CHANGES = {
    "a blocked signal": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])",
    "all signals blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "handlers": "for n in signal.valid_signals() - {9, 19}: signal.signal(n, lambda *_: None)",
    "ignored signals": "for n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)",
    "default signals": "for n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_DFL)",
    "calls that go on": "for n in (1, 2, 15, 17): signal.siginterrupt(n, False)",
    "a wake-up descriptor": "r, w = os.pipe(); os.set_blocking(w, False); signal.set_wakeup_fd(w)",
    "faulthandler": "import faulthandler; faulthandler.enable(); faulthandler.register(signal.SIGUSR2, chain=True)",
    "no faulthandler": "import faulthandler; faulthandler.unregister(signal.SIGUSR2); faulthandler.disable()",
    "no streams": "sys.stdin = sys.stdout = sys.stderr = None",
    "closed streams": "sys.stdin.close(); sys.stdout.close()",
    "closed descriptors": "os.closerange(0, 3)",
    "descriptors that do not block": "for n in range(3): os.set_blocking(n, False)",
    "no collector": "import gc; gc.disable(); gc.set_threshold(0)",
    "a frozen collector": "import gc; gc.freeze()",
    "a long switch interval": "sys.setswitchinterval(0.5)",
    "few descriptors": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))",
    "no environment": "os.environ.clear()",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "a locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "decimals": "import decimal; decimal.setcontext(decimal.Context(prec=1, traps=[]))",
    "a seed": "import random; random.seed(0)",
    "another time": "time.time = lambda: 0.0",
    "a later time": "real = time.time; time.time = lambda: real() + 1e6",
    "a small stack": "threading.stack_size(65536)",
    "little recursion": "sys.setrecursionlimit(120)",
    "a profiler": "sys.setprofile(lambda *_: None); threading.setprofile(lambda *_: None)",
    "a tracer": "sys.settrace(lambda *_: None); threading.settrace(lambda *_: None)",
    "broken hooks": "sys.excepthook = sys.unraisablehook = threading.excepthook = lambda *_: 1 / 0",
    "another mask": "os.umask(0o777)",
    "an alarm that is ignored": "signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.setitimer(0, 0.05, 0.05)",
    "a session": "os.getpid() == os.getsid(0) or os.getpid() == os.getpgrp() or os.setsid()",
    "no core and no fork hook": "os.register_at_fork(after_in_child=lambda: 1 / 0)",
    "a loop's policy": "import asyncio; asyncio.set_event_loop(asyncio.new_event_loop())",
    "limits of time": "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.nice(1)",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", ["tasks", "processes", "lazy"])
def test_other_changes(tmp_path: Path, change: str, mode: str) -> None:
    """It serves, obeys signals, and stops, whichever of these the application does."""
    source = f"{CHANGES[change]}\n"
    with serving(tmp_path, source, mode, "--socket", f"unix:{tmp_path}/p") as server:
        assert {"hello"} == {server.get() for _ in range(10)}
        # Not SIGTSTP: two of them that come before the first is obeyed are one, and a pause.
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            server.process.send_signal(number)
            time.sleep(0.05)
        if mode != "tasks":
            server.process.send_signal(signal.SIGHUP)
            time.sleep(1)
        assert "hello" == server.get()
        assert 0 == server.end()
        assert " died" not in server.said


@every_mode
def test_a_reader_that_has_gone(tmp_path: Path, mode: str) -> None:
    """With SIGPIPE as in other programs, neither a client that leaves nor a broken stream ends the server."""
    source = """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    def large():
        return "x" * 5_000_000
    def say():
        try:
            os.write(2, b"x")
        except BrokenPipeError:
            return "broken"
    """
    near, far = os.pipe()
    os.close(near)
    with open(far, "wb") as broken, serving(tmp_path, source, mode, stderr=broken) as server:
        for _ in range(5):
            with contextlib.closing(server.connection()) as client:
                client.request("GET", "/large")
        assert "broken" == server.get("/say")
        server.process.send_signal(signal.SIGUSR2)
        assert "hello" == server.get()
        assert 0 == server.end()


@every_mode
def test_patched_by_gevent(tmp_path: Path, mode: str) -> None:
    """An application that has patched what Trio depends on is refused with an error."""
    folder = tmp_path / "gevent"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "monkey.py").write_text("def is_module_patched(name): return name in ('socket', 'select')\n")
    write(tmp_path, "import gevent.monkey")
    done = subprocess.run(command(mode), cwd=tmp_path, env=environment(), capture_output=True, timeout=60, check=False)
    assert 4 == done.returncode
    assert b"gevent.monkey has patched Python's socket, select, so Trio cannot run; leave" in done.stderr


def test_a_program_with_a_default_timeout(tmp_path: Path) -> None:
    """A script that has set one before it serves gets its processes, too."""
    script = """
    import socket
    import trio, trio_uwsgi
    socket.setdefaulttimeout(0.2)
    if __name__ == "__main__":
        trio.run(trio_uwsgi.serve, app, trio_uwsgi.Config(http="unix:s", placement="process", workers=2))
    """
    write(tmp_path, script)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, env=environment(), stderr=log)
    server = Server(process, tmp_path)
    try:
        until(lambda: answers(server))
        time.sleep(0.5)
        assert "hello" == server.get()
        assert 0 == server.end()
    finally:
        process.kill()
        process.wait(30)
