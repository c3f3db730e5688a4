"""What synchronous code on Trio's own thread is told about where it runs.

A WSGI application is synchronous code without an event loop around it, in every mode. On Trio's own thread two things
would say otherwise, each through a thread local object:

- sniffio says "trio" to all that runs there, and so `asyncio.run` around anyio or httpx fails. Here its answer depends
  on who asks: what is below `greenback.await_` is Trio's; all other code of the application has no loop, or its own.
- `trio.from_thread` knows nothing of the thread, and what it says about that helps nobody. Here its error says what to
  do, and `check_cancelled`, which other threads may call, has nothing to say.

Neither object has a hook, so both are given a class of ours, once, in processes that run such code. What they say to
anybody else is what they said before.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, TypeVar

import sniffio
import trio

from trio_uwsgi.errors import CannotWait

__all__ = ["REMEDY", "explain", "is_plain", "run_plain"]

T = TypeVar("T")

REMEDY = "set threads=1 or more, or wait with greenback.await_() (of trio-uwsgi[greenback]) in its place"

_running: set[int] = set()  # the threads that are in `run_plain`; there is one driver in each, so that does not nest
_enter, _leave = _running.add, _running.discard


def run_plain(func: Callable[..., T], *args: object) -> T:
    """Call code of an application on Trio's own thread."""
    ident = get_ident()
    _enter(ident)
    try:
        return func(*args)
    finally:
        _leave(ident)


_RUN_PLAIN: CodeType = run_plain.__code__


def is_plain(frame: FrameType | None) -> bool:
    """Is this frame code that `run_plain` called, and not what such code awaits with greenback?"""
    if get_ident() not in _running:
        return False
    while frame is not None:
        if frame.f_code is _RUN_PLAIN:
            return True
        if str(frame.f_globals.get("__name__")).startswith("greenback."):
            return False
        frame = frame.f_back
    return False


class _Library(type(sniffio.thread_local)):  # type: ignore[misc]  # a class that is found at run time
    @property
    def name(self) -> str | None:
        value: str | None = self.__dict__.get("name")
        return None if value is not None and is_plain(sys._getframe(1)) else value

    @name.setter
    def name(self, value: str | None) -> None:
        self.__dict__["name"] = value


def _field(name: str, plain: Callable[[], object]) -> Any:
    """An attribute of a thread local object, for which plain code gets what `plain` gives or raises."""

    def get(self: Any) -> object:
        try:
            return self.__dict__[name]
        except KeyError:
            if is_plain(sys._getframe(1)):
                return plain()
            raise AttributeError(name) from None

    def put(self: Any, value: object) -> None:
        self.__dict__[name] = value

    def drop(self: Any) -> None:
        if self.__dict__.pop(name, self) is self:
            raise AttributeError(name)

    return property(get, put, drop)


def _refuse() -> object:
    raise CannotWait("trio.from_thread", REMEDY)


def explain() -> None:
    """Have both objects tell plain code of this process what is true for it. May be called again."""
    if not isinstance(sniffio.thread_local, _Library):
        sniffio.thread_local.__class__ = _Library
    data = getattr(trio._threads, "PARENT_TASK_DATA", None)  # it has no public name; without it, Trio says what it says
    if isinstance(data, threading.local) and type(data).__name__ != "_Parent":
        fields = {"token": _field("token", _refuse), "cancel_register": _field("cancel_register", lambda: [None])}
        data.__class__ = type("_Parent", (type(data),), fields)
