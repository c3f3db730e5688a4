"""The access log beside uWSGI's: the same raw requests, and the same numbers in the lines."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.interop.peers import Program, exchange, find_program, free_port

pytestmark = pytest.mark.real

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET /a%20b?c=d HTTP/1.0\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=b\r\nCookie: c=d\r\nX_B: 3\r\nProxy: x\r\nE:\r\n\r\n",
    b"POST /p HTTP/1.0\r\nContent-Type: text/x\r\nContent-Length: 3\r\nAuthorization: Basic YW5uOng=\r\n\r\nabc",
    b"DELETE /h HTTP/1.0\r\nReferer: http://x/\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
]
# What is different, see the guide: the time, the process, and the head of the response, to which we add headers.
NOT_COMPARED = re.compile(r"pid: \d+|\[\w{3} \w{3} [^]]*\]|\d+ msecs|\d+ headers in \d+ bytes")
FORMAT = (
    "%(addr) %(cl) %(core) %(method) %(modifier1) %(modifier2) %(pktsize) %(proto) %(referer) %(rsize) "
    "%(status) %(switches) %(uagent) %(uri) %(user) %(vars) %(werr) %(rerr) %(ioerr) %(wid) %(nothing)"
)


@pytest.mark.parametrize("form", ["its own line", FORMAT])
def test_the_same_requests(form: str, tmp_path: Path) -> None:
    """They have the same lines, by default with uWSGI's defaults, and in a format with its variables."""
    uwsgi = find_program("uwsgi")
    assert uwsgi is not None
    options = ["--master", "--processes", "1", "--wsgi-file", "hello.py"]
    options += ["--log-format", form] if form == FORMAT else []
    found: list[list[str]] = []
    for program in ([uwsgi], [sys.executable, "-m", "trio_uwsgi", "uwsgi", "--compat"]):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / "hello.py").write_text(APP)
        address = f"127.0.0.1:{free_port()}"
        server = Program([*program, "--http-socket", address, *options], folder, [address])
        try:
            for request in REQUESTS:
                exchange(address, request)
            server.wait_for_log("/h")
        finally:
            server.stop()
        lines = re.findall(r"\[pid: .*|127.0.0.1 \d.*", server.log.read_text())
        found.append([NOT_COMPARED.sub("", line) for line in lines])
    assert len(REQUESTS) == len(found[0])
    assert found[0] == found[1]
