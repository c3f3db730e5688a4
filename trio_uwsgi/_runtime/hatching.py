"""How there comes to be a zygote: its process, and the line to it. Floor 3.

In production it is a new interpreter. (A test forks one: see `forked_zygote.py`.)
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import trio

from trio_uwsgi._runtime.zygote import command
from trio_uwsgi._tasks.zygote_line import ZygoteLine

__all__ = ["Hatch", "ZygoteProcess", "hatch"]


class ZygoteProcess(Protocol):
    """What is needed of a zygote's process: as much of `trio.Process`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...

    def send_signal(self, number: signal.Signals, /) -> None: ...


Hatch: TypeAlias = Callable[[], Awaitable[tuple[ZygoteProcess, ZygoteLine]]]


async def hatch() -> tuple[ZygoteProcess, ZygoteLine]:
    """Start an interpreter that is to be a zygote. It reads on its line what it is to be."""
    near, far = socket.socketpair()
    far.setblocking(True)  # the application may have set a default timeout, and a zygote waits for its master
    line = ZygoteLine(trio.socket.from_stdlib_socket(near))
    try:
        with far:
            process = await trio.lowlevel.open_process(command("live", far.fileno()), pass_fds=[far.fileno()])
    except BaseException:
        line.close()
        raise
    return process, line
