"""Lines of the access log in the format of `Config.log_format`.

What is not known, and a log variable that the application did not set, is `-`. Values are escaped as in the usual line.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_uwsgi._http.access_record import escape, peer_name

if TYPE_CHECKING:
    from trio_uwsgi._http.access_record import Record
    from trio_uwsgi.config.log_format import Variable

__all__ = ["LogFormat"]


class LogFormat:
    """A format, for the records of one worker.

    Args:
        parts: what `parse_log_format` returned.
        wid: the number of the worker.
        pid: its process.
        wall_now: the time of day, in POSIX seconds.
    """

    def __init__(self, parts: tuple[str | Variable, ...], wid: int, pid: int, wall_now: Callable[[], float]) -> None:
        self._parts = parts
        self._facts = {"wid": str(wid), "pid": str(pid), "core": "0"}
        self._wall_now = wall_now
        self._needs_environ = any(not isinstance(part, str) and _of_environ(part) for part in parts)

    def line(self, record: Record) -> str:
        """The line of a response."""
        now = self._wall_now()
        environ = record.request.wsgi_environ(record.peer, {}) if self._needs_environ else {}
        return "".join([self._value(part, record, environ, now) for part in self._parts]) + record.end

    def _value(self, part: str | Variable, record: Record, environ: dict[str, object], now: float) -> str:
        if isinstance(part, str):
            return part
        notes = record.request.log_notes
        if part.of == "var" and notes is not None and part.name in notes.added:
            return escape(notes.added[part.name])
        if _of_environ(part):
            found = environ.get("REMOTE_USER" if part.name == "user" else part.name)
            return escape(found.encode("latin-1", "replace")) or "-" if isinstance(found, str) else "-"
        if part.of == "log":
            return escape(notes.variables.get(part.name, b"-")) if notes is not None else "-"
        return self._facts.get(part.name) or _FACTS[part.name](record, now) or "-"


def _of_environ(part: Variable) -> bool:
    return part.of == "var" or part == ("request", "user")


def _address(record: Record, now: float) -> str:
    return escape(record.request.remote()[0]) or peer_name(record.peer).rpartition(":")[0] or "unix"


def _header(name: bytes) -> Callable[[Record, float], str]:
    return lambda record, now: escape(b", ".join(value for key, value in record.request.headers if key == name))


def _began(record: Record, now: float, scale: int = 1) -> str:
    return str(int((now - record.seconds) * scale))


def _local_time(record: Record, now: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now - record.seconds, datetime.UTC).astimezone()


def _took(scale: int) -> Callable[[Record, float], str]:
    return lambda record, now: str(int(record.seconds * scale))


# The values of `config.log_format.KNOWN`, except those of the worker.
_FACTS: dict[str, Callable[[Record, float], str]] = {
    "addr": _address,
    "cl": lambda record, now: str(record.request.content_length or 0),
    "ctime": lambda record, now: _local_time(record, now).ctime(),
    "epoch": lambda record, now: str(int(now)),
    "host": _header(b"host"),
    "ltime": lambda record, now: _local_time(record, now).strftime("%d/%b/%Y:%H:%M:%S %z"),
    "method": lambda record, now: escape(record.request.method.encode("latin-1")),
    "micros": _took(1_000_000),
    "modifier1": lambda record, now: str(record.request.modifier1),
    "modifier2": lambda record, now: "0",
    "msecs": _took(1_000),
    "proto": lambda record, now: f"HTTP/{record.request.http_version}",
    "referer": _header(b"referer"),
    "rsize": lambda record, now: str(record.sent),
    "secs": _took(1),
    "size": lambda record, now: str(record.sent),
    "status": lambda record, now: str(record.status) if record.status else "-",
    "time": _began,
    "tmicros": lambda record, now: _began(record, now, 1_000_000),
    "tmsecs": lambda record, now: _began(record, now, 1_000),
    "uagent": _header(b"user-agent"),
    "uri": lambda record, now: escape(record.request.target),
}
