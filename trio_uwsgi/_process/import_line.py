"""The master's side of an import in another process, which may ask for locks meanwhile.

The import is that of a zygote, or, with lazy applications, of a member before it runs. It has a socket of its own for
that, because neither has a link yet. The other side is in `_runtime/import_phase.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import Forget, Frame, Lock, Unlock
from trio_uwsgi._link.link import StreamLink

if TYPE_CHECKING:
    from trio_uwsgi._locks.remote import LockKeeper

__all__ = ["attend_import"]

_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def attend_import(keeper: LockKeeper) -> AsyncIterator[socket.socket]:
    """Until the body ends, grant an import the locks that it asks for. Those that it holds are released when it closes
    its socket. Gives that, for the other process; it is closed here at the end of the body, or before.
    """
    near, far = socket.socketpair()
    name = f"import {next(_numbers)}"

    def obey(frame: Frame) -> None:
        assert isinstance(frame, Lock | Unlock | Forget), frame
        keeper.obey(name, frame)

    link = StreamLink(trio.SocketStream(trio.socket.from_stdlib_socket(near)), obey, 0)

    async def attend() -> None:
        with keeper.serving_import(name, link.send):
            await link.run()

    with far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attend)
            yield far
            nursery.cancel_scope.cancel()
