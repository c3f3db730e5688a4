"""Measures serving: `python -m benchmarks serving` runs ours and other servers with small and with large responses.

All contenders of a kind take turns in each round, as a machine's speed changes by the minute: compare only numbers of
one run. A server has one core and wrk the other, with 64 connections, or 16 for bodies of 1 MiB. Access logs are off,
but for the rows about them. `CPU` is the processor time of all of a server's processes for a request, which is the
number to compare where wrk is the limit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import idle
from benchmarks.contenders import KINDS, Contender, Kind, Launch, why_absent
from benchmarks.measured import Quantity, Record, Scenario
from benchmarks.running import (
    CLIENT_CORE,
    CPU,
    MIB,
    RATE,
    SERVER_CORE,
    TROUBLE,
    Failure,
    Place,
    check_answers,
    placed,
    started,
    under_load,
    wait_for_answer,
)

HTTP_APPS: Mapping[Kind, str] = {
    "asgi": "http_app:asgi_app",
    "inline": "http_app:wsgi_app",
    "threads": "http_app:wsgi_app",
}
FLASK = "flask_app:app"
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Referer": "http://127.0.0.1/some/where/else?with=a&query=string",
}
CLOSE = {"Connection": "close"}
WARM_UP = 1.0  # seconds of load before what counts

NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    uwsgi_temp_path {folder}/uwsgi_temp;
    client_body_temp_path {folder}/body_temp;
    proxy_temp_path {folder}/proxy_temp;
    fastcgi_temp_path {folder}/fastcgi_temp;
    scgi_temp_path {folder}/scgi_temp;
    server {{
        listen {address} backlog=1024;
        location / {{ include {params}; uwsgi_pass unix:{socket}; }}
    }}
}}
"""
# What nginx tells about a request; its own file of them is not everywhere.
PARAMS = """
uwsgi_param QUERY_STRING $query_string; uwsgi_param REQUEST_METHOD $request_method;
uwsgi_param CONTENT_TYPE $content_type; uwsgi_param CONTENT_LENGTH $content_length;
uwsgi_param REQUEST_URI $request_uri; uwsgi_param PATH_INFO $document_uri;
uwsgi_param DOCUMENT_ROOT $document_root; uwsgi_param SERVER_PROTOCOL $server_protocol;
uwsgi_param REQUEST_SCHEME $scheme; uwsgi_param REMOTE_ADDR $remote_addr; uwsgi_param REMOTE_PORT $remote_port;
uwsgi_param SERVER_PORT $server_port; uwsgi_param SERVER_NAME $server_name;
"""


class Settings(NamedTuple):
    """Of a run: the seconds of each load, the number of idle connections, and the names of ours."""

    seconds: float
    idle_connections: int
    ours: Sequence[str]


class Row(NamedTuple):
    """One thing to measure: of whom, and how."""

    title: str
    quantities: Sequence[Quantity]
    of: Callable[[Contender], bool]
    measure: Callable[[Contender, Settings], dict[str, float]]


@contextlib.contextmanager
def serving(contender: Contender, app: str = "", *, log: bool = False) -> Iterator[tuple[Place, int]]:
    """A server, whose answers were right and that is warm, while the block runs.

    Args:
        contender: which.
        app: another application than `apps/http_app.py`, whose `/` answers the same.
        log: with its access log.
    Raises:
        Failure: it does not start, or answers something else.
    """
    with placed() as place:
        launch = Launch(place, app or HTTP_APPS[contender.kind], log)
        with started(contender.command(launch), place) as pid:
            wait_for_answer(place, pid, b"Hello", time.monotonic())
            if not app:
                check_answers(place.port)
            under_load(pid, place.port, WARM_UP, headers={} if contender.keeps else CLOSE)
            yield place, pid


def loaded(**load: object) -> Callable[[Contender, Settings], dict[str, float]]:
    """The measure of a load for the hello application: arguments are those of `wrk`."""

    def measure(contender: Contender, settings: Settings) -> dict[str, float]:
        headers = {"headers": CLOSE} if not contender.keeps else {}
        with serving(contender) as (place, pid):
            return under_load(pid, place.port, settings.seconds, **{**load, **headers})

    return measure


def flask(contender: Contender, settings: Settings) -> dict[str, float]:
    """Flask's hello."""
    with serving(contender, FLASK) as (place, pid):
        return under_load(pid, place.port, settings.seconds, headers={} if contender.keeps else CLOSE)


def logged(contender: Contender, settings: Settings) -> dict[str, float]:
    """With the access log, and without it."""
    costs = {}
    for log in (False, True):
        with serving(contender, log=log) as (place, pid):
            file = place.folder / "log"
            size = file.stat().st_size
            costs[log] = under_load(pid, place.port, settings.seconds)[CPU]
            if log and file.stat().st_size == size:
                raise Failure("It has written no line for a request.")
    return {ADDED: costs[True] - costs[False], f"{CPU}, off": costs[False], f"{CPU}, on": costs[True]}


def beside_idle(contender: Contender, settings: Settings) -> dict[str, float]:
    """64 busy connections with and without idle ones, and the memory of those."""
    with serving(contender) as (place, pid):
        alone = under_load(pid, place.port, settings.seconds)[RATE]
        with idle.connections(place.port, settings.idle_connections, pid) as each:
            beside = under_load(pid, place.port, settings.seconds)[RATE]
    return {EACH: each / 1024, BESIDE: beside, PART: beside / alone}


def behind_nginx(contender: Contender, settings: Settings) -> dict[str, float]:
    """The uwsgi protocol. nginx shares wrk's core."""
    with placed() as place:
        command = contender.command(Launch(place, HTTP_APPS[contender.kind], socket=True))
        with started(command, place) as pid, started(nginx_command(place), place, CLIENT_CORE):
            wait_for_answer(place, pid, b"Hello", time.monotonic())
            check_answers(place.port)
            under_load(pid, place.port, WARM_UP)
            return under_load(pid, place.port, settings.seconds)


def start(contender: Contender, settings: Settings) -> dict[str, float]:
    """From the command to the first response of Flask's hello."""
    python = contender.tried if contender.name in settings.ours else sys.executable
    alone = seconds_of_import(python)
    with placed() as place:
        began = time.monotonic()
        with started(contender.command(Launch(place, FLASK)), place) as pid:
            taken = wait_for_answer(place, pid, b"Hello", began)
    return {"seconds": taken, "times `import trio`": taken / alone}


def everybody(contender: Contender) -> bool:
    """Those that close each connection, too."""
    return True


def keeps(contender: Contender) -> bool:
    """Those that keep connections."""
    return contender.keeps


def is_wsgi(contender: Contender) -> bool:
    """Those that can serve Flask."""
    return contender.kind != "asgi"


SERVED = (Quantity(RATE, more=True, compared=True), Quantity(CPU), Quantity("p50, ms"), Quantity("p99, ms"))
COSTS = (Quantity(CPU, compared=True), Quantity(RATE, more=True))
ADDED = f"added {CPU}"
LOGGED = (Quantity(ADDED, compared=True), Quantity(f"{CPU}, off"), Quantity(f"{CPU}, on"))
EACH, BESIDE, PART = "memory of each, KiB", f"{RATE} beside them", "of the rate without"
IDLE = (Quantity(EACH, compared=True), Quantity(BESIDE, more=True), Quantity(PART, more=True))
STARTED = (Quantity("seconds", compared=True), Quantity("times `import trio`"))

ROWS: Mapping[str, Row] = {
    "keep-alive": Row("keep-alive", SERVED, keeps, loaded()),
    "browser": Row("a browser's headers", SERVED, keeps, loaded(headers=BROWSER)),
    "close": Row("a connection each", SERVED, everybody, loaded(headers=CLOSE)),
    "down": Row("1 MiB down", SERVED, everybody, loaded(path="/big", connections=16)),
    "up": Row("1 MiB up", SERVED, everybody, loaded(path="/post", connections=16, upload=MIB)),
    "nginx": Row("behind nginx, uwsgi protocol", COSTS, lambda one: one.speaks_uwsgi, behind_nginx),
    "idle": Row("idle connections", IDLE, lambda one: one.keeps and one.kind != "threads", beside_idle),
    "flask": Row("Flask's hello", SERVED, is_wsgi, flask),
    "log": Row("access log to a file", LOGGED, lambda one: one.logs and one.keeps, logged),
    "start": Row("start to the first response of Flask's hello", STARTED, is_wsgi, start),
}


class Run(NamedTuple):
    """One run: its settings, who is measured, where peers are installed, what takes the numbers, and who is told."""

    settings: Settings
    contenders: Sequence[Contender]
    peers: Path | None
    record: Record
    say: Callable[[str], None]

    def round(self, only: Sequence[str]) -> None:
        """Measure these rows of each contender once."""
        for name in only:
            row = ROWS[name]
            for kind in KINDS:
                for contender in self.contenders:
                    if contender.kind == kind and row.of(contender):
                        new = Scenario(f"{row.title}: {KINDS[kind]}", list(row.quantities))
                        self._measure(row, contender, self.record.scenarios.setdefault(f"{name} {kind}", new))

    def _measure(self, row: Row, contender: Contender, scenario: Scenario) -> None:
        if contender.name in scenario.absent:
            return
        self.say(f"{scenario.title}: {contender.name}")
        try:
            if reason := why_absent(contender, self.peers):
                raise Failure(reason)
            scenario.add(contender.name, row.measure(contender, self.settings))
        except TROUBLE as failure:
            scenario.absent[contender.name] = str(failure)
            self.say(f"{contender.name} is left out from here on. {failure}")


def nginx_command(place: Place) -> list[str]:
    """nginx in front of a server's socket, with its configuration in the folder.

    Raises:
        Failure: there is no nginx.
    """
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        raise Failure("nginx is not installed.")
    params, configuration = place.folder / "uwsgi_params", place.folder / "nginx.conf"
    params.write_text(PARAMS)
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        NGINX.format(user=user, folder=place.folder, address=place.address, params=params, socket=place.socket)
    )
    return [nginx, "-p", str(place.folder), "-c", str(configuration), "-e", "stderr"]


def seconds_of_import(python: str) -> float:
    """How long an interpreter takes to start, import Trio and end."""
    began = time.monotonic()
    subprocess.run(["taskset", "-c", SERVER_CORE, python, "-c", "import trio"], check=True, timeout=60)
    return time.monotonic() - began
