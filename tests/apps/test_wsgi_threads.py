"""WSGI applications: PEP 3333 point by point, in threads, with harakiri."""

from __future__ import annotations

import io
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._apps.wsgi_streams import FileWrapper
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._units.unit import UNIT

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def ok(start_response: Any, *headers: tuple[str, str]) -> Callable[[bytes], None]:
    write: Callable[[bytes], None] = start_response("200 OK", list(headers))
    return write


async def until(condition: Callable[[], object]) -> None:
    """Wait for what a thread does."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 # there is no event for it
            await trio.sleep(0.001)


async def test_a_list_of_one_piece(open_http: Any) -> None:
    """The usual response: its length is added, and it comes back in one piece."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response, ("X-Thread", str(threading.current_thread() is threading.main_thread())))
        return [environ["PATH_INFO"].encode()]

    client = (await open_http(app, interface="wsgi")).connect()
    for path in ("/a", "/b"):
        answer = await client.get(path)
        assert (200, path.encode(), "False") == (answer.status, answer.body, answer.headers["x-thread"])
        assert "2" == answer.headers["content-length"]


async def test_the_environ(open_http: Any) -> None:
    """The keys PEP 3333 demands, with true values."""
    environs = []

    def app(environ: Any, start_response: Any) -> Any:
        environs.append(environ)
        ok(start_response)
        return []

    await (await open_http(app, interface="wsgi", threads=1)).connect().get("/a%C3%A4?b=c", "X-Y: z")
    await (await open_http(app, interface="wsgi", threads=4)).connect().get()
    one, four = environs
    assert ("GET", "/a\xc3\xa4", "b=c", "HTTP/1.1") == tuple(
        one[key] for key in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL")
    )
    assert ("z", "192.0.2.1", "", "http") == tuple(
        one[key] for key in ("HTTP_X_Y", "REMOTE_ADDR", "SCRIPT_NAME", "wsgi.url_scheme")
    )
    assert ((1, 0), False, False) == tuple(one[key] for key in ("wsgi.version", "wsgi.run_once", "wsgi.multiprocess"))
    assert (False, True) == (one["wsgi.multithread"], four["wsgi.multithread"])
    assert (b"", True) == (one["wsgi.input"].read(), one["wsgi.input_terminated"])


class Closing:
    """An iterable that says when it was closed, and how far it got."""

    def __init__(self, pieces: Iterator[bytes], log: list[str]) -> None:
        self._pieces = pieces
        self._log = log

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._log.append("piece")
            yield piece

    def close(self) -> None:
        self._log.append("close")


async def test_pieces_are_sent_as_they_are_made(open_http: Any) -> None:
    """A piece does not wait for the next one, and `close` is called at the end."""
    proceed = threading.Event()
    log: list[str] = []

    def pieces() -> Iterator[bytes]:
        yield b"first"
        yield b""
        proceed.wait(10)
        yield b"second"

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return Closing(pieces(), log)

    client = (await open_http(app, interface="wsgi")).connect()
    await client.send(GET)
    assert (await client.receive()).endswith(b"\r\n5\r\nfirst\r\n")
    proceed.set()
    assert (await client.receive()) == b"6\r\nsecond\r\n"
    await until(lambda: "close" in log)
    assert ["piece", "piece", "piece", "close"] == log


async def test_a_promised_length_ends_the_response(open_http: Any) -> None:
    """When all that Content-Length promised is there, the client does not wait for the iterator's end."""
    proceed = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"ab"
        yield b"c"
        proceed.wait(10)

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response, ("Content-Length", "3"))
        return pieces()

    world = await open_http(app, interface="wsgi")
    assert b"abc" == (await world.connect().get()).body
    assert 1 == world.service.statistics().running
    proceed.set()
    await until(lambda: not world.service.statistics().running)
    assert [] == world.journal.failures


async def test_close_after_the_response_does_not_hold_the_client_up(open_http: Any) -> None:
    """What an application does in `close` happens after the client has its response."""
    proceed = threading.Event()

    class Slow(list[bytes]):
        def close(self) -> None:
            proceed.wait(10)

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return Slow([b"x"])

    world = await open_http(app, interface="wsgi")
    assert b"x" == (await world.connect().get()).body
    proceed.set()
    await until(lambda: not world.service.statistics().running)


async def test_write(open_http: Any) -> None:
    """The `write` that start_response returns sends at once, before what the application returns."""

    def app(environ: Any, start_response: Any) -> Any:
        write = ok(start_response)
        write(b"a")
        write(bytes(100_000))
        return [b"z"]

    body = (await (await open_http(app, interface="wsgi")).connect().get()).body
    assert (b"a", 100_002, b"z") == (body[:1], len(body), body[-1:])


@pytest.mark.parametrize("pieces", [[bytes(100_000)] * 5, (b"a", b"b"), [b""], [], [bytes(1_000_000)], b"ab"])
async def test_lists(open_http: Any, pieces: Any) -> None:
    """Lists and tuples of any length and size arrive whole; bytes do, too, as with uWSGI."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return pieces

    client = (await open_http(app, interface="wsgi")).connect()
    for _ in range(2):
        assert (pieces if isinstance(pieces, bytes) else b"".join(pieces)) == (await client.get()).body


async def test_pieces_arrive_in_order_from_many_threads(open_http: Any) -> None:
    """However the ends of jobs and their pieces come to Trio's thread, every response is whole and in order."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        if environ["PATH_INFO"] == "/list":
            return [b"list"]
        return iter([b"%d," % n for n in range(20)])

    async def ask(client: Any) -> None:
        for _ in range(30):
            assert b"".join(b"%d," % n for n in range(20)) == (await client.get("/pieces")).body
            assert b"list" == (await client.get("/list")).body

    world = await open_http(app, interface="wsgi", threads=4, strict=True)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask, world.connect())


async def test_head(open_http: Any) -> None:
    """HEAD sends no body, does not run an iterator to its end, and closes it."""
    log: list[str] = []

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return Closing(endless(), log)

    client = (await open_http(app, interface="wsgi")).connect()
    await client.send(GET.replace(b"GET", b"HEAD"))
    assert b"" == (await client.response("HEAD")).body
    await until(lambda: "close" in log)
    assert ["piece", "close"] == log


async def test_the_file_wrapper(open_http: Any) -> None:
    """A wrapped file is sent in blocks and closed."""
    file = io.BytesIO(bytes(200_000))

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response, ("Content-Length", "200000"))
        return environ["wsgi.file_wrapper"](file, 8192)

    client = (await open_http(app, interface="wsgi")).connect()
    assert 200_000 == len((await client.get()).body)
    await until(lambda: file.closed)


def test_a_file_without_close() -> None:
    """What is wrapped needs `read` only."""

    class File:
        def __init__(self) -> None:
            self.read = io.BytesIO(b"abc").read

    wrapper = FileWrapper(File(), 2)
    assert [b"ab", b"c"] == list(wrapper)
    wrapper.close()


# --- the body ---------------------------------------------------------------------------------------------------------


def reading(read: Callable[[Any], bytes]) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        body = read(environ["wsgi.input"])
        ok(start_response)
        return [body]

    return app


@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.read(),
        lambda stream: stream.read(-1),
        lambda stream: b"".join(iter(lambda: stream.read(3), b"")),
        lambda stream: b"".join(iter(stream.readline, b"")),
        lambda stream: b"".join(iter(lambda: stream.readline(4), b"")),
        lambda stream: b"".join(stream.readlines()),
        lambda stream: b"".join(stream),
    ],
)
@pytest.mark.parametrize("framing", ["whole", "pieces", "chunked"])
async def test_every_way_to_read_a_body(open_http: Any, read: Any, framing: str) -> None:
    """read, readline, readlines and iteration, of a body that is there, or comes later, or is chunked."""
    body = b"first line\nsecond line\n\nlast" * 10
    client = (await open_http(reading(read), interface="wsgi")).connect()
    if framing == "chunked":
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 50):
            piece = body[start : start + 50]
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await trio.sleep(0.001)
        await client.send(b"0\r\n\r\n")
    else:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        await client.send(head + (body if framing == "whole" else body[:20]))
        if framing == "pieces":
            await trio.sleep(0.001)
            await client.send(body[20:])
    assert body == (await client.response()).body


async def test_a_large_body_streams(open_http: Any) -> None:
    """A body is read while it comes; what waits in memory is bounded, however slow the application is."""
    most = [0]

    def app(environ: Any, start_response: Any) -> Any:
        count = 0
        while piece := environ["wsgi.input"].read(50_000):
            count += len(piece)
            most[0] = max(most[0], UNIT.get().request.buffered)  # type: ignore[attr-defined]  # it is an Exchange
        ok(start_response)
        return [str(count).encode()]

    client = (await open_http(app, interface="wsgi")).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
    for _ in range(30):
        await client.send(bytes(100_000))
    assert b"3000000" == (await client.response()).body
    assert most[0] <= 131072


@pytest.mark.parametrize(
    ("read", "sent"),
    [
        (lambda stream: stream.read1(200_000), 10),
        (lambda stream: stream.peek(200_000), 10),
        (lambda stream: bytes(stream.readinto1(bytearray(200_000))), 10),
        (lambda stream: stream.read(70_000), 70_000),
        (lambda stream: stream.read(65_536) + stream.read(1), 65_537),
        (lambda stream: stream.read(1) + stream.read(199_999), 200_000),
    ],
)
async def test_no_read_waits_for_more_than_it_needs(open_http: Any, read: Any, sent: int) -> None:
    """A client may wait for the response to a part of its body before it sends the rest."""
    client = (await open_http(reading(read), interface="wsgi")).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
    await client.send(bytes(sent))
    assert sent == len((await client.response()).body)


@pytest.mark.parametrize("size", [-1, 2_500_000, 5_000_000])
async def test_a_large_read_is_woken_for_many_pieces(open_http: Any, size: int) -> None:
    """A thread that asks for a large body sleeps until 1 MiB has come, however small its pieces are."""
    seen = []

    def app(environ: Any, start_response: Any) -> Any:
        request = UNIT.get().request  # type: ignore[attr-defined]  # it is an Exchange
        seen.append(request)
        body = environ["wsgi.input"].read(size)
        ok(start_response)
        return [b"%d" % len(body)]

    client = (await open_http(app, interface="wsgi")).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2500000\r\n\r\n")
    await until(lambda: seen)
    for sent in range(1000, 1_000_001, 1000):
        await client.send(bytes(1000))
        await wait_all_tasks_blocked()
        assert sent == seen[0].buffered
    await client.send(bytes(1_500_000))
    assert b"2500000" == (await client.response()).body


async def test_continue_is_sent_when_the_body_is_read(open_http: Any) -> None:
    """`100 Continue` is sent when the application reads."""
    client = (await open_http(reading(lambda stream: stream.read()), interface="wsgi")).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.receive()
    await client.send(b"ab")
    assert b"ab" == (await client.response()).body


async def test_an_upload_of_the_usual_size_keeps_no_thread(open_http: Any) -> None:
    """The application is called when the body is there, and not at all if the client leaves before; meanwhile the one
    thread serves others.
    """
    called = []

    def app(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        ok(start_response)
        return [b"%d" % len(environ["wsgi.input"].read())]

    world = await open_http(app, interface="wsgi", threads=1)
    slow, lost, other = world.connect(), world.connect(), world.connect()
    for client, path in ((slow, b"/slow"), (lost, b"/lost")):
        await client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" % path)
        await client.send(bytes(1_000_000))
    assert b"0" == (await other.get("/other")).body
    assert (["/other"], 2 * 1_048_576) == (called, world.service.reserved)
    await lost.send_eof()
    assert (await lost.read_all()).startswith(b"HTTP/1.1 400 ")
    await slow.send(bytes(48_576))
    assert b"1048576" == (await slow.response()).body
    await until(lambda: not world.service.statistics().running)
    assert (["/other", "/slow"], 0) == (called, world.service.reserved)


async def test_bodies_that_wait_have_a_limit(open_http: Any) -> None:
    """Beyond it, and for a body that is large or that its client offers first, the application is called at once."""
    called = []

    def app(environ: Any, start_response: Any) -> Any:
        called.append(environ["PATH_INFO"])
        ok(start_response)
        return [b"%d" % len(environ["wsgi.input"].read())]

    async def post(path: bytes, headers: bytes) -> Any:
        client = world.connect()
        await client.send(b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, headers))
        await wait_all_tasks_blocked()
        return client

    world = await open_http(app, interface="wsgi", threads=4)
    whole = b"Content-Length: 1048576\r\n"
    waiting = [await post(b"/waits", whole) for _ in range(32)]
    assert ([], 32 * 1_048_576) == (called, world.service.reserved)
    begun = [
        await post(b"/beyond", whole),
        await post(b"/large", b"Content-Length: 1048577\r\n"),
        await post(b"/offered", b"Expect: 100-continue\r\nContent-Length: 10\r\n"),
    ]
    waiting.append(await post(b"/small", b"Content-Length: 65536\r\n"))
    await until(lambda: len(called) == 3)
    assert ["/beyond", "/large", "/offered"] == sorted(called)
    for client in waiting + begun:
        await client.close()
    await until(lambda: not world.service.statistics().running)
    assert (3, 0) == (len(called), world.service.reserved)


async def test_a_disconnect_while_reading(open_http: Any) -> None:
    """A disconnect in the middle of the body makes `read` raise an OSError."""
    errors = []

    def app(environ: Any, start_response: Any) -> Any:
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except OSError as error:
                errors.append(type(error).__name__)
        raise OSError("what an application makes of it")

    world = await open_http(app, interface="wsgi")
    client = world.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1100000\r\n\r\nabc")
    await client.close()
    await until(lambda: len(errors) == 2 and not world.service.statistics().running)
    assert ["ClientDisconnected", "ClientDisconnected"] == errors


# --- rules and failures -----------------------------------------------------------------------------------------------


def start_twice(environ: Any, start_response: Any) -> Any:
    ok(start_response)
    ok(start_response)


def bad_status(environ: Any, start_response: Any) -> Any:
    start_response("OK", [])


def number_for_status(environ: Any, start_response: Any) -> Any:
    start_response(200, [])


def number_in_a_header(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", 2)])


def text(environ: Any, start_response: Any) -> Any:
    ok(start_response)
    return ["text"]


def text_iterator(environ: Any, start_response: Any) -> Any:
    ok(start_response)
    return iter(["text"])


def never_starts(environ: Any, start_response: Any) -> Any:
    return [b"x"]


def returns_none(environ: Any, start_response: Any) -> Any:
    ok(start_response)


def raises(environ: Any, start_response: Any) -> Any:
    raise ValueError("mine")


def writes_too_much(environ: Any, start_response: Any) -> Any:
    ok(start_response, ("Content-Length", "1"))(b"ab")
    return []


def writes_text(environ: Any, start_response: Any) -> Any:
    ok(start_response)("text")  # type: ignore[arg-type]  # that is the point
    return []


def text_in_a_list(environ: Any, start_response: Any) -> Any:
    ok(start_response)
    return [b"a", "text"]


def hop_by_hop(environ: Any, start_response: Any) -> Any:
    ok(start_response, ("Upgrade", "h2c"))
    return [b"ab"]


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (start_twice, "LocalProtocolError: the application called start_response twice"),
        (bad_status, "LocalProtocolError: the application's status is 'OK'"),
        (text, "LocalProtocolError: the application returned a piece of type str"),
        (text_iterator, "LocalProtocolError: the application returned a piece of type str"),
        (never_starts, "LocalProtocolError: "),
        (number_for_status, "LocalProtocolError: start_response takes a str such as '200 OK'"),
        (number_in_a_header, "LocalProtocolError: start_response takes a str such as '200 OK', and a list of pairs"),
        (returns_none, "LocalProtocolError: the application returned NoneType; it must be an iterable of bytes"),
        (raises, "ValueError: mine"),
        (writes_too_much, "LocalProtocolError: the body is longer than its content-length"),
        (writes_text, "LocalProtocolError: the application returned a piece of type str"),
        (text_in_a_list, "LocalProtocolError: the application returned a piece of type str"),
        (hop_by_hop, "LocalProtocolError: "),
    ],
)
async def test_a_failure_before_the_head_is_a_500(open_http: Any, app: Any, error: str) -> None:
    """An application that fails or breaks the rules before anything was sent gives 500 and is reported once."""
    world = await open_http(app, interface="wsgi")
    client = world.connect()
    await client.send(GET)
    assert (await client.read_all()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    (failure,) = world.journal.failures
    assert f"{type(failure).__name__}: {failure}".startswith(error)
    assert 0 == world.service.statistics().running


async def test_a_failure_after_the_head_aborts_and_closes(open_http: Any) -> None:
    """An iterator that fails later cuts its response off, and is closed."""
    log: list[str] = []

    def pieces() -> Iterator[bytes]:
        yield b"abc"
        raise ValueError("mine")

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return Closing(pieces(), log)

    world = await open_http(app, interface="wsgi")
    client = world.connect()
    await client.send(GET)
    assert not (await client.read_all()).endswith(b"0\r\n\r\n")
    await until(lambda: "close" in log)
    assert ["mine"] == [str(error) for error in world.journal.failures]


@pytest.mark.parametrize("kind", [tuple, list])
async def test_exc_info_replaces_a_head_that_was_not_sent(open_http: Any, kind: Any) -> None:
    """start_response with exc_info before the first piece starts anew."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response, ("X-A", "b"))
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("500 Oh", [("X-C", "d")], kind(sys.exc_info()))
        return [b"oh"]

    answer = await (await open_http(app, interface="wsgi", strict=True)).connect().get()
    assert (500, b"oh", "d") == (answer.status, answer.body, answer.headers["x-c"])
    assert "x-a" not in answer.headers


async def test_exc_info_after_the_head_is_raised(open_http: Any) -> None:
    """start_response with exc_info after the head was sent raises that error."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)(b"begun")
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("500 Oh", [], sys.exc_info())
        return []

    world = await open_http(app, interface="wsgi")
    client = world.connect()
    await client.send(GET)
    await client.read_all()
    assert ["mine"] == [str(error) for error in world.journal.failures]


async def test_a_strict_journal_raises_what_failed(open_http: Any) -> None:
    """In tests a failing application fails the test; its client still gets the 500."""
    with pytest.raises(BaseExceptionGroup) as info:  # noqa: PT012 # the nursery is what raises
        async with trio.open_nursery() as nursery:
            world = await open_http(raises, interface="wsgi", strict=True, nursery=nursery)
            await world.connect().get()
    assert info.value.subgroup(lambda error: isinstance(error, ValueError) and str(error) == "mine")


async def test_system_exit_fails_its_request(open_http: Any) -> None:
    """`sys.exit()` in an application is a failure of its request, and does not stop the server."""

    def app(environ: Any, start_response: Any) -> Any:
        sys.exit(3)

    world = await open_http(app, interface="wsgi")
    for failures in (1, 2):
        assert 500 == (await world.connect().get()).status
        assert failures == world.service.calls.failures


async def test_an_interrupt_ends_the_runtime(open_http: Any) -> None:
    """A SIGINT that meets what a thread asked of Trio is no failure of the request: it ends the run."""

    def app(environ: Any, start_response: Any) -> Any:
        trio.from_thread.run_sync(signal.raise_signal, signal.SIGINT)

    with pytest.raises(BaseExceptionGroup) as info:  # noqa: PT012 # the nursery is what raises
        async with trio.open_nursery() as nursery:
            world = await open_http(app, interface="wsgi", nursery=nursery)
            await world.connect().get()
            await trio.sleep_forever()
    assert info.value.subgroup(KeyboardInterrupt)


async def test_a_disconnect_ends_a_stream(open_http: Any) -> None:
    """An endless response ends when its client disconnects: its iterator is closed, and nothing is reported."""
    log: list[str] = []

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return Closing(endless(), log)

    world = await open_http(app, interface="wsgi")
    client = world.connect()
    await client.send(GET)
    await client.receive()
    await client.close()
    await until(lambda: not world.service.statistics().running)
    assert "close" == log[-1]
    assert [] == world.journal.failures


async def test_a_slow_reader_holds_its_application_back(open_http: Any) -> None:
    """An endless response is made as fast as its client reads; what waits in memory is bounded."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        while True:
            yield bytes(10_000)

    world = await open_http(app, interface="wsgi")
    client = world.connect(narrow=100_000)
    await client.send(GET)
    await until(lambda: any(session.pending for session in world.service.sessions))
    await trio.sleep(0.05)
    (session,) = world.service.sessions
    assert session.pending <= 3 * 65536
    await client.close()
    client.server_end.open_wide()
    await until(lambda: not world.service.statistics().running)


# --- harakiri and the end ---------------------------------------------------------------------------------------------


async def test_harakiri_of_a_waiting_thread(open_http: Any, autojump_clock: Any) -> None:
    """A thread that waits in Trio at its limit is cancelled there; the client gets 504 and the thread is free again."""

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            trio.from_thread.run(trio.sleep, 3600)
        ok(start_response)
        return [b"fast"]

    world = await open_http(app, interface="wsgi", harakiri=30, threads=1)
    with hold_clock():
        assert 504 == (await world.connect().get("/slow")).status
        assert 30 == trio.current_time()
        assert b"fast" == (await world.connect().get()).body
    assert (1, 0) == (world.service.calls.harakiris, world.threads.stuck)


@pytest.mark.real
async def test_harakiri_of_a_stuck_thread(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A thread that cannot be cancelled is abandoned: 504 in time, the log says where, others are served."""
    proceed = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            proceed.wait(10)  # stuck here
        ok(start_response)
        return [b"fast"]

    world = await open_http(app, interface="wsgi", harakiri=0.2, threads=1)
    slow = world.connect()
    start = time.monotonic()
    await slow.send(GET.replace(b"/ ", b"/slow "))
    assert 504 == (await slow.response()).status
    assert time.monotonic() - start < 8
    assert 1 == world.threads.stuck
    assert "proceed.wait(10)  # stuck here" in caplog.text
    assert b"fast" == (await world.connect().get()).body
    proceed.set()
    await until(lambda: not world.threads.stuck)
    assert 1 == world.service.calls.harakiris


async def test_a_user_deadline(open_http: Any, autojump_clock: Any) -> None:
    """The deadline a request sets for itself counts, the last one wins, and it ends with the request."""

    def app(environ: Any, start_response: Any) -> Any:
        unit = UNIT.get()
        for seconds in (1000, 5):
            trio.from_thread.run_sync(lambda s: unit.set_user_deadline(trio.current_time() + s), seconds)
        trio.from_thread.run(trio.sleep, float(environ["QUERY_STRING"]))
        ok(start_response)
        return [b"in time"]

    world = await open_http(app, interface="wsgi", harakiri=30)
    with hold_clock():
        assert b"in time" == (await world.connect().get("/?4")).body
        assert 504 == (await world.connect().get("/?6")).status
        assert 9 == trio.current_time()
    assert 1 == world.service.calls.harakiris


async def test_cancel_on_disconnect(open_http: Any) -> None:
    """With the option, a disconnect ends the thread's wait, which is neither harakiri nor a failure."""
    started = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        started.set()
        trio.from_thread.run(trio.sleep_forever)

    world = await open_http(app, interface="wsgi", cancel_on_disconnect=True)
    client = world.connect()
    await client.send(GET)
    await until(started.is_set)
    await client.close()
    await until(lambda: not world.service.statistics().running)
    assert (0, []) == (world.service.calls.harakiris, world.journal.failures)
    assert 0 == world.service.statistics().open


async def test_a_request_that_comes_while_the_threads_stop(open_http: Any) -> None:
    """When the pool is gone already, the request gets 503."""

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)
        return [b""]

    async with trio.open_nursery() as nursery:
        world = await open_http(app, interface="wsgi", nursery=nursery)
        client = world.connect()
        await client.get()
        world.threads._stopping = True
        assert 503 == (await client.get()).status
        world.threads._stopping = False
        nursery.cancel_scope.cancel()


async def test_flask(open_http: Any) -> None:
    """A Flask application, unmodified: forms, redirects, streaming, errors."""
    app = flask.Flask("test")

    @app.post("/form")
    def form() -> str:
        return flask.request.form["name"] * 2

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response((str(n) for n in range(5)), mimetype="text/plain")

    client = (await open_http(app, interface="wsgi")).connect()
    body = b"name=abc"
    await client.send(
        b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert b"abcabc" == (await client.response()).body
    assert b"01234" == (await client.get("/stream")).body
    assert 404 == (await client.get("/nothing")).status


async def test_idle_threads_are_no_tasks_to_wait_for(open_http: Any) -> None:
    """A service with nothing to do is blocked, so that a mock clock may jump."""
    await open_http(reading(lambda stream: b""), interface="wsgi", harakiri=30)
    await wait_all_tasks_blocked()


async def test_a_body_that_is_not_sent_is_not_queued(open_http: Any) -> None:
    """Pieces for a 304 go nowhere: they do not wait for Trio's thread by the thousand."""
    given: queue.SimpleQueue[int] = queue.SimpleQueue()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("304 Not Modified", [])
        yield from (b"x" for _ in range(1000))
        given.put(UNIT.get().given)  # type: ignore[attr-defined]  # the unit of a WSGI request is its exchange

    client = (await open_http(app, interface="wsgi")).connect()
    assert 304 == (await client.get()).status  # complete with its head: the application may still be at it
    assert 1 == await trio.to_thread.run_sync(lambda: given.get(timeout=20))
