"""Starts servers for measurements, and reads from the kernel what they cost.

A server has core 0; wrk, and nginx where it is in front, have core 1. It runs in a folder of its own with a copy of the
applications in it, so that no package of this checkout hides one that is installed. Its log is a file in that folder.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measured import Load, load_of
from tests.interop.peers import can_connect, free_port

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
PATIENCE = 60.0  # seconds for what is waited for
SERVER_CORE, CLIENT_CORE = "0", "1"
MIB = 1 << 20


class Failure(Exception):
    """A server does not start, or does not answer as it should."""


# What may go wrong with one server without ending a run of all.
TROUBLE = (Failure, OSError, http.client.HTTPException, subprocess.SubprocessError)


class Place(NamedTuple):
    """Where a server runs: its folder, which is its working directory, and the port that clients use."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """For HTTP."""
        return f"127.0.0.1:{self.port}"

    @property
    def socket(self) -> str:
        """The unix socket, for the uwsgi protocol."""
        return str(self.folder / "uwsgi.sock")

    def log(self) -> str:
        """The end of what the server has printed."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def placed() -> Iterator[Place]:
    """A place for one server."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # for the worker of nginx
        shutil.copytree(APPS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        yield Place(folder, free_port())


@contextlib.contextmanager
def started(command: Sequence[str], place: Place, core: str = SERVER_CORE) -> Iterator[int]:
    """A process while the block runs. Gives its id; whatever is left of it is killed at the end."""
    env = {**os.environ, "PYTHONPATH": str(place.folder)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    with (place.folder / "log").open("ab") as log:
        try:
            process = subprocess.Popen(
                ["taskset", "-c", core, *command],
                cwd=place.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise Failure(f"It cannot be started: {error}") from None
    try:
        yield process.pid
    finally:
        all_of_it = tree(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for pid in all_of_it:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)


def ask(port: int, path: str = "/", body: bytes | None = None, timeout: float = PATIENCE) -> tuple[int, bytes]:
    """One request: the status and the body of its response.

    Raises:
        OSError, http.client.HTTPException: there is no whole response.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return response.status, response.read()


def wait_for_answer(place: Place, pid: int, expected: bytes, since: float) -> float:
    """Wait until `/` is answered. Returns the seconds since the time `since`.

    Raises:
        Failure: the server ended, or the patience.
    """
    while True:
        found: object = None
        with contextlib.suppress(OSError, http.client.HTTPException):
            found = ask(place.port, timeout=5)
            if found == (200, expected):
                return time.monotonic() - since
        if ended(pid):
            raise Failure(f"It ended while it started: {last_line(place.log())}")
        if time.monotonic() > since + PATIENCE:
            raise Failure(f"It does not answer as it should: {found!r}; {last_line(place.log())}")
        time.sleep(0.002)


def wait_for_listener(place: Place, pid: int) -> None:
    """Wait until somebody listens.

    Raises:
        Failure: the server ended, or the patience.
    """
    give_up = time.monotonic() + PATIENCE
    while not can_connect(place.address):
        if ended(pid) or time.monotonic() > give_up:
            raise Failure(f"It does not listen: {last_line(place.log())}")
        time.sleep(0.02)


def last_line(log: str) -> str:
    """What a log says at last."""
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "it printed nothing")


def check_answers(port: int) -> None:
    """Are the answers of `apps/http_app.py` right?

    Raises:
        Failure: one is not.
    """
    body = b"y" * MIB
    for path, sent, status, expected in (
        ("/", None, 200, b"Hello"),
        ("/big", None, 200, b"x" * MIB),
        ("/post", body, 200, b"%d" % MIB),
        ("/nothing", None, 404, b"Nothing"),
    ):
        try:
            found = ask(port, path, sent)
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"It does not answer {path}: {error!r}") from None
        if found != (status, expected):
            raise Failure(f"It answers {path} with {found[0]} and {len(found[1])} bytes: {found[1][:60]!r}")


def wrk(
    port: int,
    seconds: float,
    *,
    path: str = "/",
    connections: int = 64,
    headers: Mapping[str, str] | None = None,
    upload: int = 0,
) -> Load:
    """Load from the other core; `upload` is the size of a body to send.

    Raises:
        Failure: there was none, for example because nobody listens.
    """
    extra = itertools.chain.from_iterable(("-H", f"{name}: {value}") for name, value in (headers or {}).items())
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "-s", str(HERE / "wrk.lua"), *extra, f"http://127.0.0.1:{port}{path}", "--"]
    command += ["POST", str(upload)] if upload else ["GET"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE, check=False)
    try:
        return load_of(done.stdout + done.stderr)
    except ValueError as error:
        raise Failure(str(error)) from None


def under_load(pid: int, port: int, seconds: float, **load: object) -> dict[str, float]:
    """Load, with what it cost the server: the numbers of a row.

    Raises:
        Failure: requests failed.
    """
    before = cpu_seconds(pid)
    found = wrk(port, seconds, **load)  # type: ignore[arg-type]  # those of wrk
    cost = (cpu_seconds(pid) - before) * 1e6 / max(1, found.requests)
    if found.failed > found.requests * 0.001:
        raise Failure(f"{found.failed:,} requests failed, beside {found.requests:,} that were answered.")
    return {RATE: found.rate, CPU: cost, "p50, ms": found.p50, "p99, ms": found.p99}


RATE, CPU = "requests/s", "CPU, µs"


def ended(pid: int) -> bool:
    """Has this child ended?"""
    with contextlib.suppress(OSError):
        return stat(pid)[0] == "Z"
    return True


def stat(pid: int) -> list[str]:
    """The kernel's line of a process, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below: list[str] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
        with contextlib.suppress(OSError):
            below += path.read_text().split()
    return [pid, *(one for child in below for one in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all below it."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = stat(one)
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Of a process and all below it, in bytes: memory that several share is divided among them (PSS)."""
    kib = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            kib += int(found[1]) if found else 0
    return kib * 1024.0
