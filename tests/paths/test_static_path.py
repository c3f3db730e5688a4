"""Static files through the whole runtime, on mock time: beside ASGI and WSGI applications, in every placement."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

BIG = random.Random(14).randbytes(400_000)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Sends the file of the query by its path, or says that it was asked."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["query_string"]:
        await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})
    else:
        await send({"type": "http.response.body", "body": b"asked"})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Wraps the file of the query, or says that it was asked."""
    start_response("200 OK", [])
    if environ["QUERY_STRING"]:
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))  # noqa: SIM115
        return wrapped
    return [b"asked"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a big and a small file."""
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "small.css").write_bytes(b"p {}")
    return tmp_path


@all_placements
@pytest.mark.parametrize("app", [asgi, wsgi])
async def test_files_beside_an_application(
    placement: Placement, app: Any, folder: Path, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Files are served without the application, which serves everything else, and its own files; all are counted."""
    config = Config(
        lifespan="off",
        placement=placement,
        static_map={"/static": str(folder)},
        static_expires={r"\.css$": 60},
        harakiri=5,
    )
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        for path, body in (
            ("/static/small.css", b"p {}"),
            ("/static/big.bin", BIG),
            (f"/?{folder}/big.bin", BIG),
            (f"/?{folder}/small.css", b"p {}"),
            ("/static/none", b"asked"),
            ("/", b"asked"),
        ):
            response = await runtime.client.get(path)
            assert (200, body) == (response.status_code, response.content)
            assert ("cache-control" in response.headers) == (path == "/static/small.css")
        response = await runtime.client.get("/static/big.bin", headers={"range": "bytes=-5"})
        assert (206, BIG[-5:]) == (response.status_code, response.content)
        assert 404 == (await runtime.client.get("/static/%2e%2e/secret")).status_code
        (numbers,) = runtime.statistics().http
        assert (8, 0) == (numbers.requests, numbers.running)
