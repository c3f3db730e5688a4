"""A plugin for the test suites of other projects: what their test clients ask goes to ours, over a socket.

`pytest -p over_socket` in the folder of such a suite, with these in its environment: OVER_SOCKET_MODE is "own" (nothing
is replaced), "tasks", "threads" or "inline"; OVER_SOCKET_REPORT is a file that gets one JSON object:
`{id of a test: [outcome, requests it sent over a socket, why it failed]}`.

Replaced are the two places at which these test clients call an application in their own process: the transport of
Starlette's `TestClient` (FastAPI's is the same) with its WebSockets (`websocket_session.py`), and `run_wsgi_app` of
Werkzeug's `Client` (which is Flask's). All else of the clients stays theirs: redirects, cookies, base URLs, files, and
so on.

The application runs in this process all the same, because its tests look at what it did. So what a test client gives to
it beside HTTP (a root path, keys of the environ, https as a front server would report it) is put in front of it here;
and what it raises, which the server answers with 500, is raised by the client as the tests expect it.

This runs beside another project's tests, so it imports nothing of ours but the package.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import json
import logging
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
import trio
import werkzeug.test
from websocket_session import Session
from werkzeug.datastructures import Headers
from werkzeug.test import _get_environ  # type: ignore[attr-defined]
from werkzeug.wsgi import ClosingIterator

import trio_uwsgi
from trio_uwsgi._runtime.registry import Registry

MODE = os.environ["OVER_SOCKET_MODE"]
REPORT = Path(os.environ["OVER_SOCKET_REPORT"])
TIMEOUT = 10.0  # seconds for whatever is waited for


class Run:
    """One call of the application: what it raised, the headers it sent, and for a WebSocket the message with which it
    closed that instead of accepting it.
    """

    def __init__(self, scheme: str = "http") -> None:
        self.scheme = scheme
        self.closed: dict[str, Any] | None = None
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.sent: list[tuple[str, str]] = []

    def wait(self) -> None:
        """Wait until the application has returned, and raise what it raised."""
        if not self.ended.wait(TIMEOUT):
            raise AssertionError("the application did not return after its response")
        if self.error is not None:
            raise self.error


class Server:
    """trio_uwsgi on a free port of loopback, in a thread with a Trio of its own.

    Args:
        app: what it serves. interface: "asgi" or "wsgi". lifespan: as in `Config`.
    """

    # By their interface, the two that serve all applications without a lifespan.
    running: ClassVar[dict[str, Server]] = {}
    requests = 0  # sent by anybody
    test = ""  # that runs

    def __init__(self, app: object, interface: Any, lifespan: Any = "off") -> None:
        self.crash: BaseException | None = None
        self.port = 0
        self._user = Server.test
        self._up = threading.Event()
        threads = 4 if MODE == "threads" else None
        self._config = trio_uwsgi.Config(http="127.0.0.1:0", interface=interface, lifespan=lifespan, threads=threads)
        self._app = app
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        assert self._up.wait(TIMEOUT), "the server did not start"

    @classmethod
    def shared(cls, app: object, interface: str) -> Server:
        """The one of that interface; `app` finds out what is asked for."""
        server = cls.running.get(interface)
        if server is None:
            server = cls.running[interface] = Server(app, interface)
        server._user = cls.test
        return server

    def _main(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self.crash = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            serve = functools.partial(trio_uwsgi.serve, registry=Registry())
            runtime = await nursery.start(serve, self._app, self._config)
            self._token = trio.lowlevel.current_trio_token()
            self._runtime = runtime
            self.port = int(str(runtime.addresses[0]).rpartition(":")[2])
            self._up.set()

    def stop(self) -> None:
        """Stop gracefully, which must end well and in time."""
        with contextlib.suppress(trio.RunFinishedError, AttributeError):  # it has ended, or has not begun
            self._token.run_sync_soon(self._runtime.stop)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), "the server did not stop"
        if self.crash is not None:
            raise AssertionError(f"the server that {self._user} asked ended by itself") from self.crash

    @classmethod
    def check(cls) -> None:
        """None has ended by itself; if one has, the next test gets another one."""
        for interface, server in list(cls.running.items()):
            if not server._thread.is_alive():
                del cls.running[interface]
                server.stop()


def compare(sent: list[tuple[str, str]], arrived: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers without those that the server added; all that the application sent must have arrived, in order."""
    hop = {"connection", "keep-alive", "transfer-encoding", "proxy-connection"}
    sent = [(name, value.strip()) for name, value in sent if name.lower() not in hop]
    rest, kept = [(name.lower(), value) for name, value in sent], []
    for name, value in arrived:
        if rest and (name.lower(), value) == rest[0]:
            kept.append(sent[-len(rest)])
            del rest[0]
    assert not rest, f"the application sent {sent}, and this arrived: {arrived}"
    return kept


# ----- WSGI: Werkzeug and Flask


# The port of a client -> the application that it asks, what it gives to it beside HTTP, and how that ends.
_asked: dict[str, tuple[Any, dict[str, Any], Run]] = {}
# A thread that runs an application calls others without a server, as one that is a part of the first.
_inside = threading.local()
_own_run_wsgi_app = werkzeug.test.run_wsgi_app


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Run the application that was asked as it would be in its own process. Nothing of the server's own environ is
    replaced but what only a front server could say.
    """
    app, given, run = _asked.pop(environ["REMOTE_PORT"])
    if root := given.get("SCRIPT_NAME", ""):
        environ["SCRIPT_NAME"] = root
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(root)
    environ["wsgi.url_scheme"] = given["wsgi.url_scheme"]
    environ["REMOTE_ADDR"] = given.get("REMOTE_ADDR") or environ["REMOTE_ADDR"]
    if given["wsgi.errors"] is not sys.stderr:
        environ["wsgi.errors"] = given["wsgi.errors"]
    environ.update((key, value) for key, value in given.items() if key not in environ and key[:5] != "HTTP_")

    def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
        run.sent = list(headers)
        return start_response(status, headers, *args)

    result: Any = ()
    _inside.yes = True
    try:
        result = app(environ, start)
        yield from result
    except GeneratorExit:
        raise  # the server wants no more of it
    except BaseException as error:
        run.error = error
        raise
    finally:
        try:
            getattr(result, "close", lambda: None)()
        finally:
            _inside.yes = False
            run.ended.set()


def run_over_socket(app: Any, environ: Any, buffered: bool = False) -> tuple[Iterable[bytes], str, Any]:
    """As `werkzeug.test.run_wsgi_app`, but for the socket between the two."""
    environ = _get_environ(environ)
    if getattr(_inside, "yes", False) or "REQUEST_METHOD" not in environ:
        return _own_run_wsgi_app(app, environ, buffered)
    run = Run()
    port = Server.shared(wsgi_app, "wsgi").port
    Server.requests += 1
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.connect()
    try:
        key = str(connection.sock.getsockname()[1])
        _asked[key] = app, environ, run
        _send_environ(connection, environ)
        response = connection.getresponse()
        try:
            body = response.read()
        except http.client.IncompleteRead:
            run.wait()
            raise
        headers = response.getheaders()
        if _asked.pop(key, None) is None:  # otherwise the server has answered by itself
            run.wait()
            headers = compare(run.sent, headers) if run.sent else headers
        pieces = [body] if body else []
        status = f"{response.status} {response.reason}"
        return pieces if buffered else ClosingIterator(pieces), status, Headers(headers)
    finally:
        connection.close()


def _send_environ(connection: http.client.HTTPConnection, environ: dict[str, Any]) -> None:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    target = quote(path.encode("latin-1"), safe="/:@!$&'()*+,;=~") or "/"
    if query := environ.get("QUERY_STRING"):
        target += "?" + quote(query.encode("latin-1"), safe="/:@!$&'()*+,;=~?%[]")
    if not environ.get("SCRIPT_NAME") and environ.get("REQUEST_URI", "").isascii():
        target = environ.get("REQUEST_URI") or target
    connection.putrequest(environ["REQUEST_METHOD"], target, skip_host=True, skip_accept_encoding=True)
    host = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    connection.putheader("Host", environ.get("HTTP_HOST") or host)
    for key, value in environ.items():
        if (key[:5] == "HTTP_" and key != "HTTP_HOST") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value):
            connection.putheader(key.removeprefix("HTTP_").replace("_", "-"), value.encode("latin-1"))
    source = environ["wsgi.input"]
    start = source.tell() if source.seekable() else None
    body = source.read()
    if start is not None:
        source.seek(start)  # a client that is redirected sends it again
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "")
    if body and not chunked and not environ.get("CONTENT_LENGTH"):
        connection.putheader("Content-Length", str(len(body)))
    # Head and body leave together. Otherwise it were chance whether a response overtakes a body that nobody has read,
    # which some tests read after it.
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    connection.endheaders(body or None, encode_chunked=chunked)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


# ----- ASGI: Starlette and FastAPI


# The address of a client -> its transport. Each has one of its own, as loopback has many.
_transports: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_open_clients: list[Any] = []  # transports that keep connections
_HEADS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_addresses = (f"127.{a}.{b}.{c}" for a in range(1, 255) for b in range(1, 255) for c in range(1, 255))


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Run the application that was asked."""
    await _transports[scope["client"][0]].run(scope, receive, send)


def replace_starlettes_transport() -> None:
    """Let its test clients, and FastAPI's, ask over a socket."""
    testclient: Any = importlib.import_module("starlette.testclient")
    httpx: Any = testclient.httpx
    own = testclient._TestClientTransport

    class Stream(httpx.SyncByteStream):  # type: ignore[misc]
        """The body as it comes; at its end, what the application raised."""

        def __init__(self, stream: Any, end: Callable[[], None]) -> None:
            self._stream = stream
            self._end = end

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._stream
            except (httpx.RemoteProtocolError, httpx.ReadError):  # a response that was cut
                self._end()
                raise

        def close(self) -> None:
            self._stream.close()
            self._end()

    class Transport(own):  # type: ignore[misc, valid-type]
        """Asks the application over a socket."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._address = next(_addresses)
            _transports[self._address] = self
            self._server: Server | None = None  # of its own, while it has a lifespan
            self._scheme = "http"
            self._runs: list[Run] = []
            self._websockets: dict[int, Run] = {}  # by the client's port
            self._lifespan = Run()
            self._http: Any = None  # connections, which are kept until the test ends

        def _open(self) -> Any:
            if self._http is None:
                self._http = httpx.HTTPTransport(verify=False, local_address=self._address)
                _open_clients.append(self)
            return self._http

        def hang_up(self) -> None:
            """Close the connections."""
            http, self._http = self._http, None
            if http is not None:
                http.close()

        async def run(self, scope: Any, receive: Any, send: Any) -> None:
            """Run the application, and note what it raises before that goes on to the server."""
            if scope["type"] == "lifespan":
                self._lifespan = run = Run()
            elif scope["type"] == "http":
                run = Run(self._scheme)
                self._runs.append(run)
            else:
                run = self._websockets.pop(scope["client"][1])
            if scope["type"] != "lifespan":
                scope.update(scheme=run.scheme, root_path=self.root_path)

            begun = False

            async def sending(message: Any) -> None:
                nonlocal begun
                if message["type"] in _HEADS:
                    headers = message.get("headers", ())
                    run.sent = [(bytes(k).decode("latin-1"), bytes(v).decode("latin-1")) for k, v in headers]
                    begun = True
                elif message["type"] == "websocket.close" and not begun:
                    run.closed = message
                elif message["type"] == "lifespan.startup.complete":
                    self.app_state.update(scope["state"])
                await send(message)

            try:
                await self.app(scope, receive, sending)
            except BaseException as error:
                run.error = error
                raise
            finally:
                run.ended.set()

        def begin(self) -> None:
            """`with client`: a server of its own, which runs the lifespan."""
            self._server = server = Server(self.run, "asgi", "on")
            if server.crash is not None:
                self._server = None
                raise self._lifespan.error or server.crash

        def close(self) -> None:
            """End what is open; raise what the lifespan raised."""
            super().close()
            self.hang_up()
            server, self._server = self._server, None
            if server is not None:
                server.stop()
                self._lifespan.wait()

        def handle_request(self, request: Any) -> Any:
            """As the original, but for the socket."""
            self._scheme = request.url.scheme
            if self._scheme in ("ws", "wss"):
                raise testclient._Upgrade(Session(request, functools.partial(self._connect, self._scheme), compare))
            Server.requests += 1
            server = self._server or Server.shared(asgi_app, "asgi")
            self._runs.clear()
            url = request.url.copy_with(scheme="http", host="127.0.0.1", port=server.port)
            sent = httpx.Request(request.method, url, headers=request.headers.raw, stream=request.stream)
            try:
                response = self._open().handle_request(sent)
            except httpx.RemoteProtocolError:
                self._end()
                raise
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
            if self._runs and self._runs[0].sent:
                headers = compare(self._runs[0].sent, headers)
            stream = Stream(response.stream, self._end)
            return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

        def _connect(self, scheme: str) -> tuple[socket.socket, Run]:
            """Connect for a WebSocket."""
            Server.requests += 1
            server = self._server or Server.shared(asgi_app, "asgi")
            here, there = (self._address, 0), ("127.0.0.1", server.port)
            connection = socket.create_connection(there, timeout=TIMEOUT, source_address=here)
            run = self._websockets[connection.getsockname()[1]] = Run(scheme)
            return connection, run

        def _end(self) -> None:
            for run in self._runs:
                try:
                    run.wait()
                except Exception:
                    if self.raise_server_exceptions:
                        raise

    def enter(self: Any) -> Any:
        self._transport.begin()
        return self

    def leave(self: Any, *args: Any) -> None:
        self._transport.close()

    testclient._TestClientTransport = Transport
    testclient.TestClient.__enter__ = enter
    testclient.TestClient.__exit__ = leave


# ----- pytest

_results: dict[str, list[Any]] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Replace the clients before anybody imports them; the server's log goes to a file, which tests do not see."""
    logger = logging.getLogger("trio_uwsgi")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.FileHandler(REPORT.with_suffix(".log"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    # Trio warns of asynchronous generators that were not exhausted; the suites' own clients have asyncio run most.
    line = "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"
    config.addinivalue_line("filterwarnings", line)
    if MODE == "own":
        return
    if MODE == "inline":
        serve: Any = sys.modules["trio_uwsgi.serve"]  # not the function of this name
        serve.Application = functools.partial(_without_threads, serve.Application)
    werkzeug.test.run_wsgi_app = run_over_socket
    replace_starlettes_transport()


def _without_threads(make: Any, app: object, interface: str, threads: int, *, multithread: bool) -> Any:
    return make(app, interface, 0, multithread=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Ours runs applications of Trio, so the tests that are there for asyncio too are left out."""
    left = [item for item in items if "asyncio" in item.name.partition("[")[2]]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note how each test ended."""
    report = yield
    known = _results.setdefault(item.nodeid, ["passed", 0, ""])
    if report.when == "call" and not report.failed:
        known[0] = report.outcome
    if report.skipped:
        known[0] = "skipped"
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        known[0], known[2] = "failed", str(crash.message if crash else report.longrepr)[:2000]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count what it asks over a socket; a server that ended by itself fails it."""
    before = Server.requests
    Server.test = item.nodeid
    logging.getLogger("trio_uwsgi").info("----- %s", item.nodeid)
    try:
        yield
    finally:
        known = _results.setdefault(item.nodeid, ["passed", 0, ""])
        known[1] = Server.requests - before
        while _open_clients:
            _open_clients.pop().hang_up()
        Server.check()


def pytest_sessionfinish() -> None:
    """End the servers and write the report."""
    for server in Server.running.values():
        server.stop()
    REPORT.write_text(json.dumps(_results))
