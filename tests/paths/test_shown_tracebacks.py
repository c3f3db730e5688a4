"""`catch_exceptions` on its whole way: from the option to what a client reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest

from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:  # Any: as ASGI has them
    """Fails."""
    raise ValueError("x < y")


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Fails."""
    raise ValueError("x < y")


@pytest.mark.parametrize("app", [asgi, wsgi])
async def test_a_client_reads_the_traceback(app: Callable[..., Any], autojump_clock: object) -> None:
    """With the option it is the body of the answer, as plain text; without it the client learns nothing."""
    for shown in (True, False):
        lifespan: Literal["auto", "off"] = "auto" if app is wsgi else "off"
        config = Config(http=[], catch_exceptions=shown, lifespan=lifespan)
        async with open_runtime(app, config, allow_failures=True) as runtime:
            response = await runtime.client.get("/")
        assert (500, "text/plain; charset=utf-8") == (response.status_code, response.headers["content-type"])
        assert shown == response.text.startswith("Traceback (most recent call last):")
        assert shown == response.text.endswith("ValueError: x < y\n")
        assert shown == (f"in {app.__name__}\n" in response.text)
