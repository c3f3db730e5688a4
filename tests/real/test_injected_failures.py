"""A bug of the package itself, wherever it is: it is contained and logged, or it ends the program with a traceback and
an exit code that is not 0, within the mercy. Never is there a server that accepts and does not answer.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.long]

PACKAGE = Path(__file__).parents[2]
# Seconds: the mercy is 2, and one more is the leeway; the rest is for a machine that does other things as well.
SECONDS = 20.0


class Program:
    """A server in which something is to fail; `end` kills it, and all of its processes."""

    def __init__(self, folder: Path, placement: str, **environment: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from tests.real import injected; injected.main({placement!r})"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PACKAGE)} | environment,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def end(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self._log.close()
        shutil.rmtree(self.folder)

    def ask(self) -> bytes:
        """Ask for everything once, with a body that comes in two parts. Gives back the answer, which may be none."""
        found = re.search(r"http on ([\d.]+):(\d+)", self.log)
        if found is None:
            return b""
        with contextlib.suppress(OSError), socket.create_connection((found[1], int(found[2])), timeout=3) as client:
            client.sendall(b"POST /use HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbo")
            time.sleep(0.01)
            client.sendall(b"dy")
            return b"".join(iter(lambda: client.recv(4096), b""))
        return b""

    def outcome(self) -> str:
        """`contained`, `ended`, or what was wrong."""
        deadline = time.monotonic() + SECONDS
        injected = self.folder / "injected"
        answered = 0
        while time.monotonic() < deadline:
            code = self.process.poll()
            if code is not None:
                said = "Injected" in self.log and code > 0
                return "ended" if said else f"exit code {code}, and said: {self.log[-3000:]}"
            answer = self.ask()
            if injected.exists() and answer.startswith(b"HTTP/1.1 200"):
                answered += 1
            if answered == 3:
                return "contained" if "Injected" in self.log else f"contained in silence: {self.log[-3000:]}"
            time.sleep(0.05)
        if not injected.exists():
            return "not reached"
        return f"neither ends nor answers: {self.log[-3000:]}"


@pytest.mark.parametrize("placement", ["task", "memory", "process"])
def test_injected_failures(tmp_path: Path, placement: str) -> None:
    """Each task and each callback of the package fails once, in a server of its own."""
    found = tmp_path / "found"
    program = Program(tmp_path / "all", placement, FOUND=str(found))
    deadline = time.monotonic() + SECONDS
    answers = 0
    while answers < 5 and time.monotonic() < deadline:
        answers += program.ask().startswith(b"HTTP/1.1 200")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(SECONDS) == 0, program.log
    program.end()
    names = sorted(set(found.read_text().splitlines()))
    assert len(names) > 20, names

    def run(number: int, name: str) -> str:
        program = Program(tmp_path / str(number), placement, INJECT=name)
        try:
            return program.outcome()
        finally:
            program.end()

    with ThreadPoolExecutor(4) as pool:
        outcomes = dict(zip(names, pool.map(run, range(len(names)), names), strict=True))
    counted = Counter(outcomes.values())
    print(f"{placement}: {len(names)} tasks and callbacks, {dict(counted)}")
    wrong = {name: said for name, said in outcomes.items() if said not in ("contained", "ended", "not reached")}
    assert not wrong, "\n\n".join(f"{name}: {said}" for name, said in wrong.items())
    assert counted["not reached"] < len(names) / 4, outcomes
