"""The protocols between systemd and a service: socket activation, and notifications of the service's state.

Both are configured through environment variables, which are removed from the environment, because they are for this
process only. Notifications are datagrams; one that cannot be sent at once is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence

import trio

from trio_uwsgi.config.addresses import Address

__all__ = ["Notifier", "take_sockets", "warn_of_unused"]

logger = logging.getLogger("trio_uwsgi")

# The number of the first passed descriptor; the next ones follow it.
_FIRST = 3
# Values of a socket unit's FileDescriptorName for a socket of the uwsgi protocol.
_UWSGI_NAMES = ("uwsgi", "socket")


def take_sockets(environ: MutableMapping[str, str]) -> tuple[list[Address], list[Address]]:
    """The sockets that were passed to this process: those for HTTP, and those for the uwsgi protocol.

    Args:
        environ: the environment; the variables are removed from it, also if they are for another process.
    """
    pid, count, names, _ = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
    )
    http: list[Address] = []
    uwsgi: list[Address] = []
    if pid != str(os.getpid()) or not count.isdecimal():
        return http, uwsgi
    known = dict(enumerate(names.split(":")))
    for number in range(int(count)):
        with contextlib.suppress(OSError):  # a closed one is reported when it is listened on
            os.set_inheritable(_FIRST + number, False)
        found = uwsgi if known.get(number) in _UWSGI_NAMES else http
        found.append(Address.inherited(_FIRST + number))
    return http, uwsgi


def warn_of_unused(passed: Sequence[Address], used: Sequence[Address]) -> None:
    """Log passed sockets that are not served: the kernel queues their connections, which then wait forever."""
    for address in passed:
        if address not in used:
            logger.warning(
                "systemd passed %s, but it is not served; name it as an address, or name no address", address
            )


class Notifier:
    """Reports the service's state to the service manager.

    Args:
        address: the service manager's socket; with "" nothing is sent.
        interval: seconds between two watchdog notifications; 0 is never.
    """

    def __init__(self, address: str, interval: float = 0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = interval
        self._failed = False
        self._stops = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Made from the environment, from which the variables are removed."""
        address, period, pid = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        mine = period.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(period) / 1e6 / 2 if mine else 0)

    def send(self, *lines: str) -> None:
        """Send these lines; drop them if the service manager does not take them."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                logger.warning("cannot send %s to the service manager: %s", lines[0], error)
            self._failed = True

    def reloading(self, begun: bool) -> None:
        """Report that a reload has begun, or is over, successful or not. After a stop has begun nothing is reported."""
        if self._stops:
            return
        if begun:
            # The service manager waits for a reload that began after its request.
            microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self.send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", "STATUS=reloading")
        else:
            self.send("READY=1", "STATUS=serving")

    async def report_states(self, wait_stopping: Callable[[], Awaitable[None]]) -> None:
        """Report that the service is ready, then that it is stopping; until cancelled send watchdog notifications.

        Args:
            wait_stopping: returns when a stop begins.
        """
        self.send("READY=1", f"MAINPID={os.getpid()}", "STATUS=serving")
        async with trio.open_nursery() as nursery:
            if self._interval:
                nursery.start_soon(self._ping)
            try:
                await wait_stopping()
            finally:
                self._stops = True
                self.send("STOPPING=1", "STATUS=stopping")

    async def _ping(self) -> None:
        """Runs in Trio's loop, so that the notifications end when that is blocked."""
        while True:
            self.send("WATCHDOG=1")
            await trio.sleep(self._interval)
