"""Every name of the module `uwsgi` under a real uWSGI and under ours, with the same arguments.

`module_calls.txt` has the expressions, and `module_differences.toml` each one whose outcomes differ, with both outcomes
and the reason. Of exceptions the closest one of Python's own is compared, not the text.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import struct
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.compat.test_names_page import declared_names
from tests.interop.module_calls import CALLS
from tests.interop.peers import APPS, Program, free_port

pytestmark = pytest.mark.real

APP = str(APPS / "every_call.py")
OPTIONS = [
    *("--locks", "2", "--mules", "2", "--farm", "f:1", "--spooler", "jobs", "--queue", "8", "--pidfile", "pid"),
    *("--cache2", "name=c1,items=100,blocksize=2048", "--cache2", "name=c2,items=100,blocksize=2048"),
    *("--sharedarea", "size=4096", "--metric", "name=m", "--alarm", "a log:"),
]
ORDER = ["import", "request", "ended", "thread", "handler", "mule", "spooler", "last"]
MODES = {"tasks": ("--threads", "2"), "processes": ("--processes", "1")}
DIFFERENCES = tomllib.loads(Path(__file__).with_name("module_differences.toml").read_text())

Outcomes = dict[str, dict[str, str]]  # by place, by the name of the call


def outcomes(command: Sequence[str], folder: Path, http_option: str) -> Outcomes:
    """What each call of each place gave, under a server."""
    (folder / "watched").write_text("a file")
    pairs = [b"key", b"value", b"empty", b""]
    body = b"".join(struct.pack("<H", len(word)) + word for word in pairs)
    (folder / "packet").write_bytes(struct.pack("<BHB", 0, len(body), 0) + body)
    (folder / "jobs").mkdir()
    found: Outcomes = {}
    with program([*command, *OPTIONS, http_option], folder) as port:
        for place in sorted(CALLS, key=ORDER.index):
            if place != "import":
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
                    client.request("GET", f"/{place}")
                    with contextlib.suppress(http.client.HTTPException, ConnectionError):
                        client.getresponse().read()  # what is sent raw is no response, and some calls disconnect
            found[place] = wait_for(folder / place, folder / "log")
    return found


def wait_for(path: Path, log: Path) -> dict[str, str]:
    """The outcomes of a place, once they are there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no outcomes of {path.name}\n{log.read_text()}"
        time.sleep(0.02)
    found: dict[str, str] = json.loads(path.read_text())
    return found


@contextlib.contextmanager
def program(command: Sequence[str], folder: Path) -> Iterator[int]:
    """A server, which ends by itself in its last place, or is killed; the port of its HTTP."""
    port = free_port()
    server = Program([*command, f"127.0.0.1:{port}"], folder, [f"127.0.0.1:{port}"])
    try:
        yield port
    finally:
        server.kill()


def differences(place: str, mode: str) -> dict[str, tuple[str, str]]:
    """The committed differences of a place: by call, the outcome of uWSGI and that of ours."""
    groups = [group for group in DIFFERENCES.get(place, []) if group.get("mode", mode) == mode]
    return {call: (theirs, ours) for group in groups for call, theirs, ours in group["calls"]}


@pytest.fixture(scope="module")
def theirs(uwsgi_program: str, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """The outcomes under a real uWSGI, with one thread, so that signals and waits have one order."""
    folder = tmp_path_factory.mktemp("uwsgi")
    command = [uwsgi_program, "--master", "--die-on-term", "--need-app", "--wsgi-file", APP, "--processes", "1"]
    command += ["--enable-threads", "--socket-timeout", "1", "--spooler-frequency", "1"]
    return outcomes([*command, "--disable-logging"], folder, "--http-socket")


@pytest.mark.parametrize("mode", MODES)
def test_calls(theirs: Outcomes, tmp_path: Path, mode: str) -> None:
    """Outcomes are equal but for the committed differences; what a real uWSGI does not survive raises."""
    command = [sys.executable, "-m", "trio_uwsgi", APP, *MODES[mode]]
    ours = outcomes(command, tmp_path, "--http")
    for place, calls in CALLS.items():
        differing = {
            call.name: (theirs[place][call.name], ours[place][call.name])
            for call in calls
            if not call.mark and theirs[place][call.name] != ours[place][call.name]
        }
        assert differences(place, mode) == differing, place
        marked = {call.name: ours[place][call.name] for call in calls if call.mark}
        assert {} == {name: found for name, found in marked.items() if not found.startswith("raises ")}


def test_every_name_is_called() -> None:
    """All that the stubs of `types-uwsgi` declare."""
    expressions = "\n".join(call.expression for calls in CALLS.values() for call in calls)
    called = set(re.findall(r"uwsgi\.(\w+)", expressions))
    assert {"stop"} == declared_names() - called  # it ends a real uWSGI before the outcome is known


def test_every_difference_has_a_reason() -> None:
    """In one sentence, and of the calls that there are."""
    for place, groups in DIFFERENCES.items():
        names = {call.name for call in CALLS[place] if not call.mark}
        for group in groups:
            assert group["why"]
            assert set() == {call for call, _, _ in group["calls"]} - names
