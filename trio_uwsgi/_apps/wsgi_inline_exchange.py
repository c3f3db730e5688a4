"""An exchange whose WSGI application runs on Trio's own thread; `wsgi_inline.py` runs it."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, cast

import greenback
import trio
from mypy_extensions import mypyc_attr

from trio_uwsgi._apps.wsgi_exchange import WsgiExchange
from trio_uwsgi._http.early_hints import write_hints
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi.errors import CannotWait

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_inline import InlineDriver

__all__ = ["InlineExchange"]

# Seconds that another thread of the application waits until Trio's thread is free. If the request's code joins that
# thread, Trio's thread is never free.
TRIO_WAIT: Final = 1.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@mypyc_attr(allow_interpreted_subclasses=True)
class InlineExchange(WsgiExchange):
    """An exchange whose application runs on Trio's thread, and so delivers directly."""

    __slots__ = ("whole",)

    whole: bool  # the application returned the whole response, so waiting for the client would save no memory

    @property
    def _inline(self) -> InlineDriver:
        return cast("InlineDriver", self.driver)

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`. The watchdog ends code that blocks past it."""
        self.user_deadline = deadline
        self._inline.limit(self, deadline)

    def call_trio(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run an async function through greenback; or from another thread, while the request waits through greenback.

        Raises:
            CannotWait: in another thread, the request's code blocks Trio.
        """
        if threading.get_ident() != self.thread:
            return self._call_from_other_thread(func, *args)
        return greenback.await_(func(*args))

    def _call_from_other_thread(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        token = self.session.service.token
        free = threading.Event()
        token.run_sync_soon(free.set)
        if not free.wait(TRIO_WAIT):
            raise CannotWait(
                "a thread that reads wsgi.input or writes while the request's own code blocks Trio",
                "wait for that thread with sync.wait(trio.to_thread.run_sync, thread.join), or set threads=1 or more "
                "(--threads 1)",
            )
        return trio.from_thread.run(func, *args, trio_token=token)

    def deliver_soon(self, data: bytes, more: bool) -> None:
        """Deliver at once."""
        if not self.over:
            self.deliver(data, more)

    def hint_soon(self, data: bytes) -> None:
        """Send early hints at once."""
        write_hints(self, data)

    def respond(self, result: Iterable[object]) -> bytes | None:
        """As `WsgiExchange.respond`."""
        self.whole = isinstance(result, (list, tuple, bytes))  # a union is made anew for each request
        return super().respond(result)

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        if threading.get_ident() != self.thread:
            self.call_trio(self._deliver_and_wait, data)
            return
        self.deliver(data, True)
        while not self.whole and self.session.pending > HIGH_WATER and not self.over:
            self.call_trio(self.wait_for_space)
        if self.lost:
            self.deliver(b"", True)  # raises the fitting error
