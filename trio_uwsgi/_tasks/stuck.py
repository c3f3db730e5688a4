"""Where user code was stuck when it was ended: the line to show in the log. Floor 2.

A stack says how code waits (Trio's frames, a framework's), and somewhere among it what it waits for. Of all frames the
deepest one of the application's own is shown; where it has none, the deepest one of the libraries it uses.
"""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

from trio_uwsgi.errors import ThreadCancelled

__all__ = ["is_plumbing", "location", "thread_location"]


def location(error: BaseException) -> str:
    """Where a cancelled unit was stuck, as `file:line in function (source line)`."""
    frames: list[tuple[FrameType, int]] = []
    for part in _parts(error):
        if isinstance(part.__context__, ThreadCancelled):  # the task only waited; its thread is what was stuck
            return part.__context__.where
        frames += [(tb.tb_frame, tb.tb_lineno) for tb in _tracebacks(part.__traceback__)]
    return _deepest(frames)


def _parts(error: BaseException) -> Iterator[BaseException]:
    """The error, and what is in its groups: of several tasks that were cancelled each has its own stack."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _parts(part)


def thread_location(ident: int) -> str:
    """Where a running thread is right now, in the same form as `location`; `ident` is `threading.get_ident()` of it."""
    frame: FrameType | None = sys._current_frames().get(ident)
    frames: list[tuple[FrameType, int]] = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return _deepest(frames[::-1])


def _tracebacks(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


# Frames of these packages say how the unit waits, not what it waits for.
_PLUMBING = {"trio", "trio_uwsgi", "outcome", "anyio", "contextlib", "threading", "queue"}
# Installed code, also the standard library's; `<frozen ...>` is import machinery.
_LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}, "<frozen")


def is_plumbing(frame: FrameType) -> bool:
    """Does it say how code waits, and not what for?"""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _PLUMBING


def _deepest(frames: list[tuple[FrameType, int]]) -> str:
    theirs = [f for f in frames if not is_plumbing(f[0])]
    if not theirs:
        return "a place outside of the application"
    own = [f for f in theirs if not f[0].f_code.co_filename.startswith(_LIBRARIES)]
    frame, line = (own or theirs)[-1]
    entry = traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)
    return f"{entry.filename}:{entry.lineno} in {entry.name} ({entry.line})"
