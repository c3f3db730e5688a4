"""Log variables, from `set_logvar` to the access log, in applications of each kind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements, first_placement, task_placements
from trio_uwsgi import Config, Metric, Registry, uwsgi
from trio_uwsgi.errors import NotServing
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock


def note(path: str, seen: list[bytes | None] | Notes[bytes | None]) -> None:
    """What each of the applications does in a request."""
    if path != "/plain":
        uwsgi.set_logvar("user", "first")
        uwsgi.set_logvar("who", "é")
        uwsgi.set_logvar("who", path.encode())
        seen.append(uwsgi.get_logvar("who"))
    if path == "/asked":
        uwsgi.log_this_request()
    seen.append(uwsgi.get_logvar("other"))


def asgi(seen: Any) -> Any:  # Any: an application
    """An application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            note(scope["path"], seen)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    return app


def wsgi(seen: Any) -> Any:  # Any: an application
    """An application."""

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        note(environ["PATH_INFO"], seen)
        start_response("200 OK", [])
        return iter([b"ok"])

    return app


@first_placement
@pytest.mark.parametrize(("make", "threads"), [(asgi, 0), (wsgi, 2), (wsgi, None)])
async def test_variables_of_a_request(
    placement: Placement,
    make: Callable[[Any], Any],
    threads: int | None,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are in its own line only; one that is set again has its last value."""
    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    seen: Notes[bytes | None] = Notes()
    config = Config(placement=placement, threads=threads or None, log_format="%(uri) %(who) %(var.HTTP_X)")
    async with open_runtime(make(seen), config) as runtime:
        await runtime.client.get("/a", headers={"X": "y"})
        await runtime.client.get("/plain")
        await trio.sleep(1)
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
    assert ["/a /a y", "/plain - -"] == lines
    assert [b"/a", None, None] == seen


@first_placement
@pytest.mark.parametrize(("make", "threads"), [(asgi, 0), (wsgi, 2), (wsgi, None)])
async def test_sizes_and_numbers(
    placement: Placement,
    make: Callable[[Any], Any],
    threads: int | None,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The head is counted as it is sent; requests are numbered; metrics have their number."""
    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    config = Config(placement=placement, threads=threads or None, log_format="uwsgi")
    heads = []
    async with open_runtime(make(Notes()), config) as runtime:
        for _ in range(2):
            response = await runtime.client.get("/plain")
            sent = [b"%b: %b\r\n" % header for header in response.headers.raw]
            heads.append((len(sent), len(b"HTTP/1.1 200 OK\r\n" + b"".join(sent) + b"\r\n")))
            await trio.sleep(1)
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
    for number, (line, head) in enumerate(zip(lines, heads, strict=True), 1):
        assert f"|req: {number}/{number}]" in line
        assert f"{head[0]} headers in {head[1]} bytes" in line
        assert "GET /plain => generated 2 bytes in 0 msecs (HTTP/1.1 200)" in line


@task_placements("its metrics and its mistakes are those of a member, which are the same in a process")
async def test_metrics_and_answers_of_the_server(
    placement: Placement, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A response of the server itself is measured, too."""
    caplog.set_level(logging.INFO, "trio_uwsgi.access")

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        uwsgi.metric_inc("orders")
        raise ValueError("a mistake")

    form = "%(metric.orders) %(metric.other) %(size) %(hsize) %(rsize) %(headers)"
    config = Config(placement=placement, log_format=form, metrics=[Metric("orders")])
    async with open_runtime(app, config, allow_failures=True) as runtime:
        response = await runtime.client.get("/")
        await trio.sleep(1)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
    orders, other, size, hsize, rsize, headers = line.split()
    assert ("1", "-") == (orders, other)
    assert (len(response.content), len(response.headers)) == (int(rsize), int(headers))
    assert int(size) == int(hsize) + int(rsize)


@all_placements
async def test_requests_that_ask_to_be_logged(
    placement: Placement, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """They are, although the access log is disabled; the others are not, before and after."""
    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    config = Config(placement=placement, disable_logging=True, log_format="%(uri)")
    seen: Notes[bytes | None] = Notes()
    async with open_runtime(asgi(seen), config) as runtime:
        for path in ("/a", "/asked", "/b", "/asked", "/plain"):
            await runtime.client.get(path)
        await trio.sleep(1)
    assert ["/asked", "/asked"] == [r.getMessage() for r in caplog.records if r.name == "trio_uwsgi.access"]


async def test_outside_of_requests(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """There is no line to change, so an error says where there is; values are checked."""
    errors: list[str] = []

    @uwsgi_registry.signal_handler(1)
    async def handle(signum: int) -> None:
        calls: list[Callable[[], object]] = [
            lambda: uwsgi.set_logvar("a", "b"),
            lambda: uwsgi.get_logvar("a"),
            uwsgi.log_this_request,
        ]
        for call in calls:
            with pytest.raises(NotServing, match="call it in a request") as caught:
                call()
            errors.append(str(caught.value))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            with pytest.raises(TypeError, match="the name of a log variable is a str"):
                uwsgi.set_logvar(1, "x")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="the value of a log variable is a str or bytes, not 7"):
                uwsgi.set_logvar("x", 7)  # type: ignore[arg-type]
            await asgi(errors)(scope, receive, send)

    async with open_runtime(app, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        assert 3 == len(errors)
        assert all("uwsgi." in error for error in errors)
        assert 200 == (await runtime.client.get("/plain")).status_code
    with pytest.raises(NotServing):
        uwsgi.get_logvar("a")
