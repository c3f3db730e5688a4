"""Libraries that were written for uWSGI, unmodified: each request calls one function, and gets its answer as a literal.

Run with the interpreter of the suites' environment, which has them. `CACHELIB` is the folder of cachelib's sources.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import flask
import pytest
import sentry_sdk
from flask_caching import Cache

with warnings.catch_warnings(record=True) as _heard:
    warnings.simplefilter("always")
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", default_integrations=False)

pages = flask.Flask(__name__)
cache = Cache(pages, config={"CACHE_TYPE": "flask_caching.contrib.uwsgicache.UWSGICache", "CACHE_UWSGI_NAME": "pages"})
calls = 0


@pages.get("/cached")
@cache.cached(timeout=60)
def cached() -> str:
    """A page that counts how often it was made."""
    global calls
    calls += 1
    return f"made {calls}"


@cache.memoize(60)
def double(number: int) -> int:
    """A function that counts how often it ran."""
    global calls
    calls += 1
    return number * 2


def flask_caching() -> object:
    """The page twice, a function twice, and again after the cache was cleared; with the cache's own calls."""
    client = pages.test_client()
    with pages.app_context():
        seen: list[object] = [client.get("/cached").text, client.get("/cached").text]
        seen += [double(4), double(4), calls]
        cache.delete_memoized(double)
        seen += [
            double(4),
            calls,
            cache.set_many({"a": 1, "b": None}),
            cache.get_many("a", "b", "none"),
            cache.has("a"),
        ]
        seen += [cache.add("a", 2), cache.delete("a"), cache.get("a"), cache.clear(), client.get("/cached").text]
    return seen


def sentry() -> object:
    """What the SDK warned of when it began, and whether its thread for events runs in this process."""
    client = sentry_sdk.get_client()
    sent: list[object] = []
    assert client.transport is not None
    client.transport.capture_envelope = sent.append
    sentry_sdk.capture_message("hello")
    return [str(heard.message) for heard in _heard], client.is_active(), len(sent)


def cachelib() -> object:
    """cachelib's own tests of its uWSGI cache: pytest's exit code, and what it printed."""
    os.chdir(os.environ["CACHELIB"])
    said = io.StringIO()
    options = ["-q", "-rA", "--tb=short", "-p", "no:timeout", "-p", "no:cacheprovider", "-p", "no:trio_uwsgi"]
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # the server has imported its own plugin of pytest
    with contextlib.redirect_stdout(said):
        code = pytest.main([*options, "-p", "no:faulthandler", *quiet, "tests/test_uwsgi_cache.py"])
    return int(code), said.getvalue()


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Call the function that the path names."""
    answer = repr(getattr(sys.modules[__name__], environ["PATH_INFO"][1:])())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
