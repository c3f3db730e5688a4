"""What WSGI applications promise with their Content-Length, and what is sent of what they give; and their streams."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._testing.clock_hold import hold_clock

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Text(bytes):
    """Bytes of another class."""

    def __len__(self) -> int:
        return 99


class Watched:
    """An iterable that says how many pieces were taken, and when it was closed."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.log: list[object] = []
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for number, piece in enumerate(self._pieces):
            self.log.append(number)
            yield piece

    def close(self) -> None:
        self.log.append("close")


@pytest.fixture(params=[2, 0], ids=["threads", "inline"])
def open_wsgi(open_http: Any, request: pytest.FixtureRequest) -> Any:
    """As `open_http`, for a WSGI application with threads and without."""

    async def start(app: Any, **options: Any) -> Any:
        return await open_http(app, **{"interface": "wsgi", "threads": request.param, "strict": True, **options})

    return start


async def until(condition: Callable[[], object]) -> None:
    """Wait for what a thread does."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 # there is no event for it
            await trio.sleep(0.001)


def promising(length: int, result: Callable[[Any], Any]) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [])
            return [b"next"]
        start_response("200 OK", [("Content-Length", str(length))])
        return result(environ)

    return app


def wrapped(environ: Any) -> Any:
    return environ["wsgi.file_wrapper"](io.BytesIO(b"0123456789" * 20_000), 8192)


@pytest.mark.parametrize(
    "result",
    [
        lambda environ: [b"0123456789" * 20_000],
        lambda environ: [b"01", b"23456789" + b"0123456789" * 19_999],
        lambda environ: (b"0" * 0, b"0123456789" * 10_000, b"0123456789" * 30_000),
        lambda environ: iter([b"01", b"23", b"456789", b"0123456789" * 20_000]),
        lambda environ: iter([b"0123456789" * 20_000]),
        wrapped,
    ],
    ids=["one", "two", "large", "generator", "one-of-generator", "file"],
)
@pytest.mark.parametrize("length", [0, 1, 4, 100, 8192, 10_000, 70_000, 200_000])
async def test_what_was_promised_is_sent(
    open_wsgi: Any, caplog: pytest.LogCaptureFixture, result: Any, length: int
) -> None:
    """Of more than Content-Length says, so much is sent; the next request works, and nothing fails."""
    world = await open_wsgi(promising(length, result))
    client = world.connect()
    answer = await client.get()
    assert (200, str(length)) == (answer.status, answer.headers["content-length"])
    assert (b"0123456789" * 20_000)[:length] == answer.body
    assert b"next" == (await client.get("/next")).body
    await client.send(GET.replace(b"GET", b"HEAD"))
    assert (200, b"") == ((head := await client.response("HEAD")).status, head.body)
    assert b"next" == (await client.get("/next")).body
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_nothing_more_is_asked_for(open_wsgi: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An iterable that yields too much is stopped and closed, and a line is logged."""
    endless = Watched([b"0123"] * 1000)
    world = await open_wsgi(promising(6, lambda environ: endless))
    assert b"012301" == (await world.connect().get()).body
    await until(lambda: "close" in endless.log)
    assert [0, 1, "close"] == endless.log
    assert "request GET /: the application's body is longer than its content-length" in caplog.text
    assert 1 == len(caplog.records)


async def test_code_behind_the_last_piece_is_run(open_wsgi: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A generator that gave what it promised comes to its own end, once the client has its answer; not farther."""
    log: list[str] = []

    def generator(environ: Any) -> Iterator[bytes]:
        yield b"0123"
        log.append("behind")
        if environ["QUERY_STRING"]:
            yield b"more"
            log.append("too far")

    client = (await open_wsgi(promising(4, generator))).connect()
    assert b"0123" == (await client.get("/")).body
    await until(lambda: log == ["behind"])
    assert "" == caplog.text
    assert b"0123" == (await client.get("/?more")).body
    await until(lambda: "longer than its content-length" in caplog.text)
    assert ["behind", "behind"] == log


async def test_a_file_with_more_is_closed_without_a_word(open_wsgi: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A range of a file is what `wsgi.file_wrapper` is for."""
    file = io.BytesIO(bytes(200_000))
    world = await open_wsgi(promising(10_000, lambda environ: environ["wsgi.file_wrapper"](file, 8192)))
    assert 10_000 == len((await world.connect().get()).body)
    await until(lambda: file.closed)
    await until(lambda: not world.service.statistics().running)
    assert "" == caplog.text


async def test_write_before_a_longer_rest(open_wsgi: Any) -> None:
    """What `write` sent counts."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "4")])(b"0123"[: int(environ["QUERY_STRING"])])
        return [b"0123"[int(environ["QUERY_STRING"]) :], b"45"]

    client = (await open_wsgi(app)).connect()
    for already in range(1, 5):
        assert b"0123" == (await client.get(f"/?{already}")).body


@pytest.mark.parametrize("pieces", [list, tuple, iter])
async def test_subclasses_of_bytes(open_wsgi: Any, pieces: Any) -> None:
    """A piece may be of a subclass of bytes; what it holds is sent."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/write":
            write(Text(b"ab"))
            return []
        return pieces([Text(b"ab")] if environ["PATH_INFO"] == "/one" else [Text(b"a"), b"b"])

    client = (await open_wsgi(app)).connect()
    assert b"ab" == (await client.get("/one")).body
    assert b"ab" == (await client.get()).body
    assert b"ab" == (await client.get("/write")).body


# --- streams ----------------------------------------------------------------------------------------------------------


class Broken(io.StringIO):
    """Standard error on a terminal that is gone, or a disk that is full."""

    def write(self, text: str, /) -> int:
        raise OSError(5, "Input/output error")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("kind", [io.StringIO, lambda: None, closed, Broken], ids=["there", "none", "closed", "broken"])
async def test_errors_can_always_be_written(
    open_wsgi: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """`wsgi.errors` is a text stream whatever became of standard error; what that does not take is logged."""

    def app(environ: Any, start_response: Any) -> Any:
        errors = environ["wsgi.errors"]
        errors.write("from the application\n")
        errors.writelines(["a line\n"])
        print("printed", file=errors)
        errors.flush()
        errors.close()
        start_response("200 OK", [])
        return [b""]

    client = (await open_wsgi(app)).connect()
    stderr = kind()
    monkeypatch.setattr(sys, "stderr", stderr)
    for _ in range(2):
        assert 200 == (await client.get()).status
    if type(stderr) is io.StringIO and not stderr.closed:
        assert "from the application\na line\nprinted\n" * 2 == stderr.getvalue()
        assert "" == caplog.text
    else:
        assert 2 == caplog.text.count("wsgi.errors: from the application")
        assert 2 == caplog.text.count("wsgi.errors: a line")


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%b\r\n"


def told(environ: Any, start_response: Any) -> Any:
    keys = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "wsgi.input_terminated")
    start_response("200 OK", [])
    return [repr((*(environ.get(key) for key in keys), len(environ["wsgi.input"].read()))).encode()]


@pytest.mark.parametrize("size", [0, 10, 60_000])
@pytest.mark.parametrize("slowly", [False, True])
async def test_small_chunked_bodies_have_a_length(open_wsgi: Any, size: int, slowly: bool) -> None:
    """Up to 64 KiB a chunked body is waited for, however it comes, and looks like any other then."""
    client = (await open_wsgi(told)).connect()
    body = (b"%x\r\n%b\r\n" % (size, bytes(size)) if size else b"") + b"0\r\n\r\n"
    for extra in (b"", b"Expect: 100-continue\r\n"):
        await client.send(CHUNKED % extra)
        if slowly:
            await wait_all_tasks_blocked()
        await client.send(body)
        if slowly and extra:
            assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.receive()
        elif extra:
            client.unread = b"".join((await client.receive()).split(b"HTTP/1.1 100 Continue\r\n\r\n", 1))
        assert repr((str(size), None, True, size)).encode() == (await client.response()).body


async def test_large_chunked_bodies_have_none(open_http: Any) -> None:
    """A larger one is read while it comes: the environ says that it is safe to read it to its end."""
    client = (await open_http(told, interface="wsgi")).connect()
    await client.send(CHUNKED % b"")
    for _ in range(30):
        await client.send(b"2710\r\n%b\r\n" % bytes(10_000))
    await client.send(b"0\r\n\r\n")
    assert repr((None, "chunked", True, 300_000)).encode() == (await client.response()).body


@pytest.mark.parametrize("end", ["leaves", "late", "cancelled"])
async def test_a_chunked_body_that_does_not_come(open_wsgi: Any, autojump_clock: Any, end: str) -> None:
    """Its request is answered if its client is connected, is not run, and nothing stays open."""
    called: list[object] = []
    world = await open_wsgi(
        lambda environ, start_response: called.append(environ),
        harakiri=30 if end == "late" else 0,
        cancel_on_disconnect=end == "cancelled",
    )
    client = world.connect()
    await client.send(CHUNKED % b"" + b"5\r\nabc")
    if end != "late":
        await client.send_eof()
    data = await client.read_all()
    assert {"leaves": b"HTTP/1.1 400 ", "late": b"HTTP/1.1 504 ", "cancelled": b""}[end] == data[:13]
    await wait_all_tasks_blocked()
    assert ([], 0, end == "late") == (called, world.service.statistics().running, world.service.calls.harakiris)


# --- other threads ----------------------------------------------------------------------------------------------------


def in_a_thread(func: Callable[[], Any]) -> Any:
    """What `func` returns in a thread of the application's own."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(func())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return results[0]


async def test_another_thread_may_read_the_body(open_http: Any) -> None:
    """`wsgi.input` can be given to a thread of the application's, also when the body is still on its way."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"%d" % len(in_a_thread(environ["wsgi.input"].read))]

    client = (await open_http(app, interface="wsgi", strict=True)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
    for _ in range(30):
        await trio.sleep(0.001)
        await client.send(bytes(100_000))
    assert b"3000000" == (await client.response()).body


async def test_another_thread_may_write(open_http: Any) -> None:
    """`write` waits for the client in whichever thread it is called."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        for _ in range(5):
            in_a_thread(lambda: write(bytes(100_000)))
        return [b"x"]

    client = (await open_http(app, interface="wsgi", strict=True)).connect()
    for _ in range(2):
        assert 500_001 == len((await client.get()).body)


async def test_another_thread_is_told_that_the_client_left(open_http: Any) -> None:
    """It does not wait for a body that will never come."""
    seen: list[object] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(in_a_thread(environ["wsgi.input"].read))
        raise seen[0]  # type: ignore[misc]  # it is an error

    world = await open_http(app, interface="wsgi", strict=True)
    client = world.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\nabc")
    await trio.sleep(0.01)
    await client.close()
    await until(lambda: seen and not world.service.statistics().running)
    assert ["ClientDisconnected"] == [type(error).__name__ for error in seen]


async def test_harakiri_frees_another_thread(open_http: Any, autojump_clock: Any) -> None:
    """Another thread that waits for the body gets an error when its request was ended."""
    seen: list[object] = []
    threads: list[threading.Thread] = []

    def app(environ: Any, start_response: Any) -> Any:
        threads.append(threading.Thread(target=lambda: seen.append(in_a_thread(environ["wsgi.input"].read))))
        threads[0].start()
        trio.from_thread.run(trio.sleep_forever)

    world = await open_http(app, interface="wsgi", harakiri=30)
    client = world.connect()
    with hold_clock():
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\nabc")
        assert 504 == (await client.response()).status
        await trio.to_thread.run_sync(threads[0].join, 20)
    assert ["ClientDisconnected"] == [type(error).__name__ for error in seen]
