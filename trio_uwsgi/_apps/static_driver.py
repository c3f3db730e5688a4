"""Answers requests for static files before the application is asked, in the tasks of `runners.py`.

It stands in front of the application's driver where static files are configured, and nowhere else. A request gets an
exchange of this driver only if a file answers it, as far as that is known without waiting for a disk; any other gets
one of the application's driver at once. If a thread then finds that there is no file, the application's driver takes
the request over.

The time limit of requests (harakiri) does not apply to files: they run no user code, and a client that makes progress
may take as long as it needs. One that does not is disconnected after `socket_timeout`.
"""

from __future__ import annotations

import errno
import logging
import math
import secrets
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._apps.runner_exchange import RunnerExchange
from trio_uwsgi._apps.runners import Runner, RunnerDriver
from trio_uwsgi._http.file_answers import FileAnswer, answer_file
from trio_uwsgi._http.file_sending import send_file
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.open_file import OpenFile, in_reader
from trio_uwsgi._http.static_files import Found, StaticFiles
from trio_uwsgi.errors import ClientDisconnected

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.interfaces import Driver
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._http.session import Session
    from trio_uwsgi.config.static import StaticOptions

__all__ = ["StaticDriver", "with_static_files"]

logger = logging.getLogger("trio_uwsgi")


class StaticExchange(RunnerExchange):
    """An exchange that a file answers; `found` is None until a thread has looked for it."""

    __slots__ = ("found",)

    found: Found | FileAnswer | None


def with_static_files(driver: Driver, options: StaticOptions | None) -> Driver:
    """The driver of an application, behind one for static files if there are any."""
    return driver if options is None or not options.in_use else StaticDriver(driver, options)


class StaticDriver(RunnerDriver[StaticExchange]):
    """A driver in front of the application's.

    Args:
        app: the driver of the application.
        options: where the files are.
    """

    def __init__(self, app: Driver, options: StaticOptions) -> None:
        super().__init__()
        self._app = app
        self._files = StaticFiles(options)

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._files.warn()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._app.serve, service)
            await super().serve(service, task_status=task_status)

    def exchange_type(self, session: Session, request: Request) -> Exchange:
        """Make the exchange of a request."""
        if request.method in ("GET", "HEAD"):
            try:
                found = self._files.look(request, wait=False)
            except OSError:  # BlockingIOError; others come again when it is repeated
                found = None
            else:
                if found is None:
                    return self._app.exchange_type(session, request)
            exchange = StaticExchange(session, request)
            exchange.found = found
            exchange.option_deadline = math.inf
            return exchange
        return self._app.exchange_type(session, request)

    def begin(self, exchange: Exchange) -> None:
        """Answer with a file, or have the application's driver begin."""
        if isinstance(exchange, StaticExchange):
            self._service.harakiri.discard(exchange)
            super().begin(exchange)
        else:
            exchange.driver = self._app
            self._app.begin(exchange)

    async def _run(self, runner: Runner, exchange: StaticExchange) -> None:
        # The task keeps its last exchange while it has nothing to do; the file must not stay open for so long.
        found, exchange.found = exchange.found, None
        if exchange.cancelled or exchange.over:
            return
        try:
            if found is None:
                found = await in_reader(partial(self._files.look, exchange.request, wait=True))
            if found is not None:
                await _answer(exchange, found)
        except ClientDisconnected:
            exchange.drop()
        except OSError as error:
            logger.error("%s: %s: the file cannot be read: %s", exchange.member.name, exchange.what, error)
            exchange.cut(500, "Internal Server Error")
        else:
            if found is None and not exchange.over:
                self._service.hand_over(exchange, self._app)


async def _answer(exchange: StaticExchange, found: Found | FileAnswer) -> None:
    file: OpenFile | None = None
    request = exchange.request
    if isinstance(found, FileAnswer):
        answer = found
    else:
        file = found.file
        answer = answer_file(request.method, request.headers, found.facts, _boundary)
    exchange.start(answer.status, answer.headers)
    pieces = answer.pieces or [b""]
    for number, piece in enumerate(pieces, 1):
        more = number < len(pieces)
        if not isinstance(piece, bytes):
            assert file is not None
            if piece[1] > HIGH_WATER or (more and exchange.response.bodyless):
                await send_file(exchange, file, *piece, more)
                continue
            piece = await _read(file, *piece) if not exchange.response.bodyless else b""
        if more:
            await exchange.send_piece(piece)
        else:
            exchange.complete(piece)


async def _read(file: OpenFile, offset: int, count: int) -> bytes:
    data = await file.read(offset, count)
    if len(data) < count:
        raise OSError(errno.EIO, "it was truncated while it was sent")
    return data


def _boundary() -> bytes:
    return secrets.token_hex(10).encode()
