"""Measures what worker processes gain and cost, over HTTP, with servers from the command line:

    python -m benchmarks.workers cores     the time of the same work in two workers and in one
    python -m benchmarks.workers respawn   the time from the kill of the only worker to the first complete response

The application is `examples/hello_flask.py`, except for `cores`, where a WSGI application computes for about 30 ms.
Rounds alternate, because a machine's speed changes by the minute, and medians are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLASK = f"{ROOT}/examples/hello_flask.py:app"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLIENTS = 4


def busy(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Compute in pure Python."""
    total = 0
    for number in range(400_000):
        total += number * number % 7
    body = b"%d" % total
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Served:
    """A server, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    @property
    def zygote(self) -> int:
        (pid,) = children(self.process.pid)
        return pid

    @property
    def workers(self) -> list[int]:
        return children(self.zygote)


@contextlib.contextmanager
def served(app: str, processes: int) -> Iterator[Served]:
    """Serve an application with this number of workers."""
    command = [sys.executable, "-m", "trio_uwsgi", app, "--processes", str(processes), "--http", "127.0.0.1:0"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, "--disable-logging"], cwd=ROOT, stderr=log)
        try:
            while b"in processes of process" not in (said := os.pread(log.fileno(), 65536, 0)):
                if process.poll() is not None:
                    raise SystemExit(said.decode())
                time.sleep(0.02)
            found = re.search(rb"http on 127.0.0.1:(\d+)", said)
            assert found is not None
            yield Served(process, int(found[1]))
        finally:
            process.terminate()
            process.wait()


def children(pid: int) -> list[int]:
    """The processes right below this one."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def ask(client: socket.socket) -> bool:
    """One request; was the response complete?"""
    data = b""
    try:
        client.sendall(REQUEST)
        while True:
            head, found, body = data.partition(b"\r\n\r\n")
            if found and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
                return head.startswith(b"HTTP/1.1 200")
            part = client.recv(65536)
            if not part:
                return False
            data += part
    except OSError:
        return False


def ask_often(server: Served, times: int, clients: int = CLIENTS) -> float:
    """Send this number of requests over several keep-alive connections; returns the seconds that they took."""
    left = iter(range(times))

    def be_client() -> None:
        with server.connect() as client:
            for _ in left:
                assert ask(client)

    threads = [threading.Thread(target=be_client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def cores(rounds: int) -> None:
    """Two workers against one. Their processor time distinguishes a busy machine from an uneven share."""
    app = f"{Path(__file__).resolve()}:busy"
    ratios, shares = [], []
    with served(app, 1) as one, served(app, 2) as two:
        for number in range(rounds):
            alone, alone_worked = measured(one)
            both, both_worked = measured(two)
            ratios.append(both / alone)
            shares.append(max(both_worked) / alone_worked[0])
            print(
                f"  round {number}: one {alone:.2f} s, two {both:.2f} s, {ratios[-1]:.2f} of the time; the two had a "
                f"core for {both_worked[0]:.2f} s and {both_worked[1]:.2f} s; load {os.getloadavg()[0]:.1f}"
            )
    print(
        f"two workers take {statistics.median(ratios):.2f} of the time of one (median; least {min(ratios):.2f}), "
        f"and {statistics.median(shares):.2f} of its time on a core each"
    )


def measured(server: Served) -> tuple[float, list[float]]:
    """The seconds that 100 requests take, and the processor time of each worker meanwhile."""
    before = [worked(worker) for worker in server.workers]
    seconds = ask_often(server, 100)
    return seconds, [worked(worker) - earlier for worker, earlier in zip(server.workers, before, strict=True)]


def worked(pid: int) -> float:
    """Processor time of this process in seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def respawn(rounds: int) -> None:
    """Kill, and repeat a request until there is a response."""
    times, tries = [], []
    with served(FLASK, 1) as server:
        for _ in range(rounds):
            time.sleep(1.2)  # a worker that dies in its first second is replaced after a pause
            (worker,) = server.workers
            tried = 0
            began = time.perf_counter()
            os.kill(worker, signal.SIGKILL)
            whole = False
            while not whole:
                tried += 1
                with contextlib.suppress(OSError), server.connect() as client:
                    whole = ask(client)
            times.append(1000 * (time.perf_counter() - began))
            tries.append(tried)
    print(
        f"from the kill to the first response, {rounds} times: median {statistics.median(times):.1f} ms, "
        f"{min(times):.1f} to {max(times):.1f} ms; tries {sorted(set(tries))}"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cores", "respawn"])
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    measure, rounds = {"cores": (cores, 7), "respawn": (respawn, 20)}[options.what]
    print(f"load of the machine: {os.getloadavg()}")
    measure(options.rounds or rounds)


if __name__ == "__main__":
    main()
