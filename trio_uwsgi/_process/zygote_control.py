"""The master's side of a zygote: a context manager for the zygote, and `Child` objects for what it forks.

    async with open_zygote(plan) as zygote:
        async with await zygote.fork("worker1", setup, [listener.fileno()]) as child:
            ...                          # child.ctl is the stream of the member's link
            status = await child.wait()

One shielded task receives the zygote's frames, and one per child waits for its end. So the ends of children are
noticed also when the body is cancelled; `Zygote.aclose` bounds how long that takes.

What runs in these processes is in `zygote.py` and `child_main.py`; `zygote.py` says which systems have them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence

import trio

from trio_uwsgi._link.frames import Frame as MemberFrame
from trio_uwsgi._link.frames import FrameReader as MemberFrameReader
from trio_uwsgi._process.child import KILL_TIMEOUT, Child, ExitStatus
from trio_uwsgi._process.loader import import_took_too_long
from trio_uwsgi._process.zygote import become_subreaper, sys_path_line
from trio_uwsgi._process.zygote_channel import ANSWER, ZygoteChannel, ZygoteDied, close_all
from trio_uwsgi._process.zygote_frames import (
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Hello,
    Imported,
    ImportFailed,
    Retire,
    Sent,
    ZygoteFrame,
    encode,
)
from trio_uwsgi._process.zygote_start import Plan, ZygoteProcess, check_threads
from trio_uwsgi._system.pidfds import send_signal
from trio_uwsgi._system.subreaper import OWN_CHILDREN, children_of
from trio_uwsgi._units.stack_dumps import STACKS
from trio_uwsgi.errors import BootError, UwsgiError

__all__ = [
    "Child",
    "ExitStatus",
    "ForkRefused",
    "Plan",
    "RemoteTraceback",
    "Zygote",
    "ZygoteDied",
    "open_zygote",
]


logger = logging.getLogger("trio_uwsgi")


# Seconds in which the last frames of a zygote arrive.
_FINAL_FRAMES = 1.0
# Seconds that faulthandler may need to print a stack.
_STACKS = 0.2
# Seconds for processes that an import had started to end, when that import was cut short.
_LEFTOVERS_TIMEOUT = 1.0


class ForkRefused(UwsgiError):
    """The system refused another process."""


class RemoteTraceback(Exception):
    """The cause of an error that was raised in another process. Its text is the traceback from there."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@dataclasses.dataclass(slots=True)
class _PendingFork:
    """A child that was requested from the zygote and is not running yet."""

    name: str
    ctl: trio.SocketStream
    sent: bool = False
    answered: trio.Event = dataclasses.field(default_factory=trio.Event)
    child: Child | None = None
    refusal: str = ""


class Zygote:
    """A running zygote; see `open_zygote`. `imported` is the frame that it sent when it was ready, and `sent` has what
    the import sent to the master. `died` is set at its end, and `ended` when all of its children have ended, too.
    """

    def __init__(
        self,
        plan: Plan,
        process: ZygoteProcess,
        channel: ZygoteChannel,
        imported: Imported,
        sent: Sequence[MemberFrame],
    ) -> None:
        self.imported = imported
        self.sent = sent
        self.died = trio.Event()
        self.ended = trio.Event()
        self._plan = plan
        self._process = process
        self._channel = channel
        self._last_ident = 0
        self._pending_forks: dict[int, _PendingFork] = {}
        self._children: dict[int, Child] = {}
        self._scope = trio.CancelScope(shield=True)
        # Around the waits of `aclose` for what `serve` receives: cancelled when `serve` has ended, or failed.
        self._close_scope = trio.CancelScope()

    def __repr__(self) -> str:
        end = f", {self.status}" if self.died.is_set() else ""
        return f"<Zygote, process {self.pid}: {len(self._children)} children{end}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        code = self._process.returncode
        return None if code is None else ExitStatus.of(code)

    async def fork(self, name: str, setup: object = None, descriptors: Sequence[int] = ()) -> Child:
        """Fork a child that runs `Plan.main`. Its process exists when this returns; it may not have run yet.

        Args:
            name: for the log.
            setup: a JSON value, the second argument of `main`.
            descriptors: passed to the child after that of `ctl`, in this order. They are copied; the caller still has
                to close its own.
        Raises:
            ZygoteDied: the zygote has ended or does not answer.
            ForkRefused: the system refused another process.
        Cancellation: no child is left.
        """
        if self.died.is_set():
            raise ZygoteDied("the zygote has ended")
        near, far = socket.socketpair()
        pending = _PendingFork(name, trio.SocketStream(trio.socket.from_stdlib_socket(near)))
        self._last_ident += 1
        ident = self._last_ident
        self._pending_forks[ident] = pending
        try:
            with far:
                fork = Fork(ident, name, setup, 1 + len(descriptors))
                await self._channel.send(encode(fork), [far.fileno(), *descriptors])
                pending.sent = True
            with trio.move_on_after(ANSWER) as answer:
                await pending.answered.wait()
            if answer.cancelled_caught:
                self._process.kill()
            if pending.refusal:
                raise ForkRefused(f"cannot start a process for {name}: {pending.refusal}")
            if pending.child is None:
                raise ZygoteDied(f"cannot start a process for {name}: the zygote has ended or does not answer")
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._abandon(ident, pending)
            raise
        return pending.child

    async def _abandon(self, ident: int, pending: _PendingFork) -> None:
        """End a child that is no longer wanted, at whatever stage of its start."""
        if pending.sent:
            with trio.move_on_after(ANSWER):
                await pending.answered.wait()
        self._pending_forks.pop(ident, None)  # if it is forked even later, `_on_forked` kills it
        await trio.aclose_forcefully(pending.ctl)
        if pending.child is not None:
            await pending.child.aclose()

    async def retire(self) -> None:
        """Have it fork no more, and end after its last child.

        Raises:
            ZygoteDied: it has ended already.
        """
        await self._channel.send(encode(Retire()))

    # ----- receiving, and ending

    async def serve(self) -> None:
        """Receive frames and watch the children, until the zygote and they have ended."""
        try:
            with self._scope:
                async with trio.open_nursery() as watchers:
                    watchers.start_soon(self._watch_process)
                    while (received := await self._channel.receive()) is not None:
                        self._handle(*received, watchers)
                    # This process adopts the children when the zygote's process ends, not when its socket is closed.
                    with trio.move_on_after(KILL_TIMEOUT):
                        await self._process.wait()
                    self.died.set()
                    for pending in self._pending_forks.values():
                        pending.answered.set()
            self.ended.set()
        finally:
            self._close_scope.cancel()

    async def _watch_process(self) -> None:
        """Close the channel after the end of the zygote's process: other processes may hold its socket open."""
        await self._process.wait()
        with trio.move_on_after(_FINAL_FRAMES):
            await self.died.wait()
        self._channel.close()

    def _handle(self, frame: ZygoteFrame, descriptors: list[int], watchers: trio.Nursery) -> None:
        if isinstance(frame, Forked):
            self._on_forked(frame, descriptors, watchers)
        elif isinstance(frame, ForkFailed):
            pending = self._pending_forks.pop(frame.ident, None)
            if pending is not None:
                pending.refusal = frame.reason
                pending.answered.set()
        elif isinstance(frame, Exited) and frame.ident in self._children:
            self._children[frame.ident].report(frame.status)

    def _on_forked(self, frame: Forked, descriptors: list[int], watchers: trio.Nursery) -> None:
        pidfd, lifeline = descriptors
        pending = self._pending_forks.pop(frame.ident, None)
        if pending is None:  # its `fork` was given up
            send_signal(pidfd, frame.pid, signal.SIGKILL)
            close_all(descriptors)
            return
        pending.child = Child(pending.name, pending.ctl, frame.pid, pidfd, lifeline)
        self._children[frame.ident] = pending.child
        watchers.start_soon(self._watch, frame.ident, pending.child)
        pending.answered.set()

    async def _watch(self, ident: int, child: Child) -> None:
        await child.watch(self.died)
        del self._children[ident]

    async def aclose(self) -> None:
        """Ask all children to end, kill those that do not, and end the zygote. Bounded, and not to be cancelled."""
        self._channel.finish()  # the zygote then ends its children as is done here
        children = list(self._children.values())
        for child in children:
            child.request_stop()
        with self._close_scope:
            with trio.move_on_after(self._plan.orphan_grace):
                for child in children:
                    await child.wait()
            for child in children:
                child.kill()
            with trio.move_on_after(KILL_TIMEOUT):
                await self.died.wait()
                for child in children:
                    await child.wait()
        for child in children:
            child.kill()
        self._scope.cancel()
        self._channel.close()
        await _kill_process(self._process)
        for child in children:
            await trio.aclose_forcefully(child.ctl)


async def _kill_process(process: ZygoteProcess) -> None:
    process.kill()
    with trio.move_on_after(KILL_TIMEOUT, shield=True):
        await process.wait()
    OWN_CHILDREN.discard(process.pid)


# ----- the start


@contextlib.asynccontextmanager
async def open_zygote(plan: Plan) -> AsyncIterator[Zygote]:
    """Start a zygote, and end it, with all its children, at the end of the block.

    The death of the zygote ends neither its children nor the block: open another zygote beside it for new children, and
    leave this block when its own children have ended.

    Raises:
        BootError: the zygote's process cannot be started; or the import of the application failed (the cause is a
            `RemoteTraceback`), took too long, or started threads.
    Cancellation: no process is left, after `Plan.orphan_grace` seconds and a little.
    """
    become_subreaper()
    process, channel, imported, sent = await _start(plan)
    zygote = Zygote(plan, process, channel, imported, sent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(zygote.serve)  # no `await` before this: its process would be left behind
        try:
            yield zygote
        finally:
            with trio.CancelScope(shield=True):
                await zygote.aclose()


async def _start(plan: Plan) -> tuple[ZygoteProcess, ZygoteChannel, Imported, list[MemberFrame]]:
    process, channel = await plan.start_zygote()
    OWN_CHILDREN.add(process.pid)
    sent: list[MemberFrame] = []
    try:
        async with plan.attended() if plan.attended is not None else contextlib.nullcontext(()) as descriptors:
            imported = await _import_application(plan, process, channel, descriptors, sent)
        check_threads(plan.app, imported, allowed=plan.threads == "allow")
    except BaseException:
        channel.close()
        started = children_of(process.pid)
        await _kill_process(process)
        await _reap_leftovers(started)
        raise
    return process, channel, imported, sent


async def _reap_leftovers(started: list[int]) -> None:
    """Reap processes that an import had started (Trio's runs ldconfig). This process adopts them when the zygote was
    killed during the import. One that runs longer than a moment is a daemon, and is left alone.
    """
    with trio.move_on_after(_LEFTOVERS_TIMEOUT, shield=True):
        for pid in started:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                pidfd = os.pidfd_open(pid)
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)  # noqa: ASYNC222  # it has ended
                finally:
                    os.close(pidfd)


async def _import_application(
    plan: Plan,
    process: ZygoteProcess,
    channel: ZygoteChannel,
    descriptors: Sequence[int],
    sent: list[MemberFrame],
) -> Imported:
    hello = Hello(
        argv=sys.argv,
        app=list(dataclasses.astuple(plan.app)),
        main=plan.main,
        prepare=plan.prepare,
        setup=plan.setup,
        describe=plan.describe,
        importing=plan.importing,
        lazy=plan.lazy,
        grace=plan.orphan_grace,
        count=len(descriptors),
    )
    received: tuple[ZygoteFrame, list[int]] | None = None
    with trio.move_on_after(plan.start_timeout) as limit, contextlib.suppress(ZygoteDied):
        await channel.send(encode(hello), descriptors, first=sys_path_line())
        received = await channel.receive()
        reader = MemberFrameReader()
        while received is not None and isinstance(received[0], Sent):
            sent.extend(reader.feed(received[0].frame))
            received = await channel.receive()
    if limit.cancelled_caught:
        process.send_signal(STACKS)
        await trio.sleep(_STACKS)
        raise BootError(import_took_too_long(str(plan.app), plan.start_timeout))
    frame = received[0] if received is not None else None
    if isinstance(frame, ImportFailed):
        raise BootError(frame.reason) from (RemoteTraceback(frame.traceback) if frame.traceback else None)
    if not isinstance(frame, Imported):
        channel.close()
        status = ExitStatus.of(await process.wait())
        raise BootError(f"the process that imports {plan.app} ended before it was done: {status}")
    return frame
