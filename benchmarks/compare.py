"""Compares this server with its peers, and records the numbers: `python benchmarks/compare.py VENV`.

VENV is a virtual environment with the peers: uvicorn[standard], gunicorn, hypercorn[trio], granian and pyuwsgi.
`wrk` and `taskset` are needed too, and two processors that do nothing else.

Each server runs one process of the application of `serving.py`, which answers five bytes, on core 0; wrk has core 1.
Rounds alternate between all servers, because a machine's speed changes by the minute; a number is the median of the
rounds. Measured are, in this order: the time from the start of the command to the first answer, wrk with 64 keep-alive
connections, with one, and with 64 that are closed after each request; then the memory of all its processes, as PSS.
Last, once, the memory that a second worker adds. Access logs are off. uWSGI and ours have a time limit for requests.

The results go to `results/compare.json`, which `plots.py` draws. With `--trial` they are marked as not to be trusted.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "compare.json"
PACKAGES = ("pyuwsgi", "gunicorn", "uvicorn", "uvloop", "httptools", "hypercorn", "granian")
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
# What wrk is asked for: connections, and headers.
LOADS = {"keep-alive": (64, ()), "single": (1, ()), "close": (64, ("Connection: close",))}


class Contender(NamedTuple):
    """A server: the interface that it calls, and its command."""

    interface: str
    command: tuple[str, ...]
    workers: tuple[str, ...] = ()  # options for two workers instead of one
    keeps: bool = True  # connections


def contenders(peers: Path, port: int) -> dict[str, Contender]:
    """All servers, by name."""
    bind, bins = f"127.0.0.1:{port}", str(peers / "bin")
    ours = (sys.executable, "-m", "trio_uwsgi")
    options = ("--http", bind, "--disable-logging", "--harakiri", "30", "--log-level", "warning")
    uwsgi = (
        *(f"{bins}/python", "-c", "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])"),
        *("--wsgi", "http_app:wsgi_app", "--master", "--disable-logging", "--listen", "1024", "--need-app"),
        *("--die-on-term", "--harakiri", "30"),
    )
    gunicorn = (f"{bins}/gunicorn", "-b", bind, "--log-level", "error", "--backlog", "1024", "http_app:wsgi_app")
    uvicorn = (f"{bins}/uvicorn", "http_app:asgi_app", "--port", str(port), "--no-access-log", "--log-level", "error")
    hypercorn = (f"{bins}/hypercorn", "-b", bind, "--log-level", "ERROR")
    granian = (f"{bins}/granian", "--host", "127.0.0.1", "--port", str(port), "--no-ws", "--log-level", "error")
    two = ("--workers", "2")
    return {
        "trio_uwsgi, processes": Contender(
            "wsgi", (*ours, "http_app:wsgi_app", *options, "--processes", "1"), ("-p2",)
        ),
        "trio_uwsgi, --threads 4": Contender("wsgi", (*ours, "http_app:wsgi_app", *options, "--threads", "4")),
        "trio_uwsgi, tasks": Contender("wsgi", (*ours, "http_app:wsgi_app", *options)),
        "uWSGI --http-socket": Contender("wsgi", (*uwsgi, "--http-socket", bind), ("--processes", "2"), keeps=False),
        "uWSGI --http": Contender("wsgi", (*uwsgi, "--http", bind, "--http-keepalive"), ("--processes", "2")),
        "gunicorn sync": Contender("wsgi", gunicorn, ("-w", "2"), keeps=False),
        "gunicorn gthread": Contender("wsgi", (*gunicorn, "-k", "gthread", "--threads", "4"), ("-w", "2")),
        "granian wsgi": Contender("wsgi", (*granian, "--interface", "wsgi", "http_app:wsgi_app"), two),
        "trio_uwsgi asgi, tasks": Contender("asgi", (*ours, "http_app:asgi_app", *options)),
        "trio_uwsgi asgi, processes": Contender(
            "asgi", (*ours, "http_app:asgi_app", *options, "--processes", "1"), ("-p2",)
        ),
        "uvicorn uvloop, httptools": Contender("asgi", (*uvicorn, "--loop", "uvloop", "--http", "httptools"), two),
        "uvicorn asyncio, h11": Contender("asgi", (*uvicorn, "--loop", "asyncio", "--http", "h11"), two),
        "hypercorn asyncio": Contender("asgi", (*hypercorn, "http_app:asgi_app"), ("-w", "2")),
        "hypercorn trio": Contender("asgi", (*hypercorn, "-k", "trio", "http_app:asgi_app"), ("-w", "2")),
        "granian asgi": Contender("asgi", (*granian, "--interface", "asgi", "http_app:asgi_app"), two),
    }


def answers(port: int) -> bool:
    """Does the server give the right answer?"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/")
        response = connection.getresponse()
        return (response.status, response.read()) == (200, b"Hello")
    return False


@contextlib.contextmanager
def running(command: tuple[str, ...], port: int) -> Iterator[tuple[int, float]]:
    """Run a server on core 0 while the block runs. Gives its process, and the seconds to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "http_app.py").write_text((HERE / "serving.py").read_text())
        env = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{folder}", "PYTHONSAFEPATH": "1"}
        begin = time.monotonic()
        server = subprocess.Popen(
            ["taskset", "-c", "0", *command], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not answers(port):
                if server.poll() is not None or time.monotonic() > begin + 30:
                    raise RuntimeError(f"{' '.join(command)} does not answer")
                time.sleep(0.002)
            yield server.pid, time.monotonic() - begin
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                for pid in tree(server.pid):
                    os.kill(pid, signal.SIGKILL)
                server.wait(10)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
        with contextlib.suppress(OSError):
            below += path.read_text().split()
    return [pid, *(one for child in below for one in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all below it."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """PSS of a process and all below it, in MB: memory that several share is divided among them."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) if found else 0
    return total / 1024


def wrk(port: int, seconds: float, load: str) -> dict[str, float]:
    """Requests per second, latencies in ms, and how many requests failed."""
    connections, headers = LOADS[load]
    extra = [part for header in headers for part in ("-H", header)]
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", *extra]
    command.append(f"http://127.0.0.1:{port}/")
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = {}
    for percent in ("50", "99"):
        match = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)", text, re.MULTILINE)
        assert match is not None, text
        found[f"p{percent}"] = float(match[1]) * UNITS[match[2]]
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    assert rate is not None, text
    assert count is not None, text
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    timeouts = re.search(r"timeout (\d+)", text)
    found["rate"], found["requests"] = float(rate[1]), float(count[1])
    found["failed"] = float(failed[1] if failed else 0) + float(timeouts[1] if timeouts else 0)
    return found


def measure(contender: Contender, port: int, seconds: float) -> dict[str, float]:
    """All numbers of one server, from one run of it."""
    found = {}
    with running(contender.command, port) as (pid, started):
        found["start"] = started
        wrk(port, 1, "keep-alive" if contender.keeps else "close")
        for load in LOADS:
            # A server that closes every connection is asked to say so: wrk counts it as an error otherwise.
            before = cpu_seconds(pid)
            result = wrk(port, seconds, load if contender.keeps or load == "single" else "close")
            found[f"{load} cpu"] = (cpu_seconds(pid) - before) * 1e6 / max(1.0, result["requests"])
            found |= {f"{load} {name}": value for name, value in result.items() if name != "requests"}
        found["memory"] = memory(pid)
    return found


def second_worker(contender: Contender, port: int) -> float | None:
    """MB that a second worker adds, after some requests; None if the server has no option for it."""
    if not contender.workers:
        return None
    totals = []
    for options in ((), contender.workers):
        with running((*contender.command, *options), port) as (pid, _):
            for _ in range(200):
                answers(port)
            time.sleep(1)
            totals.append(memory(pid))
    return totals[1] - totals[0]


def versions(peers: Path) -> dict[str, str]:
    """What was compared."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.run([peers / "bin/python", "-c", code, *PACKAGES], capture_output=True, text=True, check=True)
    ours = subprocess.run(
        [sys.executable, "-c", code, "trio", "trio-uwsgi"], capture_output=True, text=True, check=True
    )
    return {
        **dict(zip(PACKAGES, found.stdout.split(), strict=True)),
        **dict(zip(("trio", "trio_uwsgi"), ours.stdout.split(), strict=True)),
        "Python": platform.python_version(),
    }


def processor() -> str:
    """The name of the processor."""
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, metavar="VENV")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--port", type=int, default=8650)
    parser.add_argument("--only", default="", help="names that contain this text")
    parser.add_argument("--trial", action="store_true", help="mark the results as not to be trusted")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    peers = options.peers.absolute()
    rounds: dict[str, list[dict[str, float]]] = {}
    loads = []
    for number in range(options.rounds):
        loads.append(os.getloadavg()[0])
        port = options.port
        for name in contenders(peers, port):
            port += 1
            if options.only in name:
                found = measure(contenders(peers, port)[name], port, options.seconds)
                rounds.setdefault(name, []).append(found)
                print(number + 1, name, *(f"{key} {value:.4g}" for key, value in found.items()), sep="  ", flush=True)
    servers = {}
    for name, results in rounds.items():
        contender = contenders(peers, options.port)[name]
        medians = {key: statistics.median(result[key] for result in results) for key in results[0]}
        added = second_worker(contender, options.port)
        servers[name] = {
            "interface": contender.interface,
            "keeps": contender.keeps,
            **{key: round(value, 4) for key, value in medians.items()},
            "second worker": None if added is None else round(added, 1),
            "keep-alive rates": [round(result["keep-alive rate"]) for result in results],
        }
    record = {
        "trial": options.trial,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "processor": processor(),
        "kernel": platform.release(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "load before each round": loads,
        "versions": versions(peers),
        "servers": servers,
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
