"""Import the application in the standalone server's own process, where members are tasks.

Members' processes are watched by the master during an import; here a thread enforces the time limit, and a posix signal
interrupts the import.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

import trio

from trio_uwsgi._process.loader import PassingThrough, import_took_too_long
from trio_uwsgi._process.member_process import CANNOT_START
from trio_uwsgi._runtime.configured import environment_of, settings_of
from trio_uwsgi._runtime.import_phase import ImportPhase
from trio_uwsgi._runtime.stores import Stores
from trio_uwsgi._system.interpreter_exit import LONGEST, flush_output

if TYPE_CHECKING:
    from trio_uwsgi._link.frames import Frame
    from trio_uwsgi._process.app_name import AppReference
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi.config import Config

__all__ = ["IMPORTED", "STOPS", "Importing", "in_time", "load_where_signals_are_obeyed", "rehearsing"]

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_STDERR = 2


@contextlib.contextmanager
def in_time(app: str, seconds: float) -> Iterator[None]:
    """Print the stacks and end the process if the body takes longer than this; 0 is no limit.

    A thread does that, because the import may block in C code.
    """
    if not seconds:
        yield
        return
    done = threading.Event()
    threading.Thread(target=_end_in_time, args=(done, app, seconds), name="import_timeout", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _end_in_time(done: threading.Event, app: str, seconds: float) -> None:
    if done.wait(min(seconds, LONGEST)):
        return
    try:
        flush_output()
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        sys.stderr.write(f"trio-uwsgi: {import_took_too_long(app, seconds)}\n")
        flush_output()
    finally:
        os._exit(CANNOT_START)


class _Interrupted(PassingThrough):
    """Raised to interrupt an import for a posix signal that stops the server."""


async def load_where_signals_are_obeyed(app: AppReference) -> object:
    """Import the application on Trio's thread. If this process handles posix signals, one that stops it interrupts the
    import; otherwise it would only be handled after the import.

    Raises:
        BootError: as `AppReference.load`.
    """
    former = {number: signal.getsignal(number) for number in STOPS}
    if threading.current_thread() is not threading.main_thread() or not all(map(callable, former.values())):
        return app.load()

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = former[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)
        raise _Interrupted

    for number in STOPS:
        signal.signal(number, interrupt)
    try:
        return app.load()
    except _Interrupted:
        await trio.sleep_forever()  # the handler of the signal cancels this
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Importing:
    """A context manager around the import of an application in this process, outside of Trio: its code may use the API.

    Args:
        config: the options as far as they are known; the application's module may have others.
        registry: gets the declarations.
    """

    def __init__(self, config: Config, registry: Registry) -> None:
        settings = settings_of(config)
        environment = environment_of(config)
        self.stores = Stores(settings, environment.wall.now, None)
        self._phase = ImportPhase(registry, settings, dataclasses.replace(environment, stores=self.stores))

    @property
    def sent(self) -> Sequence[Frame]:
        """What the import has sent to the master."""
        return self._phase.sent

    def __enter__(self) -> Self:
        self._phase.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._phase.__exit__(kind, error, trace)
        if error is not None:
            self.stores.close()

    @contextlib.contextmanager
    def handed_on(self) -> Iterator[None]:
        """In the body, which is entered after the import, `serve` continues with what that has stored and sent."""
        token = IMPORTED.set(self)
        try:
            yield
        finally:
            IMPORTED.reset(token)
            self.stores.close()


@contextlib.contextmanager
def rehearsing(config: Config, registry: Registry) -> Iterator[None]:
    """Around an import that only reads the `config` of a module: what its code stores and sends is dropped."""
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(
            config,
            caches=[dataclasses.replace(cache, store=None, store_sync=0) for cache in config.caches],
            queue_store=None,
            queue_store_sync=0,
            spooler=[folder] if config.spooler else (),
        )
        with Importing(config, registry):
            yield


IMPORTED: ContextVar[Importing] = ContextVar("trio_uwsgi_imported")
"""The import whose application is served next."""
