"""The stats server, and its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.compat.modes import all_modes
from trio_uwsgi import Cache, Config, Metric, Registry, serve
from trio_uwsgi import uwsgi as api
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._runtime import stats_server
from trio_uwsgi._runtime.stats_page import stats_json
from trio_uwsgi._runtime.stats_server import HTTP_HEAD, serve_stats
from trio_uwsgi.config import Address
from trio_uwsgi.config.connections import SocketOptions
from trio_uwsgi.errors import ConfigError
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

FIXTURE = Path(__file__).parents[1] / "fixtures" / "uwsgi" / "stats_full.json"


def page_of(runtime: RuntimeUnderTest) -> Any:  # Any: JSON
    return json.loads(stats_json(runtime.runtime._tree))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A default registry of the test's own."""
    monkeypatch.setattr(api, "registry", registry := Registry())
    return registry


@all_modes
async def test_the_page(
    mode: dict[str, object], registry: Registry, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """It has uWSGI's fields, in their order, and no others; and what workers, spoolers, caches and locks do."""
    config = Config(
        workers=2,
        spooler=str(tmp_path / "jobs"),
        caches=[Cache("c1", items=10)],
        metrics=[Metric("load", type="gauge", initial_value=4)],
        locks=1,
        **mode,  # type: ignore[arg-type]
    )

    def locked() -> None:
        from trio_uwsgi import sync

        with sync.locked(1):
            sync.wait(trio.sleep, 5)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        api.cache().set("key", "value")
        api.cache().get("key")
        if environ["PATH_INFO"] == "/locked":
            locked()
        start_response("200 OK", [])
        return [b"hello"]

    async with open_runtime(app, config) as runtime, trio.open_nursery() as nursery:
        for _ in range(3):
            await runtime.client.get("/")
        await trio.sleep(1)
        idle = page_of(runtime)
        nursery.start_soon(runtime.client.get, "/locked")
        await trio.sleep(1)
        busy = page_of(runtime)
    theirs = json.loads(FIXTURE.read_text())
    assert [name for name in theirs if name not in ("daemons", "crons")] == list(idle)
    for part in ("caches", "sockets", "workers", "spoolers"):
        for ours in idle[part]:
            assert list(theirs[part][0]) == list(ours)
    for part in ("apps", "cores"):
        assert list(theirs["workers"][0][part][0]) == list(idle["workers"][0][part][0])
    assert {"load": {"type": 1, "oid": "", "value": 4}} == idle["metrics"]
    assert [{"user 0": 0}, {"user 1": 0}] == idle["locks"]
    cache = idle["caches"][0]
    assert (1, 10, 65536) == (cache["items"], cache["max_items"], cache["blocksize"])
    assert [1, 2] == [worker["id"] for worker in idle["workers"]]
    assert ["idle", "idle"] == [worker["status"] for worker in idle["workers"]]
    assert (3, 15) == tuple(sum(worker[name] for worker in idle["workers"]) for name in ("requests", "tx"))
    assert all(worker["accepting"] and worker["rss"] and worker["respawn_count"] == 1 for worker in idle["workers"])
    spooler = idle["spoolers"][0]
    assert (0, 0, 0) == (spooler["tasks"], spooler["respawns"], spooler["running"])
    assert spooler["pid"]
    assert ["busy", "idle"] == sorted(worker["status"] for worker in busy["workers"])
    worker = next(worker for worker in busy["workers"] if worker["status"] == "busy")
    assert {"user 1": worker["pid"]} == busy["locks"][1]
    assert 1 == worker["cores"][0]["in_request"]
    if "placement" not in mode:
        core = worker["cores"][0]
        assert {"REQUEST_METHOD=GET", "PATH_INFO=/locked", ""} <= set(core["vars"])
        assert core["req_info"]["request_start"] > 0


async def test_the_server(tmp_path: Path) -> None:
    """Whoever connects gets a page and the end of the connection, over TCP and unix sockets; HTTP clients a head."""
    async with trio.open_nursery() as nursery:
        config = Config(http="127.0.0.1:0", stats=["127.0.0.1:0", str(tmp_path / "stats")])
        runtime = await nursery.start(serve, _app, config)
        streams = [
            await trio.open_tcp_stream("127.0.0.1", runtime.stats_addresses[0].port),
            await trio.open_unix_socket(str(tmp_path / "stats")),
        ]
        for stream in streams:
            assert "workers" in json.loads(await _read(stream))
        runtime.stop()
    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(serve, _app, Config(http=(), stats="127.0.0.1:0", stats_http=True))
        stream = await trio.open_tcp_stream("127.0.0.1", runtime.stats_addresses[0].port)
        await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        answer = await _read(stream)
        assert answer.startswith(HTTP_HEAD)
        assert "workers" in json.loads(answer.removeprefix(HTTP_HEAD))
        runtime.stop()


@pytest.mark.parametrize(("limit", "page"), [("SECONDS", bytes(20_000_000)), ("LAST_SECONDS", b"page")])
async def test_slow_clients_are_dropped(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, limit: str, page: bytes
) -> None:
    """A client that stays is dropped after a time, sooner when it has everything; until then the next ones wait."""
    for name in ("SECONDS", "LAST_SECONDS"):
        monkeypatch.setattr(stats_server, name, 5 if name == limit else 1000)
    monkeypatch.setattr(stats_server, "CLIENTS", 1)
    options = SocketOptions(backlog=10, mode=None)
    async with open_listeners([Address.parse("127.0.0.1:0")], options) as listeners, trio.open_nursery() as nursery:
        nursery.start_soon(_serve_forever, listeners, page)
        port = listeners[0].address.port
        slow = await trio.open_tcp_stream("127.0.0.1", port)
        assert page[:4] == await slow.receive_some(4)
        others = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5)
        for stream in others:  # the clock stands still, so none of these is slow
            assert len(page) == len(await _read(stream))
        await slow.aclose()
        nursery.cancel_scope.cancel()


def test_http_needs_an_address() -> None:
    """`stats_http` alone is a mistake."""
    with pytest.raises(ConfigError, match=r"stats='127\.0\.0\.1:9191'"):
        Config(stats_http=True)


def _app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


async def _serve_forever(listeners: Any, page: bytes = b"page") -> None:
    await serve_stats(listeners, lambda: page, http=False)


async def _read(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(60):
        async with stream:
            return b"".join([piece async for piece in stream])
