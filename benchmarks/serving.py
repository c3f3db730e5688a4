"""Compares small responses under load with other servers: `python benchmarks/serving.py --peers /path/to/venv`.

The server has one core (0) and wrk the other (1). Rounds alternate, because a machine's speed changes by the minute:
compare only numbers of one table. Needs `wrk` and `taskset`; the peers' venv needs uvicorn[standard], gunicorn and
hypercorn[trio]. uWSGI is the one of the tests, with `--http-socket`.

`--serve asgi|wsgi|inline --port N` is what runs as our server: an `HttpService` without the rest of the runtime, with
limits and harakiri on and the access log off.
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
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_uwsgi._http.interfaces import Driver

HERE = Path(__file__).resolve().parent
BIG = b"x" * (1 << 20)
ASGI_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
}


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        body = BIG if scope["path"] == "/big" else b"Hello"
        head = dict(ASGI_HEAD, headers=[(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))])
        await send(head)
        await send({"type": "http.response.body", "body": body})
        return
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = BIG if environ["PATH_INFO"] == "/big" else b"Hello"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def serve(interface: str, port: int, access_log: bool) -> None:
    import logging

    import trio

    from trio_uwsgi._apps.asgi import AsgiDriver
    from trio_uwsgi._http.limits import Limits
    from trio_uwsgi._http.listeners import open_listeners
    from trio_uwsgi._http.options import HttpOptions
    from trio_uwsgi._http.reactor import serve_sockets
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._nodes.server import PacketDriver
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.journal import LoggingJournal
    from trio_uwsgi._units.member import Member
    from trio_uwsgi.config import Config
    from trio_uwsgi.config.addresses import Address
    from trio_uwsgi.config.connections import HttpTimeouts, SocketOptions
    from trio_uwsgi.config.options import AccessRules

    logging.basicConfig(level=logging.INFO if access_log else logging.WARNING, stream=sys.stdout)

    async def main() -> None:
        member = Member("worker", 1, Registry(), LoggingJournal(), time.time)
        options = HttpOptions(
            limits=Limits(max_header_size=32768, max_headers=100, max_body=0),
            timeouts=HttpTimeouts(header=15, keep_alive=75, socket=60),
            websocket=Config().websocket_options,
            access_log=access_log,
        )
        driver: Driver = AsgiDriver(asgi_app, {})
        if interface == "wsgi":
            from trio_uwsgi._apps.wsgi_threads import WsgiDriver
            from trio_uwsgi._units.thread_pool import ThreadPool

            threads = ThreadPool(4, "bench")
            driver = WsgiDriver(wsgi_app, threads, multithread=True, multiprocess=False)
        elif interface == "inline":
            from trio_uwsgi._apps.wsgi_inline import InlineDriver
            from trio_uwsgi._link.scoreboard import Scoreboard
            from trio_uwsgi._units.heartbeat import Heartbeat

            member.heartbeat = Heartbeat(Scoreboard.make(1, 1).rows[0])
            driver = InlineDriver(wsgi_app, multiprocess=False)
        calls = Calls(member, 30)
        service = HttpService(driver, PacketDriver(AccessRules.parse({}), calls), calls, options)
        address = Address.parse(f"127.0.0.1:{port}")
        async with (
            open_listeners([address], SocketOptions(backlog=1024, mode=None)) as listeners,
            trio.open_nursery() as nursery,
        ):
            if interface == "wsgi":
                await nursery.start(threads.serve)
            await nursery.start(service.serve)
            nursery.start_soon(serve_sockets, service, listeners)
            with trio.open_signal_receiver(signal.SIGTERM) as stop:
                async for _ in stop:
                    break
            nursery.cancel_scope.cancel()

    trio.run(main)


def commands(peers: str, port: int) -> dict[str, list[str]]:
    bind = f"127.0.0.1:{port}"
    found = {
        "ours asgi": [sys.executable, str(HERE / "serving.py"), "--serve", "asgi", "--port", str(port)],
        "ours wsgi": [sys.executable, str(HERE / "serving.py"), "--serve", "wsgi", "--port", str(port)],
        "ours inline": [sys.executable, str(HERE / "serving.py"), "--serve", "inline", "--port", str(port)],
        "uwsgi": [
            *(sys.executable, "-c", "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])"),
            *("--http-socket", bind, "--wsgi", "http_app:wsgi_app", "--master", "--disable-logging", "--listen", "100"),
            *("--need-app", "--die-on-term", "--harakiri", "30", "--pythonpath", "{apps}"),
        ],
    }
    if peers:
        bins = Path(peers) / "bin"
        found["uvicorn"] = [
            *(
                str(bins / "uvicorn"),
                "http_app:asgi_app",
                "--app-dir",
                "{apps}",
                "--port",
                str(port),
                "--loop",
                "uvloop",
            ),
            *("--http", "httptools", "--no-access-log", "--log-level", "error"),
        ]
        found["hypercorn trio"] = [
            str(bins / "hypercorn"),
            "-k",
            "trio",
            "-b",
            bind,
            "--log-level",
            "ERROR",
            "http_app:asgi_app",
        ]
        found["gunicorn gthread"] = [
            *(
                str(bins / "gunicorn"),
                "-k",
                "gthread",
                "--threads",
                "4",
                "-b",
                bind,
                "--log-level",
                "error",
                "http_app:wsgi_app",
            ),
        ]
    return found


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    # The peers import this file under another name, from a folder with nothing else in it.
    apps = Path("/tmp") / f"trio_uwsgi_bench_{os.getuid()}"
    apps.mkdir(exist_ok=True)
    (apps / "http_app.py").write_text((HERE / "serving.py").read_text())
    argv = ["taskset", "-c", "0", *[part.replace("{apps}", str(apps)) for part in command]]
    env = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{apps}", "PYTHONSAFEPATH": "1"}
    server = subprocess.Popen(argv, cwd=apps, env=env, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(path.parent.name) == pid or int(fields[1]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def measure(pid: int, port: int, seconds: int, headers: list[str], path: str) -> tuple[float, float, str]:
    """Requests per second, microseconds of the server's processor per request, and what went wrong."""
    extra = [part for header in headers for part in ("-H", header)]
    before = cpu_seconds(pid)
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", *extra, f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(pid) - before
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    assert rate is not None, text
    assert count is not None, text
    wrong = " ".join(line.strip() for line in text.splitlines() if "errors" in line or "Non-2xx" in line)
    return float(rate[1]), spent * 1e6 / max(1, int(count[1])), wrong


BROWSER = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: none",
    "Referer: http://127.0.0.1/some/where/else?with=a&query=string",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=["asgi", "wsgi", "inline"])
    parser.add_argument("--port", type=int, default=18900)
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--peers", default="", metavar="VENV")
    parser.add_argument("--only", default="", help="comma-separated names")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--browser", action="store_true", help="ten browser headers")
    parser.add_argument("--close", action="store_true", help="a connection per request")
    parser.add_argument("--path", default="/")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port, options.access_log)
        return
    headers = (BROWSER if options.browser else []) + (["Connection: close"] if options.close else [])
    results: dict[str, list[tuple[float, float, str]]] = {}
    for number in range(options.rounds):
        port = options.port + number * 10
        for name in commands(options.peers, port):
            port += 1
            if options.only and name not in options.only.split(","):
                continue
            with running(commands(options.peers, port)[name], port) as server:
                measure(server.pid, port, 1, headers, options.path)
                results.setdefault(name, []).append(measure(server.pid, port, options.seconds, headers, options.path))
    print(f"{'server':<18}{'req/s':>9}{'us/req':>8}   rounds")
    for name, rounds in results.items():
        rates = [rate for rate, _, _ in rounds]
        costs = statistics.median(cost for _, cost, _ in rounds)
        wrong = {wrong for _, _, wrong in rounds if wrong} or ""
        print(
            f"{name:<18}{statistics.median(rates):>9.0f}{costs:>8.1f}  ",
            *(f"{rate:.0f}" for rate in rates),
            wrong,
        )


if __name__ == "__main__":
    main()
