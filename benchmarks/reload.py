"""Reloads and kills under load: 64 keep-alive clients verify every response, and count what they get.

    python -m benchmarks.reload reloads    five SIGHUPs with changed code, in 60 seconds
    python -m benchmarks.reload kills      a kill -9 of a worker every two seconds
    ... --wrk                              use wrk as the clients, which count with `reload.lua`

A response is complete if it has all its bytes, and all of them are of one version. A request without a complete
response is `lost`; `unsent` counts those whose connection ended before a byte of the response arrived. wrk counts such
a connection as a read error, whether a worker had its request or not, and a wrong status as a response of that status.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import trio

HERE = Path(__file__).parent
CLIENTS = 64
APP = """
VERSION = b"version {version};"
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    body = VERSION * 100
    await send({{"type": "http.response.start", "status": 200,
                 "headers": [(b"content-length", str(len(body)).encode())]}})
    await send({{"type": "http.response.body", "body": body}})
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Counts:
    """The results of all clients."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.broken = self.lost = self.unsent = self.refused = 0


async def client(port: int, counts: Counts) -> None:
    """Send one request after another, for ever."""
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            counts.refused += 1
            await trio.sleep(0.01)
            continue
        async with stream:
            while await ask(stream, counts):
                pass


async def ask(stream: trio.SocketStream, counts: Counts) -> bool:
    """One request; is the connection kept?"""
    data = b""
    try:
        await stream.send_all(REQUEST)
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length(data):
            part = await stream.receive_some()
            if not part:
                raise trio.BrokenResourceError
            data += part
    except trio.BrokenResourceError:
        counts.lost += 1
        counts.unsent += not data
        return False
    head, _, body = data.partition(b"\r\n\r\n")
    version = body.partition(b";")[0]
    if head.startswith(b"HTTP/1.1 200") and body == (version + b";") * 100:
        counts.answers[version.decode()] += 1
    else:
        counts.broken += 1
    return b"connection: close" not in head.lower()


def length(data: bytes) -> int:
    """The length that the head announces."""
    found = re.search(rb"content-length: (\d+)", data.lower())
    return int(found[1]) if found else 1


def workers(server: int) -> list[int]:
    """The processes below the zygote."""

    def children(pid: int) -> list[int]:
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    return [worker for zygote in children(server) for worker in children(zygote)]


async def run_wrk(port: int, seconds: float, counts: Counts) -> None:
    """Run wrk as the clients, for a second less, so that it can print its counts."""
    options = ["-t", "1", "-c", str(CLIENTS), "-d", f"{seconds - 1:.0f}s", "-s", str(HERE / "reload.lua")]
    done = await trio.run_process(["wrk", *options, f"http://127.0.0.1:{port}/"], capture_stdout=True)
    for kind, what, count in re.findall(r"^(answers|errors)\t(.*)\t(\d+)$", done.stdout.decode(), re.MULTILINE):
        if kind == "errors":
            counts.lost += int(count)
            print(f"wrk's {what} errors: {count}")
        elif what.startswith("200 version"):
            counts.answers[what.removeprefix("200 ")] += int(count)
        else:
            counts.broken += int(count)


async def measure(
    what: str, seconds: float, folder: Path, server: subprocess.Popen[str], port: int, wrk: bool
) -> Counts:
    """Run the clients, with the reloads or kills meanwhile."""
    counts = Counts()
    with trio.move_on_after(seconds + wrk):
        async with trio.open_nursery() as nursery:
            if wrk:
                nursery.start_soon(run_wrk, port, seconds, counts)
            for _ in range(0 if wrk else CLIENTS):
                nursery.start_soon(client, port, counts)
            version = 1
            while True:
                if what == "kills":
                    await trio.sleep(2)
                    # Any of the workers: new clients are accepted by the one with the fewest connections.
                    os.kill(random.choice(workers(server.pid)), signal.SIGKILL)
                    counts.answers["(kills)"] += 1
                else:
                    await trio.sleep(seconds / 6 * random.uniform(0.9, 1.0))
                    version += 1
                    if version <= 6:
                        (folder / "app.py").write_text(APP.format(version=version))
                        server.send_signal(signal.SIGHUP)
    return counts


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["reloads", "kills"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--wrk", action="store_true", help="let wrk be the clients")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP.format(version=1))
        words = ["app:app", "--processes", "2", "--http", "127.0.0.1:0", "--disable-logging", "--lifespan", "off"]
        server = subprocess.Popen(
            [sys.executable, "-m", "trio_uwsgi", *words],
            cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if "in processes of process" in line:
                break
        found = re.search(r"http on 127.0.0.1:(\d+)", "".join(said))
        assert found, said
        log = threading.Thread(target=said.extend, args=[server.stderr])
        log.start()
        began = time.monotonic()
        counts = trio.run(measure, arguments.what, arguments.seconds, folder, server, int(found[1]), arguments.wrk)
        took = time.monotonic() - began
        server.terminate()
        code = server.wait()
        log.join()
        kills = counts.answers.pop("(kills)", 0)
        total = counts.answers.total()
        print(f"{total} complete responses in {took:.1f} s, by version: {dict(counts.answers)}")
        print(f"broken {counts.broken}, lost {counts.lost} (unsent {counts.unsent}), refused {counts.refused}")
        print(f"kills {kills}, reloads {sum('reloaded in' in line for line in said)}, exit code {code}")
        for line in said:
            if "ERROR" in line and not kills:
                print(line, end="")


if __name__ == "__main__":
    main()
