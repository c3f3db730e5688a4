"""What a mule runs: its program, its signals, its messages, each in a task of its nursery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import Ready
from trio_uwsgi._runtime.backoff import FIRST_PAUSE, next_pause
from trio_uwsgi._runtime.hooks import hooked
from trio_uwsgi._runtime.member_threads import serve_threads
from trio_uwsgi._runtime.scripts import Script
from trio_uwsgi._units.thread_pool import ThreadPool

if TYPE_CHECKING:
    from trio_uwsgi._signals.inbox import Inbox
    from trio_uwsgi._signals.mule_functions import MessageHandler, Program
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.member import Member

__all__ = ["serve_mule"]

logger = logging.getLogger("trio_uwsgi")

# For a `def` signal handler, a `def` message handler and a `def` program; each farm function has one more.
_THREADS = 3


async def serve_mule(member: Member, calls: Calls) -> None:
    """Run a mule until the master sends `Stop` or `Drain`; then the program is cancelled, and what waits is still
    handled, by this instance or by its replacement.

    A cancellation ends it at once; the master reports what waited.
    """
    inbox: Inbox = member.inbox
    messages = inbox.messages
    functions = member.registry.mules
    headcount = member.registry.headcount
    assert headcount is not None
    if member.number <= len(headcount.scripts):
        program: Program | None = Script(headcount.scripts[member.number - 1], functions.other_program)
    else:
        program = functions.programs.get(member.number, functions.other_program)
    messages.has_program = program is not None
    # A script and the program of `uwsgidecorators` are known to read messages; handlers get them only after its end.
    messages.handlers_wait = program is not None and program is not functions.programs.get(member.number)
    async with trio.open_nursery() as nursery:
        await serve_threads(nursery, member)
        async with hooked(calls), trio.open_nursery() as loops:
            loops.start_soon(inbox.serve_signals)
            loops.start_soon(messages.serve)
            for farm, function in _functions(member).items():
                loops.start_soon(messages.serve_farm, farm, function)
            async with trio.open_nursery() as programs:
                if program is not None:
                    programs.start_soon(_run_program, member, calls, program)
                member.link.send(Ready())
                await inbox.stopping.wait()
                programs.cancel_scope.cancel()
                messages.program_ended()
                inbox.finish()
            await messages.wait_begun()
            inbox.drain()  # only now: the program never runs twice, here and in the replacement
        nursery.cancel_scope.cancel()


async def _run_program(member: Member, calls: Calls, program: Program) -> None:
    pause = 0.0
    if not member.inbox.holds_slot.is_set():
        await member.inbox.holds_slot.wait()
    while True:
        started = trio.current_time()
        member.journal.note(member.name, "program started")
        result = await calls.run("program", getattr(program, "__name__", ""), program, limit=0)
        member.inbox.messages.release()
        if result.returned:  # from now on this is a mule without a program
            member.inbox.messages.program_ended()
            return
        pause = next_pause(pause, trio.current_time() - started) or FIRST_PAUSE
        logger.warning("%s: restarting its program in %g s", member.name, pause)
        await trio.sleep(pause)


def _functions(member: Member) -> dict[str, MessageHandler]:
    """The functions of the farms that this mule is in."""
    headcount = member.registry.headcount
    assert headcount is not None
    functions = member.registry.mules.farms
    return {farm: function for farm, function in functions.items() if member.number in headcount.farms[farm]}


def mule_threads(member: Member) -> ThreadPool:
    """The threads of a mule's `def` handlers."""
    return ThreadPool(_THREADS + len(_functions(member)), member.name)
