"""What systemd and a service say to each other: sockets that are passed, and how the service is doing.

Both begin with variables of the environment, which are taken out of it: they mean this process, and none that it
starts. Notifications are datagrams, and are sent or not: nothing ever waits for the other side.
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

# The first descriptor that is passed; the others follow.
_FIRST = 3
# What a socket unit's FileDescriptorName says, where its clients speak the uwsgi protocol.
_UWSGI_NAMES = ("uwsgi", "socket")


def take_sockets(environ: MutableMapping[str, str]) -> tuple[list[Address], list[Address]]:
    """The sockets that were passed to this process: those for HTTP, and those for the uwsgi protocol.

    Args:
        environ: the environment; what tells of sockets is taken out of it, whoever was meant.
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
        with contextlib.suppress(OSError):  # one that is not open is found out when it is listened on
            os.set_inheritable(_FIRST + number, False)
        found = uwsgi if known.get(number) in _UWSGI_NAMES else http
        found.append(Address.inherited(_FIRST + number))
    return http, uwsgi


def warn_of_unused(passed: Sequence[Address], used: Sequence[Address]) -> None:
    """Say which sockets were passed and are not listened on: the kernel takes clients there, who wait for nobody."""
    for address in passed:
        if address not in used:
            logger.warning("systemd passed %s, and nothing is served there; name it, or give no address", address)


class Notifier:
    """Tells the service manager how the service is doing.

    Args:
        address: its socket; "" is none, and nothing is said.
        interval: seconds between two signs of life; 0 is never.
    """

    def __init__(self, address: str, interval: float = 0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = interval
        self._failed = False
        self._stops = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """As the environment says, out of which it is taken."""
        address, period, pid = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        mine = period.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(period) / 1e6 / 2 if mine else 0)

    def send(self, *lines: str) -> None:
        """Say this, or nothing if the other side does not listen."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                logger.warning("the service manager is not told %s: %s", lines[0], error)
            self._failed = True

    def reloading(self, begun: bool) -> None:
        """A reload has begun, or is over, well or not. One that a stop cut short ends with that."""
        if self._stops:
            return
        if begun:
            # It waits for a reload that began after it asked for one.
            microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self.send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", "STATUS=reloading")
        else:
            self.send("READY=1", "STATUS=serving")

    async def report_states(self, told_to_stop: Callable[[], Awaitable[None]]) -> None:
        """Say that everything serves, then when it stops, and meanwhile, until cancelled, that it lives.

        Args:
            told_to_stop: returns when a stop begins.
        """
        self.send("READY=1", f"MAINPID={os.getpid()}", "STATUS=serving")
        async with trio.open_nursery() as nursery:
            if self._interval:
                nursery.start_soon(self._ping)
            try:
                await told_to_stop()
            finally:
                self._stops = True
                self.send("STOPPING=1", "STATUS=stopping")

    async def _ping(self) -> None:
        """In Trio's own loop: if that is stuck, it is seen."""
        while True:
            self.send("WATCHDOG=1")
            await trio.sleep(self._interval)
