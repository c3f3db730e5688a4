"""Hides Trio from synchronous code of an application on Trio's own thread.

A WSGI application is synchronous code without an event loop around it, in every mode. On Trio's own thread two thread
local objects would say otherwise:

- sniffio detects Trio in all code there, and so `asyncio.run` around anyio or httpx fails. Here its result depends on
  the caller: below `greenback.await_` it is Trio; all other code of the application has no loop, or its own.
- `trio.from_thread` does not know the thread, and its error does not help. Here the error says what to do, and
  `check_cancelled`, which other threads may call, does nothing.

Neither object has a hook, so both get a class of ours, once, in processes that run such code. For all other code they
work as before.
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

__all__ = ["REMEDY", "hide_trio", "is_sync_code", "run_sync_code"]

T = TypeVar("T")

REMEDY = "write sync.wait() in its place, or set threads=1 or more (--threads 1)"

# The threads that are in `run_sync_code`; each has one driver, so calls do not nest.
_running: set[int] = set()
_enter, _leave = _running.add, _running.discard


def run_sync_code(func: Callable[..., T], *args: object) -> T:
    """Call code of an application on Trio's own thread."""
    ident = get_ident()
    _enter(ident)
    try:
        return func(*args)
    finally:
        _leave(ident)


_RUN_SYNC_CODE: CodeType = run_sync_code.__code__


def is_sync_code(frame: FrameType | None) -> bool:
    """Was this frame called by `run_sync_code`, and not by what such code awaits with greenback?"""
    if get_ident() not in _running:
        return False
    while frame is not None:
        if frame.f_code is _RUN_SYNC_CODE:
            return True
        if str(frame.f_globals.get("__name__")).startswith("greenback."):
            return False
        frame = frame.f_back
    return False


class _Library(type(sniffio.thread_local)):  # type: ignore[misc]  # a class that is found at run time
    @property
    def name(self) -> str | None:
        value: str | None = self.__dict__.get("name")
        return None if value is not None and is_sync_code(sys._getframe(1)) else value

    @name.setter
    def name(self, value: str | None) -> None:
        self.__dict__["name"] = value


def _field(name: str, missing: Callable[[], object]) -> Any:
    """An attribute of a thread local object. Where it is not set, synchronous code gets what `missing` does."""

    def get(self: Any) -> object:
        try:
            return self.__dict__[name]
        except KeyError:
            if is_sync_code(sys._getframe(1)):
                return missing()
            raise AttributeError(name) from None

    def put(self: Any, value: object) -> None:
        self.__dict__[name] = value

    def drop(self: Any) -> None:
        if self.__dict__.pop(name, self) is self:
            raise AttributeError(name)

    return property(get, put, drop)


def _refuse() -> object:
    raise CannotWait("trio.from_thread", REMEDY)


def hide_trio() -> None:
    """Give both objects their new classes in this process. Calling it again does nothing."""
    if not isinstance(sniffio.thread_local, _Library):
        sniffio.thread_local.__class__ = _Library
    data = getattr(trio._threads, "PARENT_TASK_DATA", None)  # it has no public name; without it, Trio's own error stays
    if isinstance(data, threading.local) and type(data).__name__ != "_Parent":
        fields = {"token": _field("token", _refuse), "cancel_register": _field("cancel_register", lambda: [None])}
        data.__class__ = type("_Parent", (type(data),), fields)
