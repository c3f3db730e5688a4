"""Answers the requests beyond `max_concurrent_requests` with 503, in place of the application's driver.

The answer is an ordinary response: the connection stays open, the access log has it, and a body is skipped.
"""

from __future__ import annotations

from trio_uwsgi._apps.runner_exchange import RunnerExchange
from trio_uwsgi._apps.runners import Runner, RunnerDriver

__all__ = ["RefusingDriver"]

_TEXT = b"There are too many requests at the moment.\n"
# A second later it may be another's turn; the limit is for moments, and nothing here knows how long they last.
_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_TEXT)),
    (b"retry-after", b"1"),
)


class RefusingDriver(RunnerDriver[RunnerExchange]):
    """Refuses every exchange. It runs in tasks, so that a client cannot cause a recursion with many requests."""

    exchange_type = RunnerExchange

    async def _run(self, runner: Runner, exchange: RunnerExchange) -> None:
        if not exchange.over:  # the client may be gone
            exchange.start(503, _HEADERS)
            exchange.complete(_TEXT)
