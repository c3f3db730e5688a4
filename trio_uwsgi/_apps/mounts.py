"""Several applications under prefixes of the path, as one application.

What is left of the prefix is the path that an application gets, and the prefix is its SCRIPT_NAME or `root_path`. Each
ASGI application has a lifespan of its own; they start in the order of the prefixes, and end in reverse.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._apps.interface import detect_interface
from trio_uwsgi._apps.root_path import is_below
from trio_uwsgi._units.journal import summary
from trio_uwsgi.config.values import is_path_prefix
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from trio_uwsgi._apps.asgi_exchange import AsgiApp, Message, Receive, Send

__all__ = ["mount"]

logger = logging.getLogger("trio_uwsgi")

_NOT_FOUND = b"no application is mounted here\n"


def mount(apps: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:  # Any: WSGI or ASGI, as they are
    """Make one application of several, each under a prefix of the path.

    A request goes to the application with the longest prefix that consists of whole segments of its path: of `/shop`
    and `/shop/api`, `/shop/api/1` goes to the second, and `/shopping` to neither. The application gets the prefix as
    SCRIPT_NAME (WSGI) or `root_path` (ASGI), so that Flask's and Starlette's `url_for` are right. A front server that
    has taken a prefix off the path, and names it as SCRIPT_NAME, names the application. A path that belongs to none is
    answered with 404.

    Args:
        apps: applications by prefix, as in `{"": site, "/shop": shop}`; "" is the application for all other paths.
            All are WSGI, or all are ASGI.
    Returns:
        The application. Make it at the top level of a module, like any other.
    Raises:
        ConfigError: a prefix or an application is not valid, or they are of both kinds.
    Checkpoint: never.
    uWSGI: `--mount` with `--manage-script-name`, on the command line `--mount /shop=module:app` here, too.
    Example:
        app = mount({"": site, "/shop": shop})
    """
    for prefix in apps:
        if prefix and not is_path_prefix(prefix):
            raise ConfigError(f"{prefix!r} is not a prefix of a path", "write '/shop', or '' for all other paths")
    if not apps:
        raise ConfigError("no application is mounted", "write mount({'/shop': shop})")
    kinds = {detect_interface(app) for app in apps.values()}
    if len(kinds) > 1:
        raise ConfigError("WSGI and ASGI applications are mounted together", "mount either, in servers of their own")
    ordered = {prefix: apps[prefix] for prefix in sorted(apps, key=len, reverse=True)}
    return _AsgiMounts(ordered) if kinds == {"asgi"} else _WsgiMounts(ordered)


def _name(prefixes: Iterable[str]) -> str:
    """What the log calls the application."""
    return f"mounted at {', '.join(sorted(prefix or '/' for prefix in prefixes))}"


def _chosen(prefixes: Iterable[str], root: str, path: str) -> tuple[str, str] | None:
    """The prefix whose application gets a request, and what is taken off the path; None: there is no such application.

    A front server may have taken the prefix off the path already, and say it as `root`, as with modifier 30.
    """
    for prefix in prefixes:
        if prefix and is_below(prefix, path):
            return prefix, prefix
    return next(((prefix, "") for prefix in (root, "") if prefix in prefixes), None)


class _WsgiMounts:
    def __init__(self, apps: Mapping[str, WSGIApplication]) -> None:
        # PEP 3333 has the bytes of a path as latin-1.
        self._apps = {prefix.encode().decode("latin-1"): app for prefix, app in apps.items()}
        self.__qualname__ = _name(apps)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if (found := _chosen(self._apps, environ["SCRIPT_NAME"], path)) is not None:
            prefix, removed = found
            environ["SCRIPT_NAME"] += removed
            environ["PATH_INFO"] = path[len(removed) :]
            return self._apps[prefix](environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [_NOT_FOUND]


class _AsgiMounts:
    def __init__(self, apps: Mapping[str, AsgiApp]) -> None:
        self._apps = {prefix: (app, dict[str, object]()) for prefix, app in apps.items()}  # with its lifespan's state
        self.__qualname__ = _name(apps)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespans(receive, send)
            return
        root = scope["root_path"]
        path = scope["path"].removeprefix(root)
        if (found := _chosen(self._apps, root, path)) is not None:
            prefix, removed = found
            app, state = self._apps[prefix]
            scope["root_path"] = root + removed
            scope["state"] = state.copy()
            await app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": _NOT_FOUND})

    async def _lifespans(self, receive: Receive, send: Send) -> None:
        await receive()
        lifespans: list[_Lifespan] = []
        async with trio.open_nursery() as nursery:
            for app, state in reversed(self._apps.values()):
                lifespans.append(lifespan := _Lifespan(app, state))
                failure = await nursery.start(lifespan.run)
                if failure is not None:
                    break
            if failure is None:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            problems = [problem for lifespan in reversed(lifespans) if (problem := await lifespan.shutdown())]
        if failure is not None:
            await send({"type": "lifespan.startup.failed", "message": failure})
        elif problems:
            await send({"type": "lifespan.shutdown.failed", "message": "; ".join(problems)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


class _Lifespan:
    """The lifespan of one of several applications."""

    def __init__(self, app: AsgiApp, state: dict[str, object]) -> None:
        self._app = app
        self._state = state
        self._stop = trio.Event()
        self._ended = trio.Event()
        self._began = self._answered = False
        self._problem = ""
        self._status: trio.TaskStatus[str | None]

    async def run(self, *, task_status: trio.TaskStatus[str | None]) -> None:
        """Run it; started with None once it is up, or the application has none, and with a text if it failed."""
        self._status = task_status
        scope: Message = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            if self._began:  # otherwise it has no lifespan
                logger.error("the lifespan of a mounted application failed: %s", summary(error), exc_info=error)
                self._problem = self._problem or summary(error)
        finally:
            self._ended.set()
        if not self._answered:
            self._status.started(self._problem or None)

    async def shutdown(self) -> str:
        """Let the application shut down; the text says what failed."""
        self._stop.set()
        await self._ended.wait()
        return self._problem

    async def _receive(self) -> Message:
        if not self._began:
            self._began = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            self._problem = str(message.get("message", "")) or "it gave no reason"
        if kind.startswith("lifespan.startup.") and not self._answered:
            self._answered = True
            self._status.started(self._problem or None)
