"""Lines of the access log in the format of `Config.log_format`.

What is not known, and a log variable that the application did not set, is `-`. Values are escaped as in the usual line.
A format costs what its variables cost: one function for each of them, and texts of times once a second.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from trio_uwsgi._http.access_line import escape, peer_name
from trio_uwsgi._http.packet_size import packet_size
from trio_uwsgi._http.uwsgi_http import UwsgiRequest
from trio_uwsgi._system.process_memory import process_memory

if TYPE_CHECKING:
    from trio_uwsgi._http.access_record import Record
    from trio_uwsgi.config.log_format import Variable

__all__ = ["LogFormat", "measures_heads"]

# Gives the text of a variable, for a response that ended at that time of day.
_Make = Callable[["Record", float], str]


class Facts(Protocol):
    """What a format may show of the worker: `worker_facts.py`."""

    wid: int
    pid: int

    def wall_now(self) -> float:
        """The time of day, in POSIX seconds."""

    def requests(self, now: float) -> tuple[int, int]:
        """The number of requests of this worker, and of all workers."""

    def metric(self, name: str) -> str:
        """The number of a metric; "" if there is none of this name."""


def measures_heads(parts: tuple[str | Variable, ...]) -> bool:
    """Does a format show the size of the response's head, or how many headers it has?"""
    return any(not isinstance(part, str) and part.of == "request" and part.name in _OF_THE_HEAD for part in parts)


class LogFormat:
    """A format, for the records of one worker.

    Args:
        parts: what `parse_log_format` returned.
        worker: what is shown of it.
    """

    def __init__(self, parts: tuple[str | Variable, ...], worker: Facts) -> None:
        self._worker = worker
        self._machine = socket.gethostname()
        self._sized: Record | None = None  # of which `_size` is
        self._size = (0, 0)
        self._environ: Mapping[str, object] = {}  # of the record whose line is made
        self._needs_environ = any(not isinstance(part, str) and part.of == "var" for part in parts)
        self._template = "".join(part.replace("%", "%%") if isinstance(part, str) else "%s" for part in parts)
        self._makers = [self._maker(part) for part in parts if not isinstance(part, str)]

    def line(self, record: Record) -> str:
        """The line of a response."""
        now = self._worker.wall_now()
        if self._needs_environ:
            self._environ = record.request.wsgi_environ(record.peer, {})
        return self._template % tuple([make(record, now) for make in self._makers]) + record.end

    def _maker(self, variable: Variable) -> _Make:
        of, name = variable
        worker = self._worker
        if of == "var":
            return lambda record, now: self._var(record, name) or "-"
        if of == "log":
            return lambda record, now: _log_variable(record, name)
        if of == "metric":
            return lambda record, now: worker.metric(name) or "-"
        special: dict[str, _Make] = {
            "pid": lambda record, now: str(worker.pid),
            "pktsize": lambda record, now: str(self._packet_size(record)[1]),
            "req": lambda record, now: str(worker.requests(now)[0]),
            "rss": lambda record, now: str(_memory(worker.pid, int(now))[0]),
            "rssM": lambda record, now: str(_memory(worker.pid, int(now))[0] >> 20),
            "total": lambda record, now: str(worker.requests(now)[1]),
            "vars": lambda record, now: str(self._packet_size(record)[0]),
            "vsz": lambda record, now: str(_memory(worker.pid, int(now))[1]),
            "vszM": lambda record, now: str(_memory(worker.pid, int(now))[1] >> 20),
            "wid": lambda record, now: str(worker.wid),
        }
        return special.get(name) or _MAKERS[name]

    def _packet_size(self, record: Record) -> tuple[int, int]:
        if record is not self._sized:
            self._sized = record
            self._size = packet_size(record.request, record.peer, self._machine)
        return self._size

    def _var(self, record: Record, name: str) -> str:
        notes = record.request.log_notes
        added = None if notes is None else notes.added.get(name)
        return self._of_environ(name) if added is None else escape(added)

    def _of_environ(self, key: str) -> str:
        found = self._environ.get(key)
        return escape(found.encode("latin-1", "replace")) if isinstance(found, str) else ""


def _log_variable(record: Record, name: str) -> str:
    notes = record.request.log_notes
    return escape(notes.variables.get(name, b"-")) if notes is not None else "-"


def _address(record: Record, now: float) -> str:
    return escape(record.request.remote()[0]) or peer_name(record.peer).rpartition(":")[0] or "unix"


def _header(name: bytes) -> _Make:
    return lambda record, now: (
        escape(b", ".join([value for key, value in record.request.headers if key == name])) or "-"
    )


def _user(record: Record) -> str:
    """The user, whom only a front server knows."""
    request = record.request
    return escape(request.vars.get(b"REMOTE_USER", b"")) if isinstance(request, UwsgiRequest) else ""


def _began(scale: int) -> _Make:
    return lambda record, now: str(int((now - record.seconds) * scale))


def _took(scale: int) -> _Make:
    return lambda record, now: str(int(record.seconds * scale))


@lru_cache(maxsize=8)
def _local(form: str, second: int) -> str:
    return time.strftime(form, time.localtime(second))


def _local_time(form: str) -> _Make:
    return lambda record, now: _local(form, int(now - record.seconds))


@lru_cache(maxsize=1)
def _memory(pid: int, second: int) -> tuple[int, int]:
    return process_memory(pid)


def _head(record: Record) -> tuple[int, int]:
    """Size and number of headers of the response's head."""
    notes = record.request.log_notes
    return (0, 0) if notes is None else notes.head


def _read_error(record: Record) -> bool:
    return bool(record.end) and not record.request.complete


# The values of `config.log_format.KNOWN`, except those of the worker.
_MAKERS: dict[str, _Make] = {
    "addr": _address,
    "cl": lambda record, now: str(record.request.content_length or 0),
    "core": lambda record, now: "0",
    "ctime": _local_time("%a %b %e %H:%M:%S %Y"),
    "epoch": lambda record, now: str(int(now)),
    "ftime": _local_time("%d/%b/%Y:%H:%M:%S %z"),
    "headers": lambda record, now: str(_head(record)[1]),
    "host": _header(b"host"),
    "hsize": lambda record, now: str(_head(record)[0]),
    "ioerr": lambda record, now: str(int(bool(record.end))),
    "ltime": _local_time("%d/%b/%Y:%H:%M:%S %z"),
    "method": lambda record, now: escape(record.request.method.encode("latin-1")),
    "micros": _took(1_000_000),
    "modifier1": lambda record, now: str(record.request.modifier1),
    "modifier2": lambda record, now: "0",
    "msecs": _took(1_000),
    "proto": lambda record, now: f"HTTP/{record.request.http_version}",
    "referer": _header(b"referer"),
    "rerr": lambda record, now: str(int(_read_error(record))),
    "rsize": lambda record, now: str(record.sent),
    "secs": _took(1),
    "size": lambda record, now: str(record.sent + _head(record)[0]),
    "status": lambda record, now: str(record.status) if record.status else "-",
    "switches": lambda record, now: "1",
    "time": _began(1),
    "tmicros": _began(1_000_000),
    "tmsecs": _began(1_000),
    "uagent": _header(b"user-agent"),
    "uri": lambda record, now: escape(record.request.target),
    "user": lambda record, now: _user(record) or "-",
    "user_or_nothing": lambda record, now: _user(record),
    "werr": lambda record, now: str(int(bool(record.end) and record.request.complete)),
}
_OF_THE_HEAD = ("headers", "hsize", "size")
