"""What a service needs of others: drivers, which run applications, and acceptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._http.session import Session

__all__ = ["Acceptor", "Driver", "OneAtATime"]


class Driver(Protocol):
    """Runs one application for many exchanges: `_apps/asgi.py` or `_apps/wsgi_threads.py`."""

    @property
    def exchange_type(self) -> Callable[[Session, Request], Exchange]:
        """The class of this driver's exchanges."""

    def begin(self, exchange: Exchange) -> None:
        """Start the application for this exchange. Must not run it before returning."""

    def cancel(self, exchange: Exchange) -> None:
        """Cancel the application's work for this exchange, as far as possible."""

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Own the tasks or threads that run the application, until cancelled."""


class OneAtATime(Protocol):
    """A driver that begins a request when the one before has ended."""

    @property
    def occupied(self) -> bool:
        """Does a request run?"""

    async def until_free(self) -> None:
        """Wait until the request that runs has ended."""


class Acceptor(Protocol):
    """Accepts connections for a service; starts paused if the service is paused."""

    def stop_accepting(self) -> None:
        """Accept the connections that are known to wait, and then no more."""

    def pause_accepting(self, paused: bool) -> None:
        """Leave new connections in the kernel's queue, or accept again."""
