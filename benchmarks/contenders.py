"""The servers that are measured, and their command lines. `python -m benchmarks peers FOLDER` installs those of others.

Each serves one of the applications in `apps/` by one process. Three kinds are compared among each other: ASGI; WSGI
where one process runs one request at a time; and WSGI with four threads. What a server needs beside its defaults to
take part (a backlog, a log that is off) is here, and nothing to make it faster or slower.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from benchmarks.running import Place

Kind: TypeAlias = Literal["asgi", "inline", "threads"]

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
FAILURES = "not_installed"  # a folder in the environment of the peers: a file for each requirement that failed
KINDS: Mapping[Kind, str] = {
    "asgi": "ASGI",
    "inline": "WSGI, one request at a time",
    "threads": "WSGI, 4 threads",
}


class Launch(NamedTuple):
    """What to run: the application, and whether its requests are logged, to the server's standard error or output."""

    place: Place
    app: str
    log: bool = False
    socket: bool = False  # the uwsgi protocol at `place.socket` instead of HTTP


class Contender(NamedTuple):
    """A server in one of its modes.

    `keeps`: it keeps connections for more requests. `speaks_uwsgi`: also with the uwsgi protocol, behind nginx. `logs`:
    its log of requests can be on or off. `package`: what has to be installed. `tried`: an executable that has to exist.
    """

    name: str
    kind: Kind
    command: Callable[[Launch], list[str]]
    package: str = ""
    tried: str = ""
    keeps: bool = True
    speaks_uwsgi: bool = False
    logs: bool = True


# ----- ours


def label(build: str) -> str:
    """The name of the rows of a build of ours, as "compiled"."""
    return f"trio_uwsgi ({build})"


def ours(builds: Mapping[str, str]) -> list[Contender]:
    """Each build of ours in its modes.

    Args:
        builds: interpreters by the name of their rows, as `label` makes it.
    """
    modes: dict[Kind, list[str]] = {"asgi": [], "inline": ["--processes", "1"], "threads": ["--threads", "4"]}
    return [
        Contender(name, kind, _ours(python, options), speaks_uwsgi=True, tried=python)
        for name, python in builds.items()
        for kind, options in modes.items()
    ]


def _ours(python: str, options: list[str]) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        listen = ["--socket", launch.place.socket] if launch.socket else ["--http", launch.place.address]
        quiet = [] if launch.log else ["--disable-logging"]
        return [python, "-m", "trio_uwsgi", launch.app, *listen, *quiet, *options]

    return command


# ----- the others


def peers(folder: Path) -> list[Contender]:
    """The others.

    Args:
        folder: their environment, which `install` made.
    """
    bin = folder / "bin"

    def at(program: str, line: Callable[[Launch], list[str]]) -> dict[str, object]:
        return {"command": lambda launch: [str(bin / program), *line(launch)], "tried": str(bin / program)}

    def inline(code: str) -> dict[str, object]:
        def line(launch: Launch) -> list[str]:
            module, _, attribute = launch.app.partition(":")
            return ["-c", code.format(module=module, app=f"{module}.{attribute}", port=launch.place.port)]

        return at("python", line)

    found: list[dict[str, object]] = [
        {"name": "granian asgi", "kind": "asgi", "package": "granian", **at("granian", _granian("asgi"))},
        {"name": "granian wsgi", "kind": "inline", "package": "granian", **at("granian", _granian("wsgi"))},
        {"name": "uvicorn, uvloop", "kind": "asgi", "package": "uvicorn", **at("uvicorn", _uvicorn)},
        {"name": "hypercorn, trio", "kind": "asgi", "package": "hypercorn", **at("hypercorn", _hypercorn)},
        {"name": "h2corn", "kind": "asgi", "package": "h2corn", **at("h2corn", _h2corn)},
        {"name": "peregrine asgi", "kind": "asgi", "package": "peregrine-server", "logs": False}
        | at("peregrine", _peregrine("asgi")),
        {"name": "peregrine wsgi", "kind": "inline", "package": "peregrine-server", "logs": False}
        | at("peregrine", _peregrine("wsgi")),
        {"name": "fastpysgi wsgi", "kind": "inline", "package": "fastpysgi", "logs": False} | inline(_FASTPYSGI),
        {"name": "fastpysgi asgi", "kind": "asgi", "package": "fastpysgi", "logs": False} | inline(_FASTPYSGI),
        {"name": "bjoern", "kind": "inline", "package": "bjoern", "logs": False} | inline(_BJOERN),
        {"name": "uWSGI", "kind": "inline", "package": "pyuwsgi", "keeps": False, "speaks_uwsgi": True}
        | at("uwsgi", _uwsgi()),
        {"name": "uWSGI, 4 threads", "kind": "threads", "package": "pyuwsgi", "keeps": False, "speaks_uwsgi": True}
        | at("uwsgi", _uwsgi("--threads", "4")),
        {"name": "gunicorn gthread", "kind": "threads", "package": "gunicorn", **at("gunicorn", _gunicorn)},
        {"name": "waitress", "kind": "threads", "package": "waitress", "logs": False} | at("waitress-serve", _waitress),
    ]
    return [Contender(**one) for one in found]  # type: ignore[arg-type]  # the fields of a Contender


_FASTPYSGI = "import fastpysgi, {module}; fastpysgi.run({app}, '127.0.0.1', {port}, loglevel=3)"
_BJOERN = "import bjoern, {module}; bjoern.run({app}, '127.0.0.1', {port})"


def _granian(interface: str) -> Callable[[Launch], list[str]]:
    def line(launch: Launch) -> list[str]:
        log = ["--access-log"] if launch.log else ["--log-level", "error"]
        options = ["--interface", interface, "--host", "127.0.0.1", "--port", str(launch.place.port), "--no-ws"]
        return [*options, *log, launch.app]

    return line


def _uvicorn(launch: Launch) -> list[str]:
    log = [] if launch.log else ["--no-access-log", "--log-level", "error"]
    return [launch.app, "--port", str(launch.place.port), "--loop", "uvloop", "--http", "httptools", *log]


def _hypercorn(launch: Launch) -> list[str]:
    log = ["--access-logfile", "-"] if launch.log else ["--log-level", "ERROR"]
    return ["-k", "trio", "-b", launch.place.address, "--backlog", "1024", *log, launch.app]


def _h2corn(launch: Launch) -> list[str]:
    log = ["--access-log" if launch.log else "--no-access-log"]
    return [launch.app, "--app-dir", ".", "--bind", launch.place.address, "--workers", "1", *log]


def _peregrine(protocol: str) -> Callable[[Launch], list[str]]:
    def line(launch: Launch) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(launch.place.port), "--workers", "1", "--protocol", protocol]
        return [launch.app, *options, "--max-connections", "20000", "--keep-alive", "75000", "--python-path", "."]

    return line


def _uwsgi(*more: str) -> Callable[[Launch], list[str]]:
    def line(launch: Launch) -> list[str]:
        # It closes each connection; the header tells wrk so, which would count an error otherwise.
        http = ["--http-socket", launch.place.address, "--add-header", "Connection: close"]
        listen = ["--socket", launch.place.socket] if launch.socket else http
        quiet = [] if launch.log else ["--disable-logging"]
        options = ["--master", "--need-app", "--die-on-term", "--listen", "1024", "--buffer-size", "16384"]
        return ["--wsgi", launch.app, "--pythonpath", ".", *options, *listen, *quiet, *more]

    return line


def _gunicorn(launch: Launch) -> list[str]:
    log = ["--access-logfile", "-"] if launch.log else ["--log-level", "error"]
    bind = ["-b", launch.place.address, "--backlog", "1024", "--keep-alive", "75", "--worker-connections", "10000"]
    return ["-k", "gthread", "--threads", "4", *bind, *log, launch.app]


def _waitress(launch: Launch) -> list[str]:
    return [f"--listen={launch.place.address}", "--threads=4", "--connection-limit=10000", launch.app]


# ----- who is there


def why_absent(contender: Contender, folder: Path | None) -> str:
    """Why a contender cannot be measured, as a sentence; empty if it can."""
    if Path(contender.tried).exists() and not _failure(contender, folder):
        return ""
    return _failure(contender, folder) or f"There is no {contender.tried}."


def _failure(contender: Contender, folder: Path | None) -> str:
    if folder is None or not contender.package:
        return ""
    for file in (folder / FAILURES).glob(f"{contender.package}*"):
        return f"It could not be installed: {file.read_text().strip()}"
    return ""


def install(folder: Path) -> None:
    """Make an environment of the peers, one after the other, and note which could not be installed, and why."""
    venv.create(folder, with_pip=True, clear=True)
    (folder / FAILURES).mkdir()
    lines = (line.strip() for line in REQUIREMENTS.read_text().splitlines())
    for requirement in (line for line in lines if line and not line.startswith("#")):
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", requirement]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            (folder / FAILURES / requirement.partition("=")[0]).write_text(reason_of(done.stderr))
            print(f"{requirement} could not be installed: {reason_of(done.stderr)}", file=sys.stderr)
        else:
            print(f"{requirement} is installed")


def reason_of(output: str) -> str:
    """The line of pip, or of the compiler that it ran, that says why."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "fatal error" in line or "not found" in line] or [
        line for line in lines if line.startswith("ERROR")
    ]
    return (telling or lines or ["pip said nothing"])[0]
