"""Async cores and connections of the module `uwsgi`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime


@all_modes
async def test_waiting(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`suspend` waits for the time or the descriptor that was registered first; fractions of a second count."""
    config = config_in(mode)
    uwsgi = enter(config)

    def sleep() -> object:
        return uwsgi.async_sleep(0.5), uwsgi.suspend(), uwsgi.ready_fd()

    def pipe() -> object:
        answer: tuple[object, ...]
        reader, writer = os.pipe()
        os.write(writer, b"x")
        registered = uwsgi.wait_fd_read(reader, 5)
        answer = registered, uwsgi.suspend(), uwsgi.ready_fd() == reader
        registered = uwsgi.wait_fd_write(writer)
        answer += registered, uwsgi.green_schedule(), uwsgi.ready_fd() == writer
        os.close(reader)
        os.close(writer)
        return answer

    app = asking(sleep=sleep, pipe=pipe, closed=lambda: uwsgi.wait_fd_read(-1), nothing=lambda: uwsgi.suspend())
    async with open_runtime(app, config) as runtime:
        began = trio.current_time()
        assert "(b'', True, -1)" == await get(runtime, "sleep")
        assert 0.5 == round(trio.current_time() - began, 3)
        assert "(b'', True, True, b'', True, True)" == await get(runtime, "pipe")
        assert (await get(runtime, "closed")).startswith("OSError: ")
        assert "True" == await get(runtime, "nothing")


async def test_a_generator_that_yields(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`yield uwsgi.async_sleep(3)` sleeps, as in uWSGI's async mode."""
    uwsgi = enter(Config())

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        yield uwsgi.async_sleep(3)
        yield b"two"

    async with open_runtime(app, Config()) as runtime:
        began = trio.current_time()
        assert "onetwo" == (await runtime.client.get("/")).text
        assert 3 == round(trio.current_time() - began, 3)


async def test_connections(enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """Descriptors are connected, written to, read from and closed; failures are -1 and None."""
    config = Config()
    uwsgi = enter(config)
    path = str(tmp_path / "s")

    def talk() -> object:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            fd, blocking = uwsgi.async_connect(path), uwsgi.connect(path, timeout=3)
            peer = server.accept()[0]
            with peer:
                answers = [uwsgi.send(fd, b"hello"), peer.recv(10), peer.send(b"x" * 5000), len(uwsgi.recv(fd, 9999))]
                answers += [uwsgi.is_connected(fd), os.get_blocking(fd), os.get_blocking(blocking)]
            rest = uwsgi.recv(fd), uwsgi.recv(fd)
            answers += [len(rest[0]), rest[1], uwsgi.close(fd), uwsgi.close(fd), uwsgi.close(blocking)]
            return [*answers, uwsgi.is_connected(fd), uwsgi.send(fd, b"gone"), uwsgi.recv(fd)]

    app = asking(
        talk=talk,
        nobody=lambda: [uwsgi.async_connect(name) for name in ("/no/such/socket", "", "localhost:0")],
        text=lambda: uwsgi.send("text"),
        number=lambda: uwsgi.send(5),
    )
    async with open_runtime(app, config) as runtime:
        expected = [True, b"hello", 5000, 4096, True, False, True, 904, None, None, None, None, False, None, None]
        assert repr(expected) == await get(runtime, "talk")
        assert "[-1, -1, -1]" == await get(runtime, "nobody")
        assert (await get(runtime, "text")).startswith("TypeError: ")
        assert (await get(runtime, "number")).startswith("TypeError: ")


@all_modes
async def test_the_client(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Raw bytes replace the response of this request; outside of one there is no client."""
    config = config_in(mode)
    uwsgi = enter(config)
    assert (0, None) == (uwsgi.connection_fd(), uwsgi.disconnect())

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        sent = uwsgi.send(b"HTTP/1.0 200 OK\r\n\r\nraw ")
        uwsgi.send(repr(sent).encode())
        uwsgi.disconnect()
        return []

    async with open_runtime(app, config) as runtime:
        response = await runtime.client.get("/")
        assert "raw True" == response.text
