"""HTTP and packets as a client meets them, in every mode of the command line, with all of its default options on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.commands import PACKAGE, SECONDS, Command
from trio_uwsgi._protocol.packet import encode_packet, encode_vars

pytestmark = [pytest.mark.real, pytest.mark.processes]

WSGI = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/read":
        environ["wsgi.input"].read()
    if path == "/fail":
        raise ValueError(path)
    headers = [("content-length", "10")] if path == "/promise" else []
    start_response("401 Unauthorized" if path == "/deny" else "200 OK", headers)
    if path == "/promise":
        return [b"abc"]
    seen = [environ[name] for name in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "SERVER_PORT")]
    return ["|".join(seen).encode("latin-1")]
"""
ASGI = """
async def app(scope, receive, send):
    path = scope["path"]
    if path == "/read":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            raise RuntimeError("the client left")
    if path == "/fail":
        raise ValueError(path)
    headers = [(b"content-length", b"10")] if path == "/promise" else []
    await send({"type": "http.response.start", "status": 401 if path == "/deny" else 200, "headers": headers})
    if path == "/promise":
        return await send({"type": "http.response.body", "body": b"abc"})
    root = scope["root_path"]
    target = "*" if not path else path
    seen = [scope["method"], root, path.removeprefix(root), root + target.removeprefix(root), str(scope["server"][1])]
    await send({"type": "http.response.body", "body": "|".join(seen).encode()})
"""
MODES = {
    "tasks": (WSGI, []),
    "threads": (WSGI, ["--threads", "3"]),
    "inline": (WSGI, ["--processes", "1"]),
    "processes and threads": (WSGI, ["--processes", "1", "--threads", "3"]),
    "asgi": (ASGI, ["--interface", "asgi", "--lifespan", "off"]),
    "asgi in processes": (ASGI, ["--interface", "asgi", "--lifespan", "off", "--processes", "1"]),
}


class Server:
    """A running server and its two addresses."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.http, self.packets = (
            ("127.0.0.1", int(re.findall(rf"{protocol} on 127\.0\.0\.1:(\d+)", command.said)[0]))
            for protocol in ("http", "uwsgi")
        )

    def ask(self, data: bytes, address: tuple[str, int] | None = None, *, end: bool = False) -> bytes:
        """All that is answered until the server closes."""
        with socket.create_connection(address or self.http, timeout=SECONDS) as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as answer:
                return answer.read()


@pytest.fixture(scope="module", params=MODES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in one of the modes."""
    source, words = MODES[request.param]
    folder = tmp_path_factory.mktemp("everywhere")
    (folder / "app.py").write_text(source)
    with running(folder, *words) as command:
        yield Server(command)


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator[Command]:
    """The command line, with its access log, until the end of the tests."""
    line = [sys.executable, "-m", "trio_uwsgi", "app.py", "--http", "127.0.0.1:0", "--socket", "127.0.0.1:0", *words]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        command = Command(process)
        try:
            command.read(" of process ")
            yield command
            process.send_signal(signal.SIGTERM)
            command.said += process.communicate(timeout=SECONDS)[0]
            assert 0 == process.returncode, command.said
        finally:
            process.kill()


def head(line: str, *headers: str) -> bytes:
    """A request after which the server closes."""
    return "\r\n".join((f"{line} HTTP/1.1", "Host: a:99", "Connection: close", *headers, "", "")).encode()


def packet(found: dict[str, bytes], modifier: int = 0) -> bytes:
    """A front server's request of these vars."""
    return encode_packet(modifier, 0, encode_vars([(name.encode(), value) for name, value in found.items()]))


def body(answer: bytes) -> str:
    """Its body, as text."""
    return answer.partition(b"\r\n\r\n")[2].decode("latin-1")


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "VERSION-CONTROL", "LABEL", "DESCRIBE", "get", "MY_OWN"])
def test_methods(server: Server, method: str) -> None:
    """Any token is a method, over HTTP as over packets; a server's port is its own."""
    port = server.http[1]
    assert f"{method}||/a|/a|{port}" == body(server.ask(head(f"{method} /a")))
    found = {"REQUEST_METHOD": method.encode(), "PATH_INFO": b"/a", "REQUEST_URI": b"/a", "SERVER_PORT": b"99"}
    assert f"{method}||/a|/a|99" == body(server.ask(packet(found), server.packets))


def test_targets(server: Server) -> None:
    """`OPTIONS *` has no path, CONNECT is refused in each form, and what is no method is no request."""
    assert f"OPTIONS|||*|{server.http[1]}" == body(server.ask(head("OPTIONS *")))
    for target in ("a:80", "/", "/x?y"):
        assert server.ask(head(f"CONNECT {target}")).startswith(b"HTTP/1.1 501 ")
    for method in ("FOO,BAR", "G?T", "PRI"):
        assert server.ask(head(f"{method} /")).startswith(b"HTTP/1.1 400 ")


def test_refusals_of_head(server: Server) -> None:
    """What is refused, and what fails, is answered without a body to HEAD."""
    for line in (head("HEAD /", "Host: b"), head("HEAD /", "X Y: z"), head("HEAD /fail"), head("HEAD /#x")):
        answer = server.ask(line)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 500 "))
        assert answer.endswith(b"\r\n\r\n")


def test_modifier_30(server: Server) -> None:
    """SCRIPT_NAME is taken off PATH_INFO, and both are a path."""
    found = {"SCRIPT_NAME": b"/app/", "PATH_INFO": b"/app/x", "REQUEST_URI": b"/app/x", "SERVER_PORT": b"99"}
    assert "GET|/app|/x|/app/x|99" == body(server.ask(packet(found, 30), server.packets))


def test_a_body_that_is_cut_short(server: Server) -> None:
    """A client that stops in the middle of its body gets 400."""
    answer = server.ask(head("POST /read", "Content-Length: 10") + b"abc", end=True)
    assert answer.startswith(b"HTTP/1.1 400 "), answer


def test_an_early_answer(server: Server) -> None:
    """Who sends 8 MiB that nobody reads gets the answer, over HTTP and in packets."""
    size = 8 << 20
    assert server.ask(head("POST /deny", f"Content-Length: {size}") + bytes(size)).startswith(b"HTTP/1.1 401 ")
    found = {"REQUEST_METHOD": b"POST", "PATH_INFO": b"/deny", "CONTENT_LENGTH": b"%d" % size, "REQUEST_URI": b"/deny"}
    assert server.ask(packet(found) + bytes(size), server.packets).startswith(b"HTTP/1.0 401 ")


def test_the_log(server: Server) -> None:
    """The access log has the client of a packet, escaped, and the bytes of the server's own answers."""
    server.ask(head("GET /fail?log"))
    server.ask(head("GET /promise?log"))
    found = {"PATH_INFO": b"/p", "REQUEST_URI": b"/p\x1b\n", "REMOTE_ADDR": b"192.0.2.1\n", "REQUEST_METHOD": b"A\nB"}
    server.ask(packet(found), server.packets)
    server.command.read(
        '"GET /fail?log HTTP/1.1" 500 22b ',
        '"GET /promise?log HTTP/1.1" 500 22b ',
        '192.0.2.1\\x0a - "A\\x0aB /p\\x1b\\x0a HTTP/1.0" 200 ',
    )
