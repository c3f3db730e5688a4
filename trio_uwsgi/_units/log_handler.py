"""The server's own log: a handler for standard error, where lines of the access log need no record each.

`set_up_logging` makes it the handler of the root logger, if the program has configured none. `direct_handler` finds it
for a logger whose lines go there, and to nothing of the user's; then the access log gives it whole lines (`lines`), and
at the end of each turn of the event loop writes them in one call.

What becomes of them, if standard error does not take them:

- Lines of the access log never wait. What a pipe that nobody reads or a full disk does not take is kept, up to KEPT
  bytes. Then lines are dropped, whole ones, the newest; a warning has their number once the log takes lines again.
- All other lines wait, as with any handler, and the lines before them go first: lines keep their order.

Other processes write to the same pipe, file or socket. So one call writes whole lines: to a file any number of them,
because the kernel does not mix appended writes; to a pipe PIPE_BUF bytes, within which it does not mix them either.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import select
import stat
import sys
import time
from collections import deque
from typing import TextIO

__all__ = ["LineFormatter", "LogHandler", "direct_handler", "set_up_logging"]

KEPT = 256 * 1024
# Lines kept while a thread waits for the log, with another line of its own.
MOST = 4096
# Seconds for the lines that are left at the end of the process.
LAST_WAIT = 1.0
# A line that no process mixes with another.
PIECE = select.PIPE_BUF
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

logger = logging.getLogger("trio_uwsgi")


def set_up_logging(level: int | str, form: str, stream: TextIO) -> None:
    """Log to this stream, standard error, in this format, if the root logger has no handler."""
    if not logging.root.handlers:
        handler = LogHandler(stream)
        handler.setFormatter(LineFormatter(form))
        logging.basicConfig(level=level, handlers=[handler])


class LineFormatter(logging.Formatter):
    """A formatter that makes the text of a time once a second, and leaves whole lines as they are."""

    _second = -1
    _text = ""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. A record with the attribute `whole_line` is only its message."""
        return record.getMessage() if getattr(record, "whole_line", False) else super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """See `logging.Formatter`."""
        second = int(record.created)
        if second != self._second:
            self._text = time.strftime(datefmt or self.default_time_format, self.converter(second))
            self._second = second
        return self._text if datefmt else self.default_msec_format % (self._text, record.msecs)  # type: ignore[operator]

    def around(self, sample: logging.LogRecord) -> tuple[str, str]:
        """What stands before and after the message of a record of now. `sample` is changed."""
        now = time.time()
        sample.created = now
        sample.msecs = int(now % 1 * 1000)
        sample.message = "\0"
        if self.usesTime():
            sample.asctime = self.formatTime(sample, self.datefmt)
        before, _, after = self.formatMessage(sample).partition("\0")
        return before, after


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error. `lines` are whole, without their ends; any thread of the process may append."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.lines: list[str] = []
        self._unwritten: deque[bytes] = deque()  # which the log did not take: pieces of whole lines
        self._size = 0  # their bytes
        self._dropped = 0  # lines
        self._failure = "nobody has read the log"  # why
        self._writing = False
        self._is_file = False
        self._looked_at = -math.inf  # the monotonic time of that
        os.register_at_fork(after_in_child=self._forget)

    def handle(self, record: logging.LogRecord) -> bool:
        """See `logging.Handler`."""
        handled = super().handle(record)
        if self.lines:  # of another thread, which found the lock taken
            self.write_lines()
        return handled

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. The lines before it are written first; this waits, as the record does."""
        self._write(math.inf)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        """See `logging.Handler`. A signal handler that logs in the middle of a write, which streams refuse, may end the
        process next: its line goes past the stream.
        """
        if isinstance(error := sys.exception(), RuntimeError) and "reentrant call" in str(error):
            with contextlib.suppress(OSError, ValueError):
                os.write(self.stream.fileno(), f"{self.format(record)}\n".encode(errors="backslashreplace"))
                return
        super().handleError(record)

    def flush(self) -> None:
        """See `logging.Handler`; at the end of the process."""
        if self.lines or self._unwritten:
            with self.lock:  # type: ignore[union-attr]  # it has one
                self._write(LAST_WAIT)
            self._report()
        super().flush()

    def write_lines(self) -> bool:
        """Write the lines, as far as the log takes them now. Never waits. False: it will take the rest later, which
        `trio.lowlevel.wait_writable` tells.
        """
        assert self.lock is not None
        if not self.lock.acquire(blocking=False):  # the thread that is writing writes these, too, unless it hangs
            self._dropped += len(self.lines[MOST:])
            del self.lines[MOST:]
            return True
        try:
            done = self._write(0)
        finally:
            self.lock.release()
        self._report()
        return done

    def _report(self) -> None:
        """Say how many lines are missing, at their place."""
        if self._dropped and not (self._unwritten or self._writing):
            dropped, self._dropped = self._dropped, 0
            logger.warning("lines of the access log that were dropped here: %d; %s", dropped, self._failure)

    def _forget(self) -> None:
        """In a forked child: the lines are the parent's."""
        self.lines.clear()
        self._unwritten.clear()
        self._size = self._dropped = 0

    def _write(self, seconds: float) -> bool:
        """Write what there is, and wait no longer than this. False: the log would take more later."""
        if self._writing:  # a signal handler or a finalizer logs in the middle
            return True
        self._writing = True
        try:
            return self._write_to_stream(seconds)
        finally:
            self._writing = False

    def _write_to_stream(self, seconds: float) -> bool:
        text = ""
        if count := len(self.lines):
            text = "\n".join(self.lines[:count]) + "\n"
            del self.lines[:count]
        elif not self._unwritten:
            return True
        try:
            descriptor = self.stream.fileno()
        except (OSError, ValueError, AttributeError):  # it is nothing, or something in this process
            with contextlib.suppress(OSError, ValueError, AttributeError):
                self.stream.write(text)
            return True
        if text:
            self._add(text.encode(errors="backslashreplace"), descriptor)
        done = self._write_pieces(descriptor, time.monotonic() + seconds if seconds else 0)
        if self._size > KEPT:
            self._drop()
        return done

    def _add(self, data: bytes, descriptor: int) -> None:
        now = time.monotonic()
        if now > self._looked_at + 1:  # once a second: a program may redirect its standard error
            self._looked_at = now
            self._is_file = _is_file(descriptor)
        self._size += len(data)
        begin = 0
        while not self._is_file and len(data) - begin > PIECE:
            end = (data.rfind(b"\n", begin, begin + PIECE) + 1) or (data.find(b"\n", begin) + 1)
            self._unwritten.append(data[begin:end])
            begin = end
        if begin < len(data):
            self._unwritten.append(data[begin:])

    def _write_pieces(self, descriptor: int, deadline: float) -> bool:
        pieces = self._unwritten
        while pieces:
            piece = pieces[0]
            try:
                written = os.write(descriptor, piece) if self._is_file else _write_now(descriptor, piece)
            except BlockingIOError:
                if not deadline or not _is_writable(descriptor, deadline - time.monotonic()):
                    self._failure = "nobody has read the log"
                    return False
                continue
            except OSError as error:
                self._failure = f"the log could not be written: {error.strerror}"
                return True
            self._size -= written
            if written == len(piece):
                pieces.popleft()
            else:
                pieces[0] = piece[written:]
        return True

    def _drop(self) -> None:
        """Drop the newest lines, those that are too many."""
        while self._size > KEPT:
            piece = self._unwritten.pop()
            kept = piece[: piece.rfind(b"\n", 0, max(0, len(piece) - (self._size - KEPT))) + 1]
            self._size -= len(piece) - len(kept)
            self._dropped += piece.count(b"\n", len(kept))
            if kept:
                self._unwritten.append(kept)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # it is closed, which writing will tell
        return False


def _write_now(descriptor: int, piece: bytes) -> int:
    """Write to a pipe, a socket or a terminal that other processes have, too, so that it is not ours to say that writes
    do not wait.

    Raises:
        BlockingIOError: it would wait.
    """
    if _NOWAIT:
        try:
            return os.pwritev(descriptor, [piece], -1, _NOWAIT)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:  # a terminal, or pipes before Linux 6.4
                raise
    if not _is_writable(descriptor, 0):
        raise BlockingIOError
    return os.write(descriptor, piece)


def _is_writable(descriptor: int, seconds: float) -> bool:
    """Can it be written to, or has it failed, within this time?"""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(None if math.isinf(seconds) else max(0, seconds) * 1000))


def _methods() -> tuple[object, ...]:
    kind = logging.Logger
    return kind.info, kind._log, kind.makeRecord, kind.handle, kind.callHandlers, logging.getLogRecordFactory()


def _are_originals(methods: tuple[object, ...]) -> bool:
    """Are they those of `logging`, and not of a library that was imported before this module?"""
    *functions, factory = methods
    own = logging.addLevelName.__code__.co_filename
    files = {getattr(getattr(function, "__code__", None), "co_filename", None) for function in functions}
    return files == {own} and factory is logging.LogRecord


_METHODS = _methods()
_ORIGINAL = _are_originals(_METHODS)


def direct_handler(source: logging.Logger, level: int) -> LogHandler | None:
    """The server's own handler, if lines of this logger and level go there as they are, and nowhere else: there are no
    handlers, filters or formatters of the user, and no library replaces methods of `logging`.
    """
    if len(logging.root.handlers) != 1 or not source.isEnabledFor(level) or not _ORIGINAL or _methods() != _METHODS:
        return None
    handler = logging.root.handlers[0]
    if type(handler) is not LogHandler or type(handler.formatter) is not LineFormatter:
        return None
    if handler.filters or handler.level > level or source.filters:
        return None
    above: logging.Logger | None = source
    while above is not None and above is not logging.root:
        if above.handlers or not above.propagate:
            return None
        above = above.parent
    return handler
