"""Static files beside those of nginx: status and body are the same, byte for byte, whatever is asked for."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import re
from collections.abc import Iterator

import pytest

from tests.interop.peers import Program, exchange, find_program, free_port, our_command

pytestmark = pytest.mark.real

DATA = random.Random(1).randbytes(200_001)
_NGINX = """{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type application/octet-stream;
    server {{ listen 127.0.0.1:{port}; location /s/ {{ alias {files}/; }} }}
}}
"""
_BOUNDARY = re.compile(rb"boundary=(\S+)\r\n")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of a nginx and of ours, with the same files."""
    program = find_program("nginx") or find_program("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    files, theirs, ours = (tmp_path_factory.mktemp(name) for name in ("files", "nginx", "ours"))
    (files / "data").write_bytes(DATA)
    (files / "ten").write_bytes(DATA[:10])
    (files / "empty").write_bytes(b"")
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    ports = [free_port(), free_port()]
    (theirs / "nginx.conf").write_text(_NGINX.format(user=user, folder=theirs, files=files, port=ports[0]))
    first, second = (f"127.0.0.1:{port}" for port in ports)
    command = our_command("web_wsgi.py", "--http", second, "--static-map", f"/s={files}")
    with contextlib.ExitStack() as ends:
        for line, folder, address in (
            ([program, "-p", str(theirs), "-c", "nginx.conf", "-e", "stderr"], theirs, first),
            (command, ours, second),
        ):
            ends.callback(Program(line, folder, [address]).kill)
        yield first, second


_ALWAYS = ("content-range",)
_OF_FILES = (*_ALWAYS, "accept-ranges", "content-length", "content-type", "last-modified", "location")


def answer(
    address: str, path: str, *headers: str, method: str = "GET", more: tuple[str, ...] = ()
) -> tuple[int, dict[str, str], bytes]:
    """Status, the headers that matter and `more`, and the body, in which the boundary is `B`. What an error says is
    each server's own.
    """
    request = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""))
    whole = exchange(address, request.encode())
    boundary = _BOUNDARY.search(whole)
    if boundary is not None:  # of the same length, or the lengths of the bodies differ
        whole = whole.replace(boundary[1], b"B")
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    found = {name.lower(): value for name, _, value in lines}
    status = int(head.split()[1])
    names = (_OF_FILES if status < 400 else _ALWAYS) + more
    return status, {name: found[name] for name in names if name in found}, body if status < 400 else b""


def _some_range(rng: random.Random, size: int) -> str:
    if rng.random() < 0.05:
        return rng.choice(["", "-", "a-b", "1", "--1", " 1 - 2 ", "1-2-3", "-0", "5-2", "0x1-2", "1 2-3"])
    first, last = sorted((rng.randrange(size + 3), rng.randrange(size + 3)))
    return rng.choice([f"{first}-{last}", f"{first}-", f"-{first}", f"{first}-{first}"])


@pytest.mark.parametrize(("name", "size"), [("ten", 10), ("data", len(DATA)), ("empty", 0)])
def test_ranges(servers: tuple[str, str], name: str, size: int) -> None:
    """Hundreds of ranges, one and several, right and wrong."""
    rng = random.Random(size)
    for _ in range(150):
        value = ",".join(_some_range(rng, size) for _ in range(rng.choice([1, 1, 2, 3, 5])))
        theirs, ours = (answer(address, f"/s/{name}", f"Range: bytes={value}") for address in servers)
        assert theirs == ours, value


# Conditions; TAG and DATE stand for those of the file.
EARLY, LATE = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 2100 23:59:59 GMT"
CONDITIONS: list[list[str]] = [
    [],
    ["If-Modified-Since: DATE"],
    [f"If-Modified-Since: {EARLY}"],
    ["If-Modified-Since: not a date"],
    ["If-Unmodified-Since: DATE"],
    [f"If-Unmodified-Since: {EARLY}"],
    [f"If-Unmodified-Since: {LATE}"],
    ["If-None-Match: *"],
    ["If-None-Match: TAG"],
    ["If-None-Match: W/TAG"],
    ['If-None-Match: "x", TAG'],
    ['If-None-Match: "x"'],
    ['If-None-Match: "x"', "If-Modified-Since: DATE"],
    ['If-Match: "x"'],
    ["If-Match: *"],
    ["If-Match: TAG"],
    ['If-Match: "x", TAG'],
    ["Range: bytes=0-3", "If-Match: TAG"],
    ["Range: bytes=0-3", "If-None-Match: TAG"],
    ["Range: bytes=0-3", "If-Range: DATE"],
    ["Range: bytes=0-3", f"If-Range: {EARLY}"],
    ["Range: bytes=0-3", f"If-Range: {LATE}"],
    ["Range: bytes=0-3", "If-Range: TAG"],
    ["Range: bytes=0-3", "If-Range: W/TAG"],
    ["Range: bytes=0-3", 'If-Range: "x"'],
    ["Range: bytes=0-3,5-9", "If-Range: TAG"],
    ["Range: bytes=500000-", "If-Range: TAG"],
    ["Range: bytes=500000-", 'If-Range: "x"'],
    ["Range: lines=0-3"],
    ["Range: BYTES=0-3"],
    ["If-Range: TAG"],
]


def facts(address: str) -> dict[str, str]:
    """What stands for TAG and DATE at a server."""
    found = answer(address, "/s/data", more=("etag",))[1]
    return {"TAG": found["etag"], "DATE": found["last-modified"]}


def filled(headers: list[str], known: dict[str, str]) -> list[str]:
    """Headers with the tag and the date of a server."""
    return [header.replace("TAG", known["TAG"]).replace("DATE", known["DATE"]) for header in headers]


def test_conditions(servers: tuple[str, str]) -> None:
    """Conditions on the date and the tag of each."""
    known = [facts(address) for address in servers]
    for headers in CONDITIONS:
        theirs, ours = (
            answer(address, "/s/data", *filled(headers, each)) for address, each in zip(servers, known, strict=True)
        )
        assert theirs == ours, headers


@pytest.mark.parametrize("path", ["/s/data", "/s/ten", "/s/empty", "/s/%64ata", "/s//data", "/s/./data"])
def test_whole_files(servers: tuple[str, str], path: str) -> None:
    """With GET and with HEAD."""
    for method in ("GET", "HEAD"):
        theirs, ours = (answer(address, path, method=method) for address in servers)
        assert theirs == ours, method


# What differs on purpose, as the guide to static files says: a request, and the status of nginx and of ours.
DIFFERENCES: list[tuple[str, list[str], int, int]] = [
    ("GET", [f"If-Modified-Since: {LATE}"], 200, 304),
    ("GET", ["If-None-Match: TAG", f"If-Modified-Since: {EARLY}"], 200, 304),
    ("GET", ["If-Match: TAG", f"If-Unmodified-Since: {EARLY}"], 412, 200),
    ("HEAD", ["Range: bytes=0-3"], 206, 200),
    ("GET", ["Range: bytes=" + ",".join(f"{n}-{n}" for n in range(65))], 206, 200),
]


@pytest.mark.parametrize(("method", "headers", "theirs", "ours"), DIFFERENCES)
def test_differences(servers: tuple[str, str], method: str, headers: list[str], theirs: int, ours: int) -> None:
    """Where RFC 9110 says otherwise, or a limit is needed."""
    answers = [answer(address, "/s/data", *filled(headers, facts(address)), method=method) for address in servers]
    assert [theirs, ours] == [status for status, _, _ in answers]
