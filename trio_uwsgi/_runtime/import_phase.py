"""The import of the application, as code of a member.

An import begins when what members share is open, and before any member runs. So its code uses caches, the queue,
metrics, shared areas and spool directories as any code of a member does; its calls that wait are made in a Trio run
beside it (`_units/import_threads.py`); and what it sends to the master (signals, messages, alarms) is kept, and sent
when members serve.

    tasks                the import is by "master", in the process of the server
    processes            by "master", in the zygote; its locks are asked for over a socket of their own
    lazy applications    by the member itself, in its process; likewise
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import trio

from trio_uwsgi._link.frames import AreaChanged, Frame, Granted, SpoolerFrequency
from trio_uwsgi._link.link import StoredLink, StreamLink
from trio_uwsgi._locks.remote import RemoteLocks
from trio_uwsgi._runtime.member_factory import MemberFactory
from trio_uwsgi._runtime.member_threads import rpc_threads
from trio_uwsgi._runtime.slots import Slot
from trio_uwsgi._runtime.worker import Application
from trio_uwsgi._units.import_threads import ImportThreads
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi.errors import UwsgiError

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.settings import Environment, Settings
    from trio_uwsgi._signals.targets import Kind

__all__ = ["ImportPhase", "LockLine", "obey_import"]

logger = logging.getLogger("trio_uwsgi")

_NO_APPLICATION = Application(None, "wsgi", 1, multithread=False)


class LockLine:
    """An import's side of the socket over which it asks the master for locks.

    Args:
        descriptor: of the socket; this object owns it.
        highest, scoreboard: as for `RemoteLocks`.
    """

    def __init__(self, descriptor: int, highest: int, scoreboard: Scoreboard) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._link: StreamLink | None = None  # once Trio runs
        self.locks = RemoteLocks(highest, scoreboard, self.send)

    def send(self, frame: Frame) -> None:
        """Send a request of the locks, which are only asked for where Trio runs."""
        assert self._link is not None
        self._link.send(frame)

    def _obey(self, frame: Frame) -> None:
        assert isinstance(frame, Granted), frame
        self.locks.granted(frame.number, frame.ident)

    async def start(self, nursery: trio.Nursery) -> None:
        """Use the socket until the nursery is cancelled."""
        self._socket.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))
        self._link = StreamLink(stream, self._obey, 0)
        nursery.start_soon(self._link.run)

    def close(self) -> None:
        """The import has ended; the master releases what it still holds."""
        self._socket.close()


class ImportPhase:
    """A context manager around an import. `sent` is what it has sent to the master, once it has ended.

    Args:
        registry: gets the declarations.
        settings: those of the runtime.
        environment: as for members, with `stores`, which are open in the block, and also afterwards where members are
            tasks.
        member: the kind and the number of the member whose code the import is.
        line: where members are processes, for locks.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        environment: Environment,
        member: tuple[Kind | Literal["master"], int] = ("master", 0),
        line: LockLine | None = None,
    ) -> None:
        assert environment.stores is not None
        self._stores = environment.stores
        self._line = line
        self._link = StoredLink(settings.signal_queue)
        factory = MemberFactory(_NO_APPLICATION, registry, settings, environment)
        self._services = services = factory.services
        self._member = member_here = factory.member(Slot(*member))
        member_here.importing = True
        member_here.link = self._link
        member_here.threads = ThreadPool(1, member_here.name)
        member_here.rpc_threads = rpc_threads(member_here)
        services.spools.send_frequency = lambda seconds: self._link.send(SpoolerFrequency(seconds))
        if line is not None:
            services.areas.announce = lambda number: self._link.send(AreaChanged(number))
        self._open = contextlib.ExitStack()
        self.at_end: Callable[[], None] = lambda: None

    @property
    def sent(self) -> Sequence[Frame]:
        """What the import has sent to the master, in order."""
        return self._link.sent

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stores.open()
            if self._line is not None:
                stack.callback(self._stores.close)  # each member opens its own
                stack.callback(self._line.close)
            else:
                for spool in self._services.spools.all:
                    spool.folder.prepare()
            stack.enter_context(ImportThreads(self._member, self._start_services).opened())
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self.at_end()

    async def _start_services(self, nursery: trio.Nursery) -> None:
        for service in (self._member.threads.serve, self._member.rpc_threads.serve, self._services.nodes.serve):
            await nursery.start(service)
        if self._line is not None:
            await self._line.start(nursery)


def obey_import(master: Master, frames: Iterable[Frame], set_frequency: Callable[[float], None]) -> None:
    """In the master, once members serve: do what the code of an import has asked for. `set_frequency` sets how often
    spoolers look for jobs.
    """
    for frame in frames:
        try:
            if isinstance(frame, SpoolerFrequency):
                set_frequency(frame.seconds)
            else:
                master.obey(master.instance, frame)
        except UwsgiError as error:
            logger.error("what the application's import has sent was refused: %s", error)
