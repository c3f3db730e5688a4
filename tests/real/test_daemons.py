"""Programs that run beside the server."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio

from tests.interop.peers import find_program, free_port
from tests.real.commands import running
from tests.real.servers import until
from trio_uwsgi import Daemon
from trio_uwsgi._program.daemons import Daemons
from trio_uwsgi._program.shell_command import LONGEST_LINE, open_lifeline
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.real

SECONDS = 60


class Log(logging.Handler):
    """What daemons have in the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._send, self._receive = trio.open_memory_channel[str](math.inf)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        self._send.send_nowait(record.getMessage())

    async def wait_for(self, pattern: str) -> str:
        """Wait for a line that this is found in, and return its first group."""
        with trio.fail_after(SECONDS):
            while True:
                self.lines.append(await self._receive.receive())
                if found := re.search(pattern, self.lines[-1]):
                    return found[1]


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of commands during a test."""
    loggers = [logging.getLogger(f"trio_uwsgi.{name}") for name in ("daemon", "cron", "hook")]
    handler, levels = Log(), [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.asynccontextmanager
async def kept_running(*daemons: str | Daemon, stop: Callable[[str], None] = print) -> AsyncIterator[Daemons]:
    """Run these programs during the body."""
    with open_lifeline() as lifeline:
        running = Daemons([d if isinstance(d, Daemon) else Daemon(d) for d in daemons], lifeline, stop)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.run)
            yield running
            nursery.cancel_scope.cancel()


async def test_a_daemon_is_restarted_and_its_output_logged(log: Log) -> None:
    """Each line is a line of the log, a long one several; a program that ends is started again, after a pause."""
    command = f"echo begins; head -c {LONGEST_LINE + 1} /dev/zero | tr '\\0' x; printf '\\n\\nlast'; exit 3"
    async with kept_running(command):
        await log.wait_for("ended with (exit code 3); it is started again in 1 s")
        first = log.lines[:-1]
        await log.wait_for("it is started (again) in 2 s")
    printed = [line.removeprefix(f"{command[:40]}...: ") for line in first[1:]]
    assert ["begins", "x" * (LONGEST_LINE + 1), "", "last"] == [printed[0], "".join(printed[1:-2]), *printed[-2:]]


async def test_a_cancelled_daemon_gets_sigterm_with_its_group(log: Log) -> None:
    """It may end in an orderly way, and so may what it started."""
    async with kept_running("trap 'exit 0' TERM; echo child is $$; sleep 600 & wait"):
        group = await log.wait_for(r": child is (\d+)$")
    await end_of_group(group)


async def test_a_daemon_that_ignores_sigterm_is_killed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its mercy."""
    monkeypatch.setattr("trio_uwsgi._program.shell_command.MERCY", 0.1)
    async with kept_running("trap '' TERM; echo child is $$; while :; do sleep 600; done"):
        group = await log.wait_for(r": child is (\d+)$")
    await end_of_group(group)


async def test_what_a_daemon_leaves_behind_is_killed(log: Log) -> None:
    """A program that forks into the background does not hold up its restart; a signal is told by its name."""
    async with kept_running("sleep 600 & echo child is $$; kill -USR1 $$"):
        group = await log.wait_for(r": child is (\d+)$")
        assert "SIGUSR1" == await log.wait_for("ended with (SIG[A-Z0-9]+)")
    await end_of_group(group)


async def end_of_group(group: str) -> None:
    """Wait until no process of this group runs. Some may stay zombies."""
    with trio.fail_after(SECONDS):
        while runs(group):  # noqa: ASYNC110
            await trio.sleep(0.01)


def runs(group: str) -> bool:
    """Is there a process of this group that is not a zombie?"""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found, *_ = path.read_text().rpartition(")")[2].split()
            if found == group and state not in "ZX":
                return True
    return False


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_daemon_lives_as_long_as_the_server(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """It is started when the server serves, is not touched by a reload that fails, and is ended by a stop."""
    (tmp_path / "hello.py").write_text("async def app(scope, receive, send): ...\n")
    daemon = "trap 'echo ends > ended; exit 0' TERM; echo runs in $PWD; while :; do sleep 0.1; done"
    words = ("hello:app", *processes, "--lifespan", "off", "--attach-daemon", daemon)
    with running(tmp_path, *words) as server:
        server.read(f"runs in {tmp_path}")
        (tmp_path / "hello.py").write_text("1 / 0\n")
        server.process.send_signal(signal.SIGHUP)
        server.read("the running version stays" if processes else "the reload was refused")
        assert not (tmp_path / "ended").exists()
    assert "ends\n" == (tmp_path / "ended").read_text()
    assert 1 == server.said.count("runs in")


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_daemon_may_take_longer_than_the_mercy(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """The server stops in an orderly way after SIGKILL has ended it."""
    (tmp_path / "hello.py").write_text("async def app(scope, receive, send): ...\n")
    daemon = "trap '' TERM; echo ignores it; while :; do sleep 600; done"
    words = ("hello:app", *processes, "--lifespan", "off", "--mercy", "0.5", "--attach-daemon", daemon)
    with running(tmp_path, *words) as server:
        server.read(": ignores it")
    assert "did not stop within the mercy" not in server.said


def test_a_reload_starts_daemons_again(tmp_path: Path) -> None:
    """They may have the code of the application; but not those with a pidfile. Each gets its own signal."""
    (tmp_path / "hello.py").write_text("async def app(scope, receive, send): ...\n")
    plain = "trap 'echo plain ends; exit 0' TERM; echo plain runs; while :; do sleep 0.1; done"
    other = (
        r"cmd=trap 'echo other ends\, too; exit 0' USR1; echo other runs; while :; do sleep 0.1; done,reloadsignal=10"
    )
    smart = "smart.pid echo smart runs >&2; sleep 600 >&- 2>&- & echo $! > smart.pid"
    words = ["hello:app", "--processes", "1", "--lifespan", "off", "--attach-daemon", plain, "--attach-daemon2", other]
    try:
        with running(tmp_path, *words, "--smart-attach-daemon", smart) as server:
            server.read(": plain runs", ": other runs", "of smart.pid")
            server.process.send_signal(signal.SIGHUP)
            server.read(": plain ends", ": other ends, too", "because of a reload")
            while (server.said.count(": plain runs"), server.said.count(": other runs")) != (2, 2):
                server.said += server.process.stdout.readline()  # type: ignore[union-attr]
            pid = int((tmp_path / "smart.pid").read_text())
        assert f"goes on as process {pid}" in server.said
        assert 1 == server.said.count("\nsmart runs\n")
        with running(tmp_path, "hello:app", "--lifespan", "off", "--smart-attach-daemon", smart) as server:
            server.read(f"is process {pid} of smart.pid")
        assert "\nsmart runs\n" not in server.said
    finally:
        os.kill(int((tmp_path / "smart.pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
async def test_a_daemon_never_outlives_the_master(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """Not a master that is killed, either: also what the daemon has started ends, and what has ignored SIGTERM; and a
    child of the application's, which has a copy of all that the server had open, does not change that.
    """
    forks = "import os, time\nif os.fork() == 0:\n    os.close(1); os.close(2)\n    time.sleep(20); os._exit(0)\n"
    (tmp_path / "hello.py").write_text(f"async def app(scope, receive, send):\n{indented(forks)}\n")
    daemon = "trap '' TERM; echo group $$; sleep 601 & sleep 602; sleep 603"
    words = ("hello:app", *processes, "--lifespan", "off", "--attach-daemon", daemon)
    with running(tmp_path, *words, code=-signal.SIGKILL) as server:
        server.read(": group ")
        found = re.search(r": group (\d+)", server.said)
        assert found is not None
        server.client().close()
        server.process.kill()
    await end_of_group(found[1])


def indented(text: str) -> str:
    """The text as the body of a function."""
    return "".join(f"    {line}\n" for line in text.splitlines())


async def test_a_touched_file_restarts_a_daemon(log: Log, tmp_path: Path) -> None:
    """With its signal; one with a pidfile is ended as well, whoever has started it."""
    file, pidfile = tmp_path / "again", tmp_path / "pid"
    plain = Daemon(
        "trap 'echo int; exit 0' INT; echo first; while :; do sleep 0.1; done", touch=str(file), stopsignal=2
    )
    with subprocess.Popen(["sleep", "600"]) as smart:  # noqa: ASYNC220  # it only forks
        pidfile.write_text(f"{smart.pid}\n")
        by_file = Daemon(f"echo $$ > {pidfile}; exec sleep 601", pidfile=str(pidfile), touch=[str(file)])
        async with kept_running(plain, by_file):
            await log.wait_for(": (first)")
            if f"is process {smart.pid} of {pidfile}" not in "".join(log.lines):
                await log.wait_for(f"(is process {smart.pid}) of {pidfile}")
            file.write_text("x")
            await log.wait_for(": (int)")
            with trio.fail_after(SECONDS):
                await trio.to_thread.run_sync(smart.wait)
            if "is started by process" not in "".join(log.lines):
                await log.wait_for(r"is (started) by process")
    assert -signal.SIGTERM == smart.returncode
    with trio.fail_after(SECONDS):
        while pidfile.read_text() in ("", f"{smart.pid}\n"):  # noqa: ASYNC110
            await trio.sleep(0.01)
    os.kill(int(pidfile.read_text()), signal.SIGKILL)


async def test_a_daemon_without_which_the_server_stops(log: Log) -> None:
    """It is not started again."""
    send, receive = trio.open_memory_channel[str](math.inf)
    async with kept_running(Daemon("exit 4", control=True), stop=send.send_nowait):
        with trio.fail_after(SECONDS):
            assert "daemon exit 4 ended with exit code 4" == await receive.receive()


async def test_a_program_that_writes_no_pidfile(log: Log, tmp_path: Path) -> None:
    """Its end is told, and it is started again after a pause, as any other."""
    async with kept_running(Daemon("exit 3", pidfile=str(tmp_path / "pid"))):
        how = await log.wait_for(
            "ended with (exit code 3, and .* has no process that runs); it is started again in 1 s"
        )
        assert str(tmp_path / "pid") in how


@pytest.mark.skipif(os.getuid() != 0, reason="another user needs root")
async def test_a_daemon_of_another_user(log: Log, tmp_path: Path) -> None:
    """It is run as that user, with that user's groups, and ended all the same."""
    async with kept_running(Daemon("id -u; id -G; sleep 600", uid=65534, gid=65534)):
        assert "65534" == await log.wait_for(r": (\d+)$")
        assert "65534" == await log.wait_for(r": (\d+)$")


async def test_a_user_that_does_not_exist() -> None:
    """The error names the daemon, because the server has a user, too."""
    message = "attach_daemon: 'true': uid='nobody-here': there is no such user"
    with pytest.raises(ConfigError, match=message), open_lifeline() as lifeline:
        Daemons([Daemon("true", uid="nobody-here")], lifeline, print)


async def test_only_root_switches_users(tmp_path: Path) -> None:
    """Any other user gets an error at once."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match="only root may run 'true' as another user"), open_lifeline() as lifeline:
            Daemons([Daemon("true", uid=0 if os.geteuid() else 1)], lifeline, print)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.parametrize("who", ["ours", "uwsgi"])
def test_smart_daemons_outlive_both_servers(tmp_path: Path, who: str) -> None:
    """Here and in a real uWSGI: a plain daemon ends with the server, and one with a pidfile does not."""
    program = find_program("uwsgi", "pyuwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    (tmp_path / "hello.py").write_text("def application(environ, start_response): ...\n")
    ours = [sys.executable, "-m", "trio_uwsgi", "uwsgi"]
    words = [program, "--die-on-term"] if who == "uwsgi" else ours
    smart = f"{tmp_path}/smart.pid echo $$ > {tmp_path}/smart.pid; exec sleep 600"
    daemon2 = f"cmd=echo $$ > {tmp_path}/plain.pid; exec sleep 601"
    words += ["--master", "--http-socket", f"127.0.0.1:{free_port()}", "--wsgi-file", "hello.py"]
    words += ["--smart-attach-daemon2", smart, "--attach-daemon2", daemon2]
    pids = [tmp_path / "smart.pid", tmp_path / "plain.pid"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, cwd=tmp_path, env=environment) as server:
        deadline = time.monotonic() + SECONDS
        while not all(pid.exists() and pid.read_text() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)  # until a uWSGI has read the pidfile
        server.terminate()
        assert 0 == server.wait(SECONDS)
    smart_pid, plain_pid = (int(pid.read_text()) for pid in pids)
    until(lambda: not runs(str(plain_pid)), 3)  # it has got SIGKILL, which a busy system delivers later
    os.kill(smart_pid, signal.SIGKILL)
