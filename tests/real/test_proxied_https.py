"""A load balancer that passes TLS on, with a PROXY header before it, to a real server."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.real.servers import SECONDS, every_mode, serving

pytestmark = pytest.mark.real

SOURCE = """
def app(environ, start_response, asked=app):
    if environ["PATH_INFO"] == "/who":
        start_response("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]
    return asked(environ, start_response)
"""


def ask(port: int, authority: Authority, header: bytes) -> str:
    """Who the client is, as the application has it."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock:
        sock.sendall(header)
        with authority.context().wrap_socket(sock, server_hostname="localhost") as secured:
            secured.sendall(b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with contextlib.closing(http.client.HTTPResponse(secured)) as response:
                response.begin()
                return response.read().decode()


@every_mode
def test_the_client_behind_a_balancer(tmp_path: Path, mode: str) -> None:
    """It is named on the HTTPS listener that the option names; without a header there is no handshake."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--https", f"127.0.0.1:{port},{certificate},{key}", "--proxy-protocol", f":{port},loopback"]
    with serving(tmp_path, SOURCE, mode, *words) as server:
        header = b"PROXY TCP4 192.0.2.7 192.0.2.9 5000 443\r\n"
        assert ["192.0.2.7 https"] * 5 == [ask(port, authority, header) for _ in range(5)]
        with pytest.raises((ssl.SSLError, OSError)):
            ask(port, authority, b"")
        assert " https" not in server.get("/who")
        server.wait_for('192.0.2.7:5000 - "GET /who HTTP/1.1" 200', "does not begin with a PROXY header")
        assert 0 == server.end()
