"""The threads of an import: the one that imports the application, and those that the application starts meanwhile.

An application is imported outside of Trio, in the process's main thread, because it may run an event loop of its own,
or set handlers of posix signals. Its code calls the API all the same, and most calls need nothing but memory and files.
The first call that has to wait (for a lock, for another node, for an RPC function) starts a Trio run in a thread beside
the import, in which all such calls are made. It ends with the import, before the process forks.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVarTuple

import trio

from trio_uwsgi._units.app_threads import AppThread, AppThreads
from trio_uwsgi._units.unit import UNIT

if TYPE_CHECKING:
    from trio_uwsgi._units.member import Member

__all__ = ["ImportThreads"]

Ts = TypeVarTuple("Ts")


class ImportThreads(AppThreads):
    """As `AppThreads`, with a Trio run on demand. Code of a Trio task has its unit in the context, as any task has.

    Args:
        member: the one that the import's code belongs to.
        start_services: starts in a nursery what calls of the API need.
    """

    def __init__(self, member: Member, start_services: Callable[[trio.Nursery], Awaitable[None]]) -> None:
        super().__init__(member)
        self._start_services = start_services
        self._importing = threading.get_ident()
        self._starting = threading.Lock()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._scope = trio.CancelScope()
        self._refused: OSError | None = None  # why the system refused a Trio run

    @property
    def has_trio(self) -> bool:
        return self._started.is_set()

    def unit_name(self) -> tuple[str, str]:
        return ("import", "") if threading.get_ident() == self._importing else super().unit_name()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """During the body, which imports, threads find that they belong to this member."""
        token = UNIT.set(AppThread(self)) if trio.lowlevel.in_trio_run() else None
        try:
            with self._served():
                yield
        finally:
            if token is not None:
                UNIT.reset(token)
            self._end()

    def call_soon(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        if not self._started.is_set():
            self._start()
        if self._refused is not None:
            raise self._refused
        super().call_soon(func, *args)

    def _start(self) -> None:
        with self._starting:
            if not self.serving:  # the import has ended, and the process may fork: no thread begins any more
                raise trio.RunFinishedError
            if self._thread is None:
                thread = threading.Thread(target=self._run_trio, name="calls of the import", daemon=True)
                thread.start()
                self._thread = thread
                self._started.wait()

    def _run_trio(self) -> None:
        try:
            trio.run(self._serve)
        except OSError as error:
            self._refused = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.trios_thread = threading.get_ident()
        with self._scope:
            async with trio.open_nursery() as services:
                await self._start_services(services)
                async with trio.open_nursery() as self.nursery:
                    self._started.set()
                    await trio.sleep_forever()

    def _end(self) -> None:
        with self._starting:  # the first call of a thread may just be starting it
            thread = self._thread
        if thread is None:
            return
        if self._refused is None:
            with contextlib.suppress(trio.RunFinishedError):
                self.token.run_sync_soon(self._scope.cancel)
        thread.join()
