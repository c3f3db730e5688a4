"""Compares static files under load with nginx and uWSGI: `python benchmarks/files.py`.

Each server runs one process on core 0 and sends a file of 10 KiB and one of 1 MiB, which are in the page cache, to wrk
on core 1 over 64 keep-alive connections. Rounds alternate between all servers, because a machine's speed changes by the
minute: compare only numbers of one table. A number is the median of the rounds; `of nginx` compares the rates, and
`us` is the server's processor time for each request. Access logs are off.

Needs `wrk`, `taskset` and nginx. nginx sends files as it does by default (`sendfile off`: it reads them), and with
`sendfile on`; the better one counts. uWSGI is the one of the tests, with `--static-map` and `--http-socket`, which ends
each connection after a response; wrk counts that as an error of reading.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
FILES = {"10 KiB": 10 * 1024, "1 MiB": 1024 * 1024}
GOAL = 0.5  # of nginx, for 1 MiB

NGINX = """{user}
daemon off;
pid {folder}/{name}.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile {sendfile};
    keepalive_requests 1000000000;
    server {{ listen 127.0.0.1:{port}; location /s/ {{ alias {folder}/files/; }} }}
}}
"""
APP = """
def application(environ, start_response):
    start_response("404 Not Found", [])
    return [b""]
"""


class Measured(NamedTuple):
    """One run of wrk: requests per second, microseconds of the server's processor for each, and what went wrong."""

    rate: float
    cost: float
    wrong: str


def commands(folder: Path, port: int, nginx: str) -> dict[str, list[str]]:
    """All servers by name, each on a port of its own from `port` on."""
    found: dict[str, list[str]] = {}
    for number, sendfile in enumerate(("on", "off")):
        name = f"nginx, sendfile {sendfile}"
        file = folder / f"{sendfile}.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(NGINX.format(user=user, folder=folder, name=sendfile, sendfile=sendfile, port=port + number))
        found[name] = [nginx, "-p", str(folder), "-c", file.name, "-e", "stderr"]
    static = ["--static-map", f"/s={folder}/files"]
    found["uWSGI"] = [
        *(sys.executable, "-c", "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])"),
        *("--http-socket", f"127.0.0.1:{port + 2}", "--wsgi-file", "app.py"),
        *("--master", "--die-on-term", "--disable-logging", "--listen", "100", "--need-app", *static),
    ]
    ours = [sys.executable, "-m", "trio_uwsgi", "app.py", "--disable-logging", "--log-level", "warning", *static]
    found["ours"] = [*ours, "--processes", "1", "--http", f"127.0.0.1:{port + 3}"]
    return found


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[int]:
    """A server on core 0; its process id."""
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(["taskset", "-c", "0", *command], cwd=folder, env=env, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command[0]} does not listen:\n{(folder / 'log').read_text()}")
        yield server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of all below it."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            parents[int(path.parent.name)] = int(fields[1])
            ticks[int(path.parent.name)] = int(fields[11]) + int(fields[12])

    def below(each: int) -> bool:
        while each not in (0, pid):
            each = parents.get(each, 0)
        return each == pid

    return sum(count for each, count in ticks.items() if below(each)) / os.sysconf("SC_CLK_TCK")


def measure(pid: int, port: int, seconds: int, connections: int, name: str) -> Measured:
    """Run wrk on core 1."""
    before = cpu_seconds(pid)
    url = f"http://127.0.0.1:{port}/s/{name}"
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(pid) - before
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    if rate is None or count is None:
        raise SystemExit(f"wrk printed something else:\n{text}")
    wrong = " ".join(line.strip() for line in text.splitlines() if "errors" in line or "Non-2xx" in line)
    return Measured(float(rate[1]), spent * 1e6 / max(1, int(count[1])), wrong)


def table(results: dict[tuple[str, str], list[Measured]], servers: list[str]) -> str:
    """What is printed: a row for each file and server."""
    lines = [f"{'file':<8}{'server':<22}{'req/s':>9}{'MiB/s':>9}{'us':>8}{'of nginx':>10}   rounds"]
    for file, size in FILES.items():
        rates = {name: statistics.median(each.rate for each in results[file, name]) for name in servers}
        best = max(rate for name, rate in rates.items() if name.startswith("nginx"))
        for name in servers:
            rounds = results[file, name]
            cost = statistics.median(each.cost for each in rounds)
            speed = rates[name] * size / 2**20
            row = f"{file:<8}{name:<22}{rates[name]:>9.0f}{speed:>9.0f}{cost:>8.0f}{rates[name] / best:>10.2f}  "
            wrong = sorted({each.wrong for each in rounds} - {""})
            lines.append(" ".join([row, *(f"{each.rate:.0f}" for each in rounds), *wrong]))
    ours = statistics.median(each.rate for each in results["1 MiB", "ours"])
    best = max(statistics.median(e.rate for e in results["1 MiB", name]) for name in servers if "nginx" in name)
    lines.append(f"goal: 1 MiB at {GOAL} of nginx or better; {'met' if ours >= GOAL * best else 'missed'}")
    return "\n".join(lines)


def main() -> None:
    """Run all servers in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--port", type=int, default=18700)
    options = parser.parse_args()
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        raise SystemExit("nginx is not installed")
    results: dict[tuple[str, str], list[Measured]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        (folder / "app.py").write_text(APP)
        for file, size in FILES.items():
            (folder / "files" / file.replace(" ", "")).write_bytes(random.Random(1).randbytes(size))
        for _ in range(options.rounds):
            for number, (server, command) in enumerate(commands(folder, options.port, nginx).items()):
                port = options.port + number
                with running(command, folder, port) as pid:
                    for file in FILES:
                        path = file.replace(" ", "")
                        measure(pid, port, 1, options.connections, path)
                        found = measure(pid, port, options.seconds, options.connections, path)
                        results.setdefault((file, server), []).append(found)
    print(table(results, list(dict.fromkeys(server for _, server in results))))


if __name__ == "__main__":
    main()
