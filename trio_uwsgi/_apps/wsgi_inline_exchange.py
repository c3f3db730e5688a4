"""An exchange whose WSGI application runs on Trio's own thread; `wsgi_inline.py` runs it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

import trio

from trio_uwsgi._apps.wsgi_exchange import WsgiExchange
from trio_uwsgi._http.early_hints import write_hints
from trio_uwsgi._http.file_sending import begin_file, end_file, file_parts
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi.errors import CannotWait, Harakiri

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_inline import InlineDriver
    from trio_uwsgi._http.open_file import OpenFile

__all__ = ["InlineExchange", "greenback"]

# An extra. Any: it is a module, or None.
greenback: Any = importlib.import_module("greenback") if importlib.util.find_spec("greenback") else None

# Seconds that another thread of the application waits until Trio's thread is free. If the request's code waits for that
# thread without greenback, Trio's thread is never free.
TRIO_WAIT = 1.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


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
            CannotWait: greenback is not installed; or, in another thread, the request's code blocks Trio.
        """
        if threading.get_ident() != self.thread:
            return self._call_from_other_thread(func, *args)
        if not self._inline.portal:
            name = getattr(func, "__qualname__", repr(func))
            raise CannotWait(name, "install greenback (trio-uwsgi[greenback]), or set threads=1 or more (--threads 1)")
        result: T = greenback.await_(func(*args))
        return result

    def _call_from_other_thread(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        token = self.session.service.token
        free = threading.Event()
        token.run_sync_soon(free.set)
        if not self._inline.portal or not free.wait(TRIO_WAIT):
            raise CannotWait(
                "a thread that reads wsgi.input or writes while the request's own code blocks Trio",
                "set threads=1 or more (--threads 1), or wait for that thread with "
                "sync.wait(trio.to_thread.run_sync, thread.join), which needs greenback (trio-uwsgi[greenback])",
            )
        return trio.from_thread.run(func, *args, trio_token=token)

    def next_body(self) -> bytes:
        """As `Exchange.receive_body`."""
        if self._inline.portal or threading.get_ident() != self.thread:
            return self.call_trio(self.receive_body)
        while (body := self.body_at_hand()) is None:
            self.ask_for_body()
            self._block(False)
        return body

    def piece_at_hand(self) -> bytes | None:
        """As `WsgiExchange.piece_at_hand`."""
        if self._inline.portal or threading.get_ident() != self.thread:
            return super().piece_at_hand()
        if not self.request.complete:
            self.session.block(False, 0)
        return self._taken_piece()

    def piece_arrives(self, seconds: float) -> bool:
        """As `WsgiExchange.piece_arrives`. Without greenback the process waits."""
        if self._inline.portal or threading.get_ident() != self.thread:
            return super().piece_arrives(seconds)
        now = self.session.service.clock
        deadline = now() + seconds
        while not (self._has_read_ahead() or self.request.buffered or self.request.complete or self.gone):
            self.ask_for_body()
            if now() >= deadline or not self.session.block(False, deadline - now()):
                return False
        return True

    def deliver_soon(self, data: bytes, more: bool) -> None:
        """Deliver at once."""
        if not self.over:
            self.deliver(data, more)

    def hint_soon(self, data: bytes) -> None:
        """Send early hints at once."""
        write_hints(self, data)

    def respond(self, result: Iterable[bytes]) -> bytes | None:
        """As `WsgiExchange.respond`."""
        self.whole = isinstance(result, (list, tuple, bytes))  # a union is made anew for each request
        return super().respond(result)

    def send_file(self, file: OpenFile, offset: int, count: int, more: bool = False) -> None:
        """As `WsgiExchange.send_file`. Without greenback the process waits for the disk and the client."""
        if self._inline.portal or threading.get_ident() != self.thread:
            super().send_file(file, offset, count, more)
            return
        after = begin_file(self, count, more)
        if after is None:
            return
        for start, size in file_parts(offset, count, self.session.file_part):
            self.session.write_file(file, start, size)
            while self.session.pending > HIGH_WATER and not self.over:
                self._block(True)
            if self.over:
                break
        end_file(self, after, more)

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        if threading.get_ident() != self.thread:
            self.call_trio(self._deliver_and_wait, data)
            return
        self.deliver(data, True)
        while not self.whole and self.session.pending > HIGH_WATER and not self.over:
            if self._inline.portal:
                self.call_trio(self.wait_for_space)
            else:
                self._block(True)
        if self.lost:
            self.deliver(b"", True)  # raises the fitting error

    def _block(self, writing: bool) -> None:
        """Block the process until this client is ready, within `socket_timeout` and the deadlines of the request."""
        service = self.session.service
        now = service.clock()
        client_limit = service.options.timeouts.socket
        left = min(client_limit, self.option_deadline - now, self.user_deadline - now)
        if left > 0 and self.session.block(writing, left):
            return
        if left < client_limit:
            raise Harakiri(self.member.name, self.what, service.clock() - self.started, "a wait for its client")
        self.session.stalled()
