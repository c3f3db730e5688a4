"""Files that applications send: `wsgi.file_wrapper`, and ASGI's `http.response.pathsend` and `zerocopysend`.

Their descriptors are copied, so it does not matter when the application closes its own. A file that fits into the
buffer of a connection is sent as any other body.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from trio_uwsgi._http.file_sending import send_file
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.open_file import OpenFile, in_reader
from trio_uwsgi._system.beneath import open_path
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange

__all__ = ["WrappedFile", "send_file_message", "wrapped_file"]


class WrappedFile(NamedTuple):
    """A real file that a WSGI application returned, from its position on."""

    file: OpenFile
    offset: int
    size: int


def wrapped_file(filelike: object) -> WrappedFile | None:
    """What is to be sent of a file that an application has opened, if its bytes can go to the socket as they are.

    None: it is no regular file, it is text, it changes what it reads (as `gzip.GzipFile`, which has a `fileno` all the
    same), or what is left of it is short.
    """
    if type(filelike).__module__ == "tempfile":
        filelike = getattr(filelike, "file", None)
    if type(filelike) is io.BufferedRandom:
        filelike.flush()
    raw = filelike.raw if isinstance(filelike, io.BufferedReader | io.BufferedRandom) else filelike
    if type(raw) is not io.FileIO:
        return None
    try:
        descriptor, offset = raw.fileno(), filelike.tell()  # type: ignore[attr-defined]  # one of these three
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size - offset <= HIGH_WATER:
            return None
        return WrappedFile(OpenFile(os.dup(descriptor)), offset, status.st_size - offset)
    except (OSError, ValueError):  # it is closed, or cannot seek
        return None


async def send_file_message(exchange: Exchange, message: MutableMapping[str, Any], trailing: bool) -> bool:
    """Send `http.response.pathsend` or `http.response.zerocopysend`. True: it was the last piece of the body.

    Args:
        exchange: the request's.
        message: as the application sent it.
        trailing: something follows the last piece, too.
    Raises:
        OSError: the file cannot be opened or read.
        ClientDisconnected, LocalProtocolError: as for `http.response.body`.
    """
    if not exchange.response.started:
        raise LocalProtocolError(f"the application sent {message['type']} before http.response.start")
    if message["type"] == "http.response.pathsend":
        path = os.fsencode(message["path"])
        try:
            file = OpenFile(open_path(path, wait=False))
        except OSError:  # with BlockingIOError the call has to wait; another error comes again, with its text
            file = await in_reader(_open, path)
        await _send(exchange, file, 0, file.size, trailing)
        return True
    given = message["file"]
    descriptor = given if isinstance(given, int) else given.fileno()
    file = OpenFile(os.dup(descriptor))
    offset, count = message.get("offset"), message.get("count")
    start = os.lseek(descriptor, 0, os.SEEK_CUR) if offset is None else offset
    left = max(0, file.size - start)
    size = left if count is None else min(count, left)
    more = bool(message.get("more_body"))
    await _send(exchange, file, start, size, more or trailing)
    if offset is None:
        os.lseek(descriptor, start + size, os.SEEK_SET)
    return not more


def _open(path: bytes) -> OpenFile:
    return OpenFile(open_path(path, wait=True))


async def _send(exchange: Exchange, file: OpenFile, offset: int, count: int, more: bool) -> None:
    if count > HIGH_WATER or exchange.response.bodyless:
        await send_file(exchange, file, offset, count, more)
    elif more:
        await exchange.send_piece(await file.read(offset, count))
    else:
        exchange.complete(await file.read(offset, count))
