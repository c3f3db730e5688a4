"""What all connections of one worker share: drivers, limits, deadlines, counters, and how they drain.

The transports (`reactor.py` for sockets, `connection.py` for any stream) make sessions with it; `session.py` is one
connection. `serve` runs the tasks of the drivers, the deadlines and the access log.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from email.utils import formatdate
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import trio

from trio_uwsgi._http.access_log import AccessLog
from trio_uwsgi._http.deadlines import Deadlines
from trio_uwsgi._http.forwarded import Proxies
from trio_uwsgi._http.lingering import LINGER_SECONDS
from trio_uwsgi._http.log_format import LogFormat, measures_heads
from trio_uwsgi._http.log_turns import write_turns
from trio_uwsgi._http.proxy_header import ProxyRules
from trio_uwsgi._http.session import Session
from trio_uwsgi._http.statistics import HttpStatistics
from trio_uwsgi._http.worker_facts import WorkerFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.interfaces import Acceptor, Driver, OneAtATime
    from trio_uwsgi._http.options import HttpOptions
    from trio_uwsgi._units.calls import Calls

logger = logging.getLogger("trio_uwsgi")

_perf_counter: Final = time.perf_counter


class HttpService:
    """One worker's HTTP: give it to `serve_sockets` and `serve_stream`, after `await nursery.start(service.serve)`.

    `refusing` answers requests beyond the limit of `options.load`; the maker of the service sets it before `serve`.

    Args:
        driver: runs the application.
        packets: answers packets of the uwsgi protocol that are not requests for the application.
        calls: the member's, for its harakiri limit and for reporting failures.
        options: what the user set.
    """

    def __init__(self, driver: Driver, packets: Driver, calls: Calls, options: HttpOptions) -> None:
        timeouts = options.timeouts
        self.driver = driver  # of the next request: at the limit of requests, the one that refuses
        self.packets = packets
        self.calls = calls
        self.member = calls.member
        self.options = options
        self.limits = options.limits
        self.proxied = ProxyRules(options.proxy_protocol) if options.proxy_protocol else None
        self.proxies = Proxies(options.forwarded_allow, options.forwarded_headers) if options.forwarded_allow else None
        self.early_hints = options.early_hints
        self.limit = calls.limit or math.inf
        self.clock: Callable[[], float] = trio.current_time
        self._clock_offset = 0.0
        self.token: trio.lowlevel.TrioToken
        self.access: AccessLog | None = None  # where requests are logged now
        self._access: AccessLog
        self.measures_heads = measures_heads(options.log_format)
        self.sessions: dict[Session, None] = {}
        self.requests = 0
        self.connections = 0
        self.running = 0
        self.sent = 0  # bytes of the bodies of responses
        self.seconds = 0.0  # that requests took
        self.reserved = 0  # bytes for bodies that are received before their application is called
        self.draining = False
        self.others_serve = False  # while this one drains: idle clients get time for one more request
        self.drain_called = trio.Event()
        self.websockets_end = self.streams_end = False  # while this one drains: they are told
        self.paused = False  # no connections are accepted: the user has paused that, or there are too many
        self.acceptors: list[Acceptor] = []
        self.one_at_a_time: OneAtATime | None = None  # the application's driver, if it is one
        self.paused_by_user = False
        self._most_connections = options.load.connections or sys.maxsize
        self._most_requests = options.load.requests or sys.maxsize
        self._application = driver
        self.refusing = driver  # of requests beyond the limit
        self._looks_at_ends = False  # of requests: while draining, and at the limit
        # Every session is in at most one of these four; running exchanges are in the fifth.
        self.header: Deadlines[Session] = Deadlines(timeouts.header, Session.head_timed_out)
        self.keep_alive: Deadlines[Session] = Deadlines(timeouts.keep_alive, Session.close)
        self.stall: Deadlines[Session] = Deadlines(timeouts.socket, Session.stalled)
        self.linger: Deadlines[Session] = Deadlines(LINGER_SECONDS, Session.linger_timed_out)
        self.harakiri: Deadlines[Exchange] = Deadlines(self.limit, self._harakiri)
        self._idle = trio.Event()
        self._date = b""
        self._date_ends = -math.inf
        self._wall_offset = 0.0
        self._compare_at = -math.inf
        # A journal that only logs does not need requests: they are in the access log.
        self._journal = self.member.journal if self.member.journal.remembers else None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the application's tasks and the deadlines until cancelled. Sessions that are open then are closed."""
        clock = trio.lowlevel.current_clock()
        self.clock = clock.current_time  # several times cheaper than trio.current_time
        self._clock_offset = _offset_of(clock)
        self.token = trio.lowlevel.current_trio_token()
        self._compare_clocks(self.clock())
        try:
            async with trio.open_nursery() as nursery:
                self._access = self._open_access_log()
                nursery.start_soon(write_turns, self._access)
                if self.options.access_log and AccessLog.enabled():
                    self.access = self._access
                sessions = (self.header, self.keep_alive, self.stall, self.linger)
                for what, table in zip(("heads", "idle clients", "stalls", "last bytes"), sessions, strict=True):
                    nursery.start_soon(table.serve, name=f"deadlines of {what}")
                nursery.start_soon(self.harakiri.serve, name="deadlines of requests")
                nursery.start_soon(self._end_streams)
                await nursery.start(self._application.serve, self)
                await nursery.start(self.packets.serve, self)
                if self.refusing is not self._application:
                    await nursery.start(self.refusing.serve, self)
                task_status.started()
        finally:
            for session in list(self.sessions):
                session.close()
            if self.access is not None:  # of requests that were cut off just now
                self.access.write()

    def _open_access_log(self) -> AccessLog:
        parts = self.options.log_format
        form = LogFormat(parts, WorkerFacts(self.member, lambda: self.requests)) if parts else None
        return AccessLog(None if form is None else form.line, asked_only=not self.options.access_log)

    def log_asked_requests(self) -> None:
        """Log the requests that ask for it, if the access log is disabled. Until the first one asks, no request has
        any costs of this.
        """
        self.access = self._access

    def statistics(self) -> HttpStatistics:
        """The counters, and what is running and open now."""
        return HttpStatistics(
            name=self.member.name,
            requests=self.requests,
            connections=self.connections,
            running=self.running,
            open=len(self.sessions),
        )

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self, *, others_serve: bool = False) -> None:
        """Stop gracefully: idle connections close now, running requests end with `connection: close`. Never waits.

        Args:
            others_serve: other workers continue to serve. Idle connections stay open for a moment, as a request may be
                on its way; a client that connects again reaches another worker.
        """
        if self.draining:
            return
        self.others_serve = others_serve
        self.draining = self._looks_at_ends = True
        self.linger.limit = min(self.linger.limit, self.options.stream_ends.idle)  # a client's last one ends in time
        self.drain_called.set()
        for acceptor in self.acceptors:
            acceptor.stop_accepting()
        for session in list(self.sessions):
            session.drain()
        if not self.options.stream_ends.websockets:  # now, as without a mercy no task runs any more
            self._tell_websockets()
        self._check_idle()

    async def _end_streams(self) -> None:
        """While draining, tell what streams to end, each kind when it is time. Nothing is cut."""
        ends = self.options.stream_ends
        steps = [(ends.websockets, self._tell_websockets), (ends.responses, self._tell_streams)]
        await self.drain_called.wait()
        began = trio.current_time()
        for seconds, tell in sorted(steps, key=itemgetter(0)):
            await trio.sleep_until(began + seconds)
            tell()

    def _tell_websockets(self) -> None:
        self.websockets_end = True
        self._tell()

    def _tell_streams(self) -> None:
        self.streams_end = True
        self._tell()

    def _tell(self) -> None:
        for session in list(self.sessions):
            if session.exchange is not None:
                session.exchange.drain()

    def pause(self, paused: bool) -> None:
        """Pause or resume accepting; open connections are served meanwhile. Never waits."""
        self.paused_by_user = paused
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        paused = self.paused_by_user or self.full
        if self.draining or paused == self.paused:
            return
        self.paused = paused
        for acceptor in self.acceptors:
            acceptor.pause_accepting(paused)

    @property
    def occupied(self) -> bool:
        """Does a request keep all others from beginning? That can be seen only while it waits."""
        return self.one_at_a_time is not None and self.one_at_a_time.occupied

    @property
    def full(self) -> bool:
        """Has this worker as many connections as it may have?"""
        return len(self.sessions) >= self._most_connections

    async def wait_drained(self) -> None:
        """Wait until `drain` was called and the last request and connection ended."""
        await self._idle.wait()

    def _check_idle(self) -> None:
        if self.draining and not self.running and not self.sessions:
            self._idle.set()

    def now(self) -> float:
        """The time on Trio's clock. May be called from any thread."""
        offset = self._clock_offset
        return _perf_counter() + offset if offset else self.clock()

    # --- called by sessions and drivers -------------------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        """A connection was opened."""
        self.connections += 1
        self.sessions[session] = None
        if len(self.sessions) >= self._most_connections:
            self._pause_or_resume()

    def closed(self, session: Session) -> None:
        """A connection was closed."""
        self.sessions.pop(session, None)
        if self.draining:
            self._check_idle()
        elif self.paused:
            self._pause_or_resume()

    def began(self, exchange: Exchange) -> None:
        """Start the application for an exchange."""
        self.requests += 1
        self.running += 1
        if self.running >= self._most_requests:
            self._looks_at_ends = True
            self.driver = self.refusing
        now = exchange.started
        harakiri = self.harakiri
        harakiri.since[exchange] = now
        if harakiri.asleep:
            harakiri.wake()
        if now >= self._compare_at:
            self._compare_clocks(now)
        if self._journal is not None:
            self._journal.note(self.member.name, exchange.what)
        exchange.driver.begin(exchange)

    def hand_over(self, exchange: Exchange, driver: Driver) -> None:
        """Let another driver answer the request of an exchange that has sent nothing, and that `ended` is called for
        next. The request counts once.
        """
        session = exchange.session
        exchange.over = True
        session.exchange = successor = driver.exchange_type(session, exchange.request)
        successor.driver = driver
        self.running += 1
        self.calls.done -= 1
        self.harakiri.add(successor, successor.started)
        driver.begin(successor)
        if successor.gone:
            self.client_left(successor)

    def ended(self, exchange: Exchange) -> None:
        """The application returned, or was aborted."""
        self.running -= 1
        self.harakiri.since.pop(exchange, None)
        self.calls.done += 1
        self.sent += exchange.sent
        self.seconds += self.now() - exchange.started
        exchange.end()
        if self._looks_at_ends:
            self._look_at_end()

    def _look_at_end(self) -> None:
        if self.running < self._most_requests:
            self.driver = self._application
            self._looks_at_ends = self.draining
        if self.draining:
            self._check_idle()

    def client_left(self, exchange: Exchange) -> None:
        """The exchange's client disconnected: cancel the application's work, if the user has set that."""
        if self.options.cancel_on_disconnect and not exchange.abandoned and not exchange.cancelled:
            exchange.abandoned = True
            exchange.driver.cancel(exchange)

    def _harakiri(self, exchange: Exchange) -> None:
        exchange.driver.cancel(exchange)

    def date(self) -> bytes:
        """The value of the `Date` header, renewed once a second. May be called from any thread."""
        now = self.now()
        if now >= self._date_ends:
            wall = self._wall_offset + now
            self._date = formatdate(wall, usegmt=True).encode()
            self._date_ends = now + 1 - wall % 1
        return self._date

    def _compare_clocks(self, now: float) -> None:
        """Store the offset of the wall clock to Trio's, which may be read on Trio's thread only."""
        self._wall_offset = self.member.wall_now() - now
        self._compare_at = now + 1


def _offset_of(clock: trio.abc.Clock) -> float:
    """What Trio's own clock adds to `perf_counter`, as each request needs the time several times, and a sum is cheaper
    than a call. 0: it is another clock, as in tests.
    """
    offset = getattr(clock, "offset", None) if type(clock).__name__ == "SystemClock" else None
    if isinstance(offset, float) and abs(_perf_counter() + offset - clock.current_time()) < 0.1:
        return offset
    return 0.0
