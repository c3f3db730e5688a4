"""What the module `uwsgi` knows of the current request: its body, its line in the log, and files for its response.

It is for the code of a WSGI request; elsewhere there is no request, which raises `NotServing`.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import Literal

from trio_uwsgi import uwsgi as native
from trio_uwsgi._http.access_record import LogNotes
from trio_uwsgi._http.exchange import Exchange
from trio_uwsgi._http.open_file import OpenFile
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.compat.answers import Data, TrueOrNone, as_data, whole
from trio_uwsgi.compat.calling import current_exchange

__all__ = [
    "add_var",
    "chunked_read",
    "chunked_read_nb",
    "cl",
    "get_logvar",
    "log_this_request",
    "offload",
    "request_id",
    "sendfile",
    "set_logvar",
]

logger = logging.getLogger("trio_uwsgi")


def cl() -> int:
    """Return the Content-Length of the current request; 0 without one, and outside of a request."""
    unit = UNIT.get(None)
    return (unit.request.content_length or 0) if isinstance(unit, Exchange) else 0


def request_id() -> int:
    """Return how many requests this worker has completed; 0 outside of a request.

    uWSGI: a worker counts for all of its threads; there each thread has a number of its own.
    """
    unit = UNIT.get(None)
    if not isinstance(unit, Exchange):
        return 0
    service = unit.session.service
    return service.requests - service.running


def add_var(key: str | bytes, val: str | bytes, /) -> Literal[True]:
    """Add a variable to the request, which `%(var.KEY)` shows in `Config.log_format`. It may replace one.

    uWSGI: there is no limit of `buffer-size`. Outside of a request it raises `NotServing`; there it ends the process.
    """
    _notes("add_var").added[_text("add_var", key)] = as_data("add_var", val)
    return True


def set_logvar(key: str | bytes, val: str | bytes, /) -> None:
    """Set a log variable, which `%(KEY)` shows in `Config.log_format`."""
    native.set_logvar(_text("set_logvar", key), as_data("set_logvar", val))


def get_logvar(key: str | bytes, /) -> bytes | None:
    """Return the value of a log variable of this request; None if it was not set."""
    return native.get_logvar(_text("get_logvar", key))


def log_this_request() -> None:
    """Write this request into the access log, although `Config.disable_logging` disables that."""
    native.log_this_request()


def offload(filename: str, len: int = 0, /) -> Literal[b""]:
    r"""Return b"" and do nothing, as in uWSGI. `sendfile` sends a file."""
    return b""


def sendfile(filename_or_fd: object, chunk: int = 0, pos: int = 0, /, filesize: int = 0) -> TrueOrNone:
    """Send a file, or a part of it, as the next piece of the response; None if it cannot be opened.

    Call `start_response` first. The client has the file when this returns, and the application may send more.

    uWSGI: what is no regular file, such as a pipe, is refused with None.
    """
    exchange = current_exchange("sendfile")
    begin, size = whole(pos), whole(filesize)
    whole(chunk)
    try:
        file = _open(filename_or_fd)
    except OSError as error:
        logger.warning("%s: %s: uwsgi.sendfile: %s", exchange.member.name, exchange.what, error)
        return None
    left = max(0, file.size - begin)
    exchange.send_file(file, begin, min(size, left) if size else left, more=True)
    return True


def chunked_read(timeout: int = 0, /) -> bytes:
    r"""Wait for the next bytes of the request's body; b"" at its end. An OSError after the timeout, in seconds.

    uWSGI: it reads any body, however it is framed. The pieces are those that arrive, not the client's chunks. The
        application is called when a usual body, or 64 KiB of a chunked one, have arrived; there it is called at once.
    """
    exchange = current_exchange("chunked_read")
    limit = whole(timeout)
    if limit > 0 and not exchange.piece_arrives(limit):
        raise OSError(f"unable to receive chunked part: nothing arrived within {limit} seconds")
    return exchange.next_piece()


def chunked_read_nb() -> bytes | None:
    r"""Return the next bytes of the request's body; b"" at its end; None if they have not arrived.

    uWSGI: as `chunked_read`.
    """
    return current_exchange("chunked_read_nb").piece_at_hand()


def _notes(call: str) -> LogNotes:
    request = current_exchange(call).request
    if request.log_notes is None:
        request.log_notes = LogNotes()
    return request.log_notes


def _text(call: str, key: Data) -> str:
    return as_data(call, key).decode("utf-8", "replace")


def _open(given: object) -> OpenFile:
    if isinstance(given, str | bytes | os.PathLike):
        descriptor = os.open(given, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    elif isinstance(given, int):
        descriptor = os.dup(given)
    elif hasattr(given, "fileno"):
        descriptor = os.dup(given.fileno())
    else:
        raise TypeError(f"uwsgi.sendfile() takes a path, a descriptor or an open file, not {given!r}")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{given!r} is no regular file")
    return OpenFile(descriptor)
