"""The threads of an import: who they are, the Trio run beside them, and its end."""

from __future__ import annotations

import resource
import threading
from typing import Any

import pytest
import trio

from trio_uwsgi import sync
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._units.app_threads import app_thread, import_on_trios_thread
from trio_uwsgi._units.import_threads import ImportThreads
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import NotServing
from trio_uwsgi.uwsgi._base import on_trios_thread

PATIENCE = 30


class Import:
    """An import of worker 1. `events` has what its services do."""

    def __init__(self) -> None:
        self.member = Member("worker", 1, Registry(), LoggingJournal(), lambda: 0.0)
        self.member.importing = True
        self.events: list[str] = []
        self.threads = ImportThreads(self.member, self._start)

    async def _start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self._serve)

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.events.append("begun")
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.events.append("ended")


def thread() -> Any:
    """The calling thread as a unit of the import."""
    found = app_thread()
    assert found is not None
    return found


async def who() -> tuple[object, int]:
    """The unit and the thread of a call."""
    await trio.lowlevel.checkpoint()
    return UNIT.get(), threading.get_ident()


def test_calls_that_do_not_wait() -> None:
    """They are made by the calling thread, and no Trio runs."""
    importing = Import()
    with importing.threads.opened():
        assert ("import", importing.member) == (thread().what, thread().member)
        assert threading.get_ident() == on_trios_thread(threading.get_ident)
    assert [] == importing.events
    assert app_thread() is None


def test_calls_that_wait() -> None:
    """They are made in one Trio run, which ends with the import, and have the unit of their thread."""
    importing = Import()
    seen: list[tuple[object, int]] = []
    with importing.threads.opened():
        unit = thread()
        unit.at_end(lambda: importing.events.append("unit"))
        seen += [sync.wait(who), sync.wait(who)]
        other = threading.Thread(target=lambda: seen.append(sync.wait(who)), name="pool")
        other.start()
        other.join(PATIENCE)
        assert seen[0] == seen[1] == (unit, on_trios_thread(threading.get_ident))
        assert ("thread pool", seen[0][1]) == (seen[2][0].what, seen[2][1])  # type: ignore[attr-defined]  # a Unit
        assert threading.get_ident() != seen[0][1]
    assert ["begun", "unit", "ended"] == sorted(importing.events, key=["begun", "unit", "ended"].index)
    assert seen[0][1] not in {alive.ident for alive in threading.enumerate()}


def test_a_thread_that_waits_at_the_end_of_the_import() -> None:
    """Its call is cancelled, and the error says why; a later call finds no member."""
    importing = Import()
    errors: list[str] = []
    waits = threading.Event()

    async def linger() -> None:
        waits.set()
        await trio.sleep_forever()

    def work() -> None:
        for _ in range(2):
            with pytest.raises(NotServing) as info:
                sync.wait(linger)
            errors.append(str(info.value).rpartition("linger) ")[2])

    with importing.threads.opened():
        other = threading.Thread(target=work, name="pool")
        other.start()
        assert waits.wait(PATIENCE)
    other.join(PATIENCE)
    where = "was called outside of a running member; call it in a request, a handler, a job or a mule's program"
    assert ["was called by thread pool, and the import has ended; call it once members serve", where] == errors


def test_an_import_that_ends_while_a_thread_starts_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits for the start. The call fails, and the import does not."""
    importing = Import()
    starting, ending = threading.Event(), threading.Event()
    run, end = importing.threads._run_trio, importing.threads._end
    errors: list[NotServing] = []

    def slow_run() -> None:
        starting.set()
        assert ending.wait(PATIENCE)
        run()

    def slow_end() -> None:
        ending.set()
        end()

    def work() -> None:
        with pytest.raises(NotServing) as info:
            sync.wait(who)
        errors.append(info.value)

    monkeypatch.setattr(importing.threads, "_run_trio", slow_run)
    monkeypatch.setattr(importing.threads, "_end", slow_end)
    other = threading.Thread(target=work)
    with importing.threads.opened():
        other.start()
        assert starting.wait(PATIENCE)
    other.join(PATIENCE)
    assert 1 == len(errors)
    assert ["begun", "ended"] == importing.events


def test_a_first_call_that_comes_too_late() -> None:
    """No Trio run begins for it: the process may fork now."""
    importing = Import()
    with importing.threads.opened():
        unit = thread()
    with pytest.raises(NotServing, match="the import has ended"):
        unit.run("who", who)
    assert [] == importing.events


async def test_an_import_on_trios_own_thread() -> None:
    """Its calls wait in the other run, which blocks this one, as the import does."""
    importing = Import()
    with importing.threads.opened():
        unit = UNIT.get()
        assert unit is import_on_trios_thread()
        assert unit == sync.wait(who)[0]
        assert threading.get_ident() != on_trios_thread(threading.get_ident)
    assert UNIT.get(None) is None
    assert import_on_trios_thread() is None


def test_services_that_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call fails, instead of waiting for ever."""
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: told.append(failure.exc_type))

    async def fail(nursery: trio.Nursery) -> None:
        raise LookupError

    threads = ImportThreads(Import().member, fail)
    with threads.opened(), pytest.raises(NotServing):
        sync.wait(who)
    assert [ExceptionGroup] == told


def test_a_system_that_refuses_a_trio_run() -> None:
    """The call that needs it says so, and so does the next one; the import goes on, and ends."""
    importing = Import()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with importing.threads.opened():
        unit = thread()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            for _ in range(2):
                with pytest.raises(OSError, match="Too many open files"):
                    unit.run("call", who)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [] == importing.events
