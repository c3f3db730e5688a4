"""What a mule does: its program, its signals, its messages, each a task of its own nursery. Floor 3."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._tasks.threads import ThreadPool
from trio_uwsgi._wire.frames import Ready

if TYPE_CHECKING:
    from trio_uwsgi._core.registry import Program
    from trio_uwsgi._tasks.calls import Calls
    from trio_uwsgi._tasks.inbox import Inbox
    from trio_uwsgi._tasks.unit import Member

__all__ = ["serve_mule"]

logger = logging.getLogger("trio_uwsgi")

# A program that fails is started again after 1, 2, 4, ... 60 seconds. One that ran a minute starts at 1 again. uWSGI's
# mule is respawned at once, which for a program that fails at its start is a busy loop.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

# One `def` handler of signals, one of messages, and a `def` program.
_THREADS = 3


async def serve_mule(member: Member, calls: Calls) -> None:
    """Be a mule until the master says stop; then the program is cancelled, and what waits is still handled.

    A cancellation ends it at once; what waited is reported by the master.
    """
    inbox: Inbox = member.inbox
    program = member.registry.programs.get(member.number)
    inbox.programmed = program is not None
    async with trio.open_nursery() as nursery:
        await nursery.start(member.threads.serve)
        await nursery.start(member.rpc_threads.serve)
        async with trio.open_nursery() as loops, trio.open_nursery() as programs:
            loops.start_soon(inbox.serve_signals)
            loops.start_soon(inbox.serve_messages)
            if program is not None:
                programs.start_soon(_run_program, member, calls, program)
            member.link.send(Ready())
            await inbox.stopping.wait()
            programs.cancel_scope.cancel()
            inbox.give_back_messages()
            inbox.finish()
        nursery.cancel_scope.cancel()


async def _run_program(member: Member, calls: Calls, program: Program) -> None:
    pause = FIRST_PAUSE
    while True:
        started = trio.current_time()
        member.journal.note(member.name, "program started")
        result = await calls.run("program", getattr(program, "__name__", ""), program, limit=0)
        member.inbox.release_message()
        if result.returned:  # from now on this mule is like one without a program
            member.inbox.give_back_messages()
            return
        if trio.current_time() - started >= LONGEST_PAUSE:
            pause = FIRST_PAUSE
        logger.warning("%s: its program is started again in %g s", member.name, pause)
        await trio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def mule_threads(member: Member) -> ThreadPool:
    """The threads of a mule's `def` handlers."""
    return ThreadPool(_THREADS, member.name)
