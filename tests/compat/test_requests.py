"""What the module `uwsgi` knows of the current request."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

HEAD = b"POST /%b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@all_modes
async def test_facts(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """The length of the body, how many requests were completed, and what does nothing."""
    uwsgi = enter(config_in(mode))
    assert (0, 0, 0) == (uwsgi.cl(), uwsgi.request_id(), uwsgi.logsize())
    app = asking(facts=lambda: [uwsgi.cl(), uwsgi.request_id(), uwsgi.offload("/etc/passwd")])
    async with open_runtime(app, config_in(mode)) as runtime:
        assert "[0, 0, b'']" == await get(runtime, "facts")
        assert "[5, 1, b'']" == (await runtime.client.post("/facts", content=b"abcde")).text


@all_modes
async def test_the_line_of_the_log(
    mode: Mode, enter: Enter, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Log variables and variables of the request are in it; their names and values are str or bytes."""
    config = config_in(mode, log_format="%(uri) %(a) %(b) %(var.c) %(var.HTTP_HOST) %(var.d)", disable_logging=True)
    uwsgi = enter(config)

    def note() -> object:
        done = [uwsgi.set_logvar("a", b"one"), uwsgi.set_logvar(b"b", "two"), uwsgi.add_var("c", b"three")]
        done += [uwsgi.add_var(b"HTTP_HOST", "four"), uwsgi.log_this_request()]
        return done, uwsgi.get_logvar(b"a"), uwsgi.get_logvar("b"), uwsgi.get_logvar("no")

    app = asking(note=note, key=lambda: uwsgi.get_logvar(5), value=lambda: uwsgi.set_logvar("a", 5), quiet=lambda: 1)
    with caplog.at_level(logging.INFO, "trio_uwsgi"):
        async with open_runtime(app, config) as runtime:
            assert repr(([None, None, True, True, None], b"one", b"two", None)) == await get(runtime, "note")
            assert (await get(runtime, "key")).startswith("TypeError: ")
            assert (await get(runtime, "value")).startswith("TypeError: ")
            assert "1" == await get(runtime, "quiet")
    assert ["/note one two three four -"] == [line for line in caplog.messages if line.startswith("/")]


@all_modes
async def test_files(
    mode: Mode, enter: Enter, autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`sendfile` sends files and parts of them, one after the other; None for one that cannot be opened."""
    uwsgi = enter(config_in(mode))
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 20_000)
    os.mkfifo(tmp_path / "pipe")

    def parts() -> Iterator[object]:
        yield uwsgi.sendfile(str(path))
        with path.open("rb") as file:
            file.seek(5)
            yield uwsgi.sendfile(file, 0, 199_998)
            yield uwsgi.sendfile(file.fileno(), 4096, 3, filesize=4)
        yield uwsgi.sendfile(os.fsencode(path), 0, 300_000)
        yield uwsgi.sendfile(str(tmp_path / "none"))
        yield uwsgi.sendfile(str(tmp_path / "pipe"))

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        if environ["PATH_INFO"] == "/returned":
            answer: Iterable[bytes] = uwsgi.sendfile(str(path))
            return answer
        return [repr(list(parts())).encode()]

    async with open_runtime(app, config_in(mode)) as runtime:
        answer = (await runtime.client.get("/")).content
        assert b"0123456789" * 20_000 == answer[:200_000]
        assert b"893456[True, True, True, True, None, None]" == answer[200_000:]
        assert 200_000 == len((await runtime.client.get("/returned")).content)
    assert 2 == caplog.text.count("uwsgi.sendfile: ")


async def test_no_file(enter: Enter, autojump_clock: MockClock) -> None:
    """What is neither a path, a descriptor nor a file is refused, and so is a call outside of a request."""
    uwsgi = enter(Config())
    for call in (lambda: uwsgi.sendfile("/etc/passwd"), lambda: uwsgi.add_var("a", "b"), uwsgi.chunked_read):
        with pytest.raises(RuntimeError, match="call it in the code of a WSGI request"):
            call()
    async with open_runtime(asking(none=lambda: uwsgi.sendfile(None)), Config()) as runtime:
        assert (await get(runtime, "none")).startswith("TypeError: ")


@all_modes
async def test_bodies(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """Both calls return what has arrived, and b"" at the end, for every framing."""
    uwsgi = enter(config_in(mode))

    def read() -> object:
        return [uwsgi.chunked_read(), uwsgi.chunked_read(5), uwsgi.chunked_read_nb()]

    app = asking(read=read, once=lambda: [uwsgi.chunked_read_nb(), uwsgi.chunked_read_nb(), uwsgi.chunked_read(1)])
    async with open_runtime(app, config_in(mode)) as runtime:
        for name in ("read", "once"):
            assert "[b'abcdef', b'', b'']" == (await runtime.client.post(f"/{name}", content=b"abcdef")).text
            async with runtime.connect() as stream:
                await stream.send_all(HEAD % name.encode() + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
                assert bytes(await stream.receive_some(10_000)).endswith(b"[b'abcdef', b'', b'']")


@all_modes
async def test_a_body_that_arrives_later(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """`chunked_read` waits for it, up to its timeout; `chunked_read_nb` returns None."""
    uwsgi = enter(config_in(mode))

    def read() -> object:
        size = 0
        while (piece := uwsgi.chunked_read_nb()) is not None:
            size += len(piece)
        waited = []
        with contextlib.suppress(OSError):
            waited.append(uwsgi.chunked_read(2))
        while piece := uwsgi.chunked_read(60):
            waited.append(piece)
        return size, waited, uwsgi.chunked_read_nb()

    async with open_runtime(asking(read=read), config_in(mode)) as runtime, runtime.connect() as stream:
        await stream.send_all(HEAD % b"read" + b"%x\r\n%b\r\n" % (100_000, bytes(100_000)))
        await trio.sleep(3)
        await stream.send_all(b"3\r\nabc\r\n")
        await trio.sleep(1)
        await stream.send_all(b"0\r\n\r\n")
        assert bytes(await stream.receive_some(10_000)).endswith(b"(100000, [b'abc'], b'')")


@all_modes
async def test_a_body_that_is_cut(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """A client that disconnects in its body is an OSError; an application that lets it pass has not failed."""
    uwsgi = enter(config_in(mode))

    def read() -> object:
        while uwsgi.chunked_read():
            pass
        return "the end"

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        with contextlib.suppress(OSError):
            read()
        read()
        return []

    async with open_runtime(app, config_in(mode)) as runtime, runtime.connect() as stream:
        await stream.send_all(HEAD % b"read" + b"%x\r\n%b\r\n" % (100_000, bytes(100_000)))
        await trio.sleep(1)
        await stream.send_eof()
        answer = bytes(await stream.receive_some(10_000))
        assert answer.startswith(b"HTTP/1.1 400 ")
