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


def answer(address: str, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, the headers that matter, and the body, in which the boundary is `B`."""
    request = "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""))
    head, _, body = exchange(address, request.encode()).partition(b"\r\n\r\n")
    boundary = _BOUNDARY.search(head + b"\r\n")
    if boundary is not None:
        body = body.replace(boundary[1], b"B")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    found = {name.lower(): value for name, _, value in lines}
    status = int(head.split()[1])
    names = ("content-range", "last-modified", "accept-ranges") if status < 400 else ("content-range",)
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


def test_conditions(servers: tuple[str, str]) -> None:
    """Conditions on the date and the tag of each."""
    date = answer(servers[0], "/s/data")[1]["last-modified"]
    for headers in (
        [f"If-Modified-Since: {date}"],
        ["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"],
        [f"If-Unmodified-Since: {date}"],
        ["If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"],
        ["If-None-Match: *"],
        ['If-None-Match: "x"', f"If-Modified-Since: {date}"],
        ['If-Match: "x"'],
        ["If-Match: *"],
        ["Range: bytes=0-3", f"If-Range: {date}"],
        ["Range: bytes=0-3", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT"],
        ["Range: bytes=0-3", 'If-Range: "x"'],
        ["Range: lines=0-3"],
    ):
        theirs, ours = (answer(address, "/s/data", *headers) for address in servers)
        assert theirs == ours, headers
