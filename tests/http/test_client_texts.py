"""What clients say, in every line that is logged about it; and who they are, behind a front server."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._http.peer import Peer
from trio_uwsgi._protocol.packet import encode_packet, encode_vars

FRONT = Peer(client=("192.0.2.9", 4711), server=("192.0.2.2", 80), scheme="http", protocol="uwsgi")
UNIX = Peer(client=None, server=("/a.sock", None), scheme="http", protocol="uwsgi")
EVIL = b'a\r\nFORGED \x1b[31m\x9b\x00"\\\xff'
ESCAPED = "a\\x0d\\x0aFORGED \\x1b[31m\\x9b\\x00\\x22\\x5c\\xff"
# What drives the applications: tasks, threads, and a thread that is Trio's own.
DRIVERS = [("asgi", 2), ("wsgi", 2), ("wsgi", 0)]


def application(interface: str, act: Any) -> Any:
    """An application that calls `act`, which may wait if it is for ASGI, and then answers with a dot."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await act(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"."})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        act(environ["wsgi.input"])
        start_response("200 OK", [])
        return [b"."]

    return asgi if interface == "asgi" else wsgi


def packet(**found: bytes) -> bytes:
    """A front server's request of these vars."""
    return encode_packet(0, 0, encode_vars([(name.encode(), value) for name, value in found.items()]))


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, without tracebacks."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("trio_uwsgi")]


@pytest.mark.parametrize(("interface", "threads"), DRIVERS)
async def test_no_line_can_be_forged(
    open_http: Any, caplog: pytest.LogCaptureFixture, interface: str, threads: int
) -> None:
    """Method, target and address of a packet are escaped in the line of its failure and in the access log."""

    def fail(body: Any) -> None:
        raise ValueError("broken")

    caplog.set_level(logging.INFO, "trio_uwsgi")
    world = await open_http(application(interface, fail), interface=interface, threads=threads, access_log=True)
    client = world.connect(peer=FRONT)
    await client.send(packet(REQUEST_METHOD=EVIL, REQUEST_URI=EVIL, PATH_INFO=EVIL, REMOTE_ADDR=EVIL, REMOTE_PORT=EVIL))
    await client.read_all()
    await wait_all_tasks_blocked()
    (line,) = lines_of(caplog)
    assert line.startswith(f'{ESCAPED}:{ESCAPED} - "{ESCAPED} {ESCAPED} HTTP/1.0" 500 22b ')
    assert [f"request {ESCAPED} /{ESCAPED} failed"] == [
        note.partition(":")[0] for note in world.journal.notes if "failed" in note
    ]


async def test_no_line_of_harakiri_can_be_forged(
    open_http: Any, caplog: pytest.LogCaptureFixture, autojump_clock: Any
) -> None:
    """A request whose time is up is named with its method and path escaped."""

    async def wait(receive: Any) -> None:
        await trio.sleep_forever()

    caplog.set_level(logging.INFO, "trio_uwsgi")
    world = await open_http(application("asgi", wait), harakiri=5)
    client = world.connect(peer=FRONT)
    await client.send(packet(REQUEST_METHOD=EVIL, PATH_INFO=b"/" + EVIL, REQUEST_URI=b"/" + EVIL))
    await client.read_all()
    (line,) = lines_of(caplog)
    assert line.startswith(f"harakiri on worker1: request {ESCAPED} /{ESCAPED} was cancelled")


async def test_no_line_over_http_can_be_forged(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Over HTTP a method, a target and the names of headers reach no line as they are."""

    async def nothing(receive: Any) -> None:
        """Answers at once."""

    caplog.set_level(logging.INFO, "trio_uwsgi")
    world = await open_http(application("asgi", nothing), access_log=True)
    for head in (
        EVIL + b" / HTTP/1.1\r\n\r\n",
        b"GET /" + EVIL + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + EVIL + b": x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + EVIL + b"\r\n\r\n",
        b"""X'Y!#$%&*+.^_`|~-9 /'"\\{|} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n""",
    ):
        client = world.connect()
        await client.send(head)
        await client.read_all()
    await wait_all_tasks_blocked()
    assert 5 == len(lines_of(caplog))
    for line in lines_of(caplog):
        assert line.isprintable()


@pytest.mark.parametrize(
    ("peer", "found", "expected"),
    [
        (UNIX, {"REMOTE_ADDR": b"192.0.2.1", "REMOTE_PORT": b"5555"}, "192.0.2.1:5555"),
        (FRONT, {"REMOTE_ADDR": b"192.0.2.1"}, "192.0.2.1"),
        (FRONT, {"REMOTE_ADDR": b"2001:db8::1", "REMOTE_PORT": b""}, "2001:db8::1"),
        (UNIX, {"REMOTE_ADDR": b""}, "unix"),
        (FRONT, {}, "192.0.2.9:4711"),
    ],
)
async def test_the_access_log_names_the_client_of_the_front_server(
    open_http: Any, caplog: pytest.LogCaptureFixture, peer: Peer, found: dict[str, bytes], expected: str
) -> None:
    """The client is who the packet says, and the connection's other end only where it says nothing."""

    async def nothing(receive: Any) -> None:
        """Answers at once."""

    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    client = (await open_http(application("asgi", nothing), access_log=True)).connect(peer=peer)
    await client.send(packet(REQUEST_URI=b"/", **found))
    await client.read_all()
    await wait_all_tasks_blocked()
    (line,) = lines_of(caplog)
    assert line.startswith(f'{expected} - "GET / HTTP/1.0" 200 1b ')


@pytest.mark.parametrize(("interface", "threads"), DRIVERS)
@pytest.mark.parametrize(
    "framing", ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n"]
)
async def test_a_body_that_is_cut_short_is_the_clients_fault(
    open_http: Any, caplog: pytest.LogCaptureFixture, interface: str, threads: int, framing: str
) -> None:
    """A client that ends its sending in the middle of a body gets 400, whatever the application makes of it."""

    async def read_async(receive: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            raise RuntimeError("the client left")

    def read(body: Any) -> None:
        body.read()

    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    act = read_async if interface == "asgi" else read
    world = await open_http(application(interface, act), interface=interface, threads=threads, access_log=True)
    client = world.connect()
    await client.send(b"POST /up HTTP/1.1\r\nHost: x\r\n" + framing.encode())
    await wait_all_tasks_blocked()
    await client.send_eof()
    with trio.fail_after(10):
        answer = await client.response()
    assert (400, b"the body ended too early\n") == (answer.status, answer.body)
    await wait_all_tasks_blocked()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
    assert '"POST /up HTTP/1.1" 400 25b ' in line
