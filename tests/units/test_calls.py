"""User code is called in one place: its failures stay there, its deadlines end it, and the log says where."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import outcome
import pytest
import trio

from trio_uwsgi import uwsgi
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._units.calls import Calls, Result
from trio_uwsgi._units.journal import LoggingJournal, only_error, summary
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi._units.unit import UNIT, Unit

if TYPE_CHECKING:
    from trio.testing import MockClock


class Remembering:
    """A journal that keeps what it is told; a strict one raises failures again."""

    remembers = True

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.notes: list[tuple[str, str]] = []
        self.failures: list[BaseException] = []

    def note(self, member: str, what: str) -> None:
        self.notes.append((member, what))

    def failed(self, member: str, what: str, error: BaseException) -> None:
        self.failures.append(error)
        if self.strict:
            raise error


@pytest.fixture
def journal() -> Remembering:
    return Remembering()


@pytest.fixture
def calls(journal: Remembering) -> Calls:
    return Calls(Member("worker", 1, Registry(), journal, lambda: 0.0), 30)


@pytest.fixture
async def threads(nursery: trio.Nursery, calls: Calls) -> AsyncIterator[ThreadPool]:
    """The threads of the member, on a clock that stands still while they run."""
    pool = ThreadPool(1, "worker1", grace=5)
    await nursery.start(pool.serve)
    calls.member.threads = pool
    with hold_clock():
        yield pool
    nursery.cancel_scope.cancel()


def counted(calls: Calls) -> tuple[int, int, int]:
    return calls.done, calls.failures, calls.harakiris


async def fail(signum: int) -> None:
    raise ValueError("no\nsuch thing")


# ----- what comes back


async def test_returned_value_comes_back(calls: Calls) -> None:
    """What an async handler returns is the result, and it is counted as done."""

    async def double(n: int) -> int:
        return 2 * n

    assert Result(True, 14) == await calls.run("signal", "7", double, 7)
    assert (1, 0, 0) == counted(calls)


async def test_def_runs_in_a_thread(calls: Calls, threads: ThreadPool, autojump_clock: MockClock) -> None:
    """A plain function runs in a thread of its member, with its unit in reach, and its value comes back."""

    def where() -> tuple[bool, str]:
        return threading.current_thread() is threading.main_thread(), UNIT.get().what

    assert Result(True, (False, "signal 7")) == await calls.run("signal", "7", where)


async def test_unit_is_known_below_and_forgotten_after(calls: Calls) -> None:
    """The unit is found in the handler and its child tasks, and not any more when it has ended, also by failing."""
    seen: list[str] = []

    async def look() -> None:
        seen.append(f"{UNIT.get().member.name} {UNIT.get().what}")

    async def handler(signum: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)

    assert UNIT.get(None) is None
    await calls.run("signal", "7", handler, 7)
    await calls.run("message", "", look)
    await calls.run("signal", "7", fail, 7)
    assert ["worker1 signal 7", "worker1 message"] == seen
    assert UNIT.get(None) is None


async def test_nested_units(calls: Calls, autojump_clock: MockClock) -> None:
    """A unit within a unit has its own deadline; when it is ended, the outer one goes on and is current again."""

    async def inner() -> None:
        await trio.sleep(100)

    async def outer() -> object:
        unit = UNIT.get()
        result = await calls.run("signal", "inner", inner, limit=5)
        assert unit is UNIT.get()
        assert 5 == trio.current_time()
        return result[:2]

    assert Result(True, (False, None)) == await calls.run("signal", "outer", outer)
    assert (1, 0, 1) == counted(calls)


# ----- failures


async def test_failure_is_contained_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises ends its unit only: one line in the log with who, what and why, and the traceback."""
    calls = Calls(Member("mule", 2, Registry(), LoggingJournal(), lambda: 0.0), 0)
    calls.member.journal.note("mule2", "a note is not logged")
    assert (False, None) == (await calls.run("signal", "17", fail, 17))[:2]
    assert (0, 1, 0) == counted(calls)
    (record,) = caplog.records
    assert ("trio_uwsgi", logging.ERROR) == (record.name, record.levelno)
    assert "mule2: signal 17 failed: ValueError: no" == record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


async def test_failure_is_noted(calls: Calls, journal: Remembering) -> None:
    """The event log gets one line, the journal the error itself."""
    await calls.run("signal", "17", fail, 17)
    assert [("worker1", "signal 17 failed: ValueError: no")] == journal.notes
    assert [ValueError] == [type(error) for error in journal.failures]


async def test_failure_in_a_thread_is_contained(
    calls: Calls, journal: Remembering, threads: ThreadPool, autojump_clock: MockClock
) -> None:
    """A plain function that raises is treated like an async one."""
    assert (False, None) == (await calls.run("signal", "1", divmod, 1, 0))[:2]
    assert [("worker1", "signal 1 failed: ZeroDivisionError: integer division or modulo by zero")] == journal.notes


async def test_def_that_returns_a_coroutine_fails(
    calls: Calls, threads: ThreadPool, journal: Remembering, autojump_clock: MockClock
) -> None:
    """A `def` around an `async def` is a mistake that is told, and not a handler that silently never runs."""
    assert (False, None) == (await calls.run("signal", "1", lambda signum: fail(signum), 1))[:2]
    assert ["TypeError"] == [type(error).__name__ for error in journal.failures]
    assert "make it `async def`" in str(journal.failures[0])


async def test_group_of_failures_stays_a_group(calls: Calls, journal: Remembering) -> None:
    """Several errors of a handler's tasks are one failure: the group; a group of one is that one."""

    async def several(count: int) -> None:
        async with trio.open_nursery() as nursery:
            for n in range(count):
                nursery.start_soon(fail, n)

    await calls.run("signal", "1", several, 1)
    await calls.run("signal", "2", several, 2)
    assert isinstance(journal.failures[0], ValueError)
    assert isinstance(journal.failures[1], ExceptionGroup)
    assert (0, 2, 0) == counted(calls)


async def test_handler_called_with_wrong_arguments_fails(calls: Calls, journal: Remembering) -> None:
    """A handler whose signature does not fit is a failure like any other."""
    await calls.run("signal", "1", fail)
    assert "signal 1 failed: TypeError: fail() missing 1 required positional argument: 'signum'" == journal.notes[0][1]


async def test_strict_journal_raises() -> None:
    """In tests a failure of user code leaves the call, so that nobody can miss it; the unit is forgotten."""
    calls = Calls(Member("worker", 1, Registry(), Remembering(strict=True), lambda: 0.0), 30)
    with pytest.raises(ValueError, match="no\nsuch thing"):
        await calls.run("signal", "17", fail, 17)
    assert (0, 1, 0) == counted(calls)
    assert UNIT.get(None) is None


class Panic(BaseException):
    """As extension modules raise it."""


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), Panic(), StopIteration()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("alone", [True, False])
async def test_whatever_is_raised_ends_its_unit_only(calls: Calls, error: BaseException, *, alone: bool) -> None:
    """What a handler raises is a failure like any other, whatever its class, alone or in a group: the server goes
    on.
    """

    async def leave() -> None:
        raise error if alone else BaseExceptionGroup("several", [error, ValueError()])

    assert (False, None) == (await calls.run("signal", "1", leave))[:2]
    assert (0, 1, 0) == counted(calls)


async def test_an_interrupt_passes_through(calls: Calls) -> None:
    """The KeyboardInterrupt that comes of a SIGINT is no failure of user code: it is neither contained nor counted."""

    async def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        await calls.run("signal", "1", interrupted)
    assert (0, 0, 0) == counted(calls)


async def test_a_cancellation_that_was_kept_is_a_failure(calls: Calls) -> None:
    """A Cancelled that user code caught and raises later, when nothing is cancelled, does not leave its unit."""
    kept: list[BaseException] = []

    async def keep() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                kept.append(error)
                raise
        raise kept[0]

    assert (False, None) == (await calls.run("signal", "1", keep))[:2]
    assert (0, 1, 0) == counted(calls)


# ----- harakiri


async def test_async_handler_is_ended_and_its_await_is_logged(
    calls: Calls, journal: Remembering, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that passes the option's deadline is cancelled; the log says who, what, how long, and at which line."""

    async def deeper() -> None:
        await trio.sleep(3600)  # here it is stuck

    async def slow() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deeper)

    assert (False, None) == (await calls.run("signal", "17", slow))[:2]
    assert 30 == trio.current_time()
    assert (0, 0, 1) == counted(calls)
    assert [("worker1", "signal 17 harakiri")] == journal.notes
    (line,) = caplog.messages
    assert "harakiri on worker1: signal 17 was cancelled after 30.00 s, stuck at " in line
    assert "test_calls.py:" in line
    assert "in deeper (await trio.sleep(3600)  # here it is stuck) < " in line
    assert line.endswith(" in slow")


async def test_thread_that_waits_for_trio_is_ended(
    calls: Calls, threads: ThreadPool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain handler that waits through `from_thread` is ended at the same time, and its own line is in the log."""

    def slow() -> None:
        trio.from_thread.run(trio.sleep, 3600)

    assert (False, None) == (await calls.run("signal", "17", slow))[:2]
    assert 30 == trio.current_time()
    assert (0, 0, 1) == counted(calls)
    assert "in slow (trio.from_thread.run(trio.sleep, 3600))" in caplog.text


async def test_clean_up_that_fails_during_a_harakiri(
    calls: Calls, journal: Remembering, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A group that mixes cancellation and error is taken apart: the error is a failure, the scope absorbs the rest."""

    async def bad_clean_up() -> None:
        try:
            await trio.sleep(3600)
        finally:
            raise ValueError("clean-up failed")

    async def slow() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bad_clean_up)
            nursery.start_soon(trio.sleep, 3600)

    assert (False, None) == (await calls.run("signal", "17", slow))[:2]
    assert (0, 1, 1) == counted(calls)
    assert [
        ("worker1", "signal 17 failed: ValueError: clean-up failed"),
        ("worker1", "signal 17 harakiri"),
    ] == journal.notes
    assert "was cancelled after 30.00 s" in caplog.text


async def test_cancellation_from_outside_passes_through(
    calls: Calls, journal: Remembering, autojump_clock: MockClock
) -> None:
    """A member that is cancelled is no harakiri: nothing is counted or noted, but an error on the way out is."""

    async def slow() -> None:
        await trio.sleep(3600)

    async def bad() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            try:
                await trio.sleep(3600)
            finally:
                raise ValueError("oops")

    for handler in (slow, bad):
        with trio.move_on_after(1) as scope:
            await calls.run("signal", "17", handler)
        assert scope.cancelled_caught
    assert (0, 1, 0) == counted(calls)
    assert [("worker1", "signal 17 failed: ValueError: oops")] == journal.notes
    assert UNIT.get(None) is None


async def test_tasks_of_trios_own_functions_are_located_by_their_nursery(
    calls: Calls, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler whose only busy task is `trio.sleep` itself was stuck in its `async with`."""

    async def handler(signum: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 3600)

    await calls.run("signal", "1", handler, 1)
    assert "in handler (async with trio.open_nursery() as nursery:)" in caplog.text


async def test_handler_that_is_cancelled_before_it_waits(calls: Calls) -> None:
    """A handler that never waits does not notice its deadline, and counts as done."""

    async def quick() -> str:
        UNIT.get().set_user_deadline(-1)
        return "done"

    assert Result(True, "done") == await calls.run("signal", "1", quick)
    assert (1, 0, 0) == counted(calls)


@pytest.mark.parametrize(
    ("limit", "steps", "ended"),
    [
        (30.0, [], 30),
        (0.0, [], 100),
        (0.5, [], 0.5),
        (30.0, [(0, 5)], 5),  # the user's own is earlier
        (30.0, [(0, 50)], 30),  # the option's stays in force
        (30.0, [(0, 5), (0, 10)], 10),  # the last call counts
        (30.0, [(0, 5), (4, 5)], 9),  # counted from the call
        (30.0, [(0, 5), (4, 0)], 30),  # 0 clears it
        (0.0, [(0, 5), (4, 0)], 100),
        (0.0, [(0, 0.25)], 0.25),
    ],
)
async def test_deadlines(
    limit: float, steps: list[tuple[float, float]], ended: float, autojump_clock: MockClock
) -> None:
    """The option's and the user's deadline are both kept, the earlier one counts, and the last call sets the user's."""
    calls = Calls(Member("worker", 1, Registry(), Remembering(), lambda: 0.0), limit)

    async def handler() -> None:
        for pause, seconds in steps:
            await trio.sleep(pause)
            uwsgi.set_user_harakiri(seconds)
        await trio.sleep_until(100)

    await calls.run("signal", "1", handler)
    assert ended == pytest.approx(trio.current_time())
    assert int(ended < 100) == calls.harakiris


async def test_user_deadline_ends_with_its_unit(calls: Calls, autojump_clock: MockClock) -> None:
    """The next unit starts without the limit that the one before had set."""

    async def limited() -> None:
        uwsgi.set_user_harakiri(1)

    async def longer() -> None:
        await trio.sleep(20)

    await calls.run("signal", "1", limited)
    assert (await calls.run("signal", "2", longer)).returned


# ----- the small ones


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def noted() -> Exception:
    error = ValueError("wrong")
    error.add_note("a note")
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("wrong"), "ValueError: wrong"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines"), "ValueError: two"),
        (noted(), "ValueError: wrong"),
        (SyntaxError("bad", ("app.py", 3, 1, "x = = 1")), "SyntaxError: bad"),
        (ExceptionGroup("both", [ValueError(), KeyError()]), "ExceptionGroup: both (2 sub-exceptions)"),
    ],
)
def test_summary_is_one_line(error: BaseException, expected: str) -> None:
    """A summary is the type and the first line of the text, whatever stands around it."""
    assert expected == summary(error)


def test_summary_of_what_cannot_be_printed() -> None:
    """An error whose text cannot be had is still summed up."""
    assert "Unprintable: <exception str() failed>" in summary(Unprintable())


def test_only_error_unwraps_groups_of_one() -> None:
    """Nested groups of one are unwrapped, a group of several is kept."""
    inner = ValueError()
    both = ExceptionGroup("both", [inner, KeyError()])
    assert inner is only_error(ExceptionGroup("a", [ExceptionGroup("b", [inner])]))
    assert both is only_error(ExceptionGroup("a", [both]))


def test_location_is_the_applications_deepest_frame() -> None:
    """Frames of Trio, of this package and of plumbing are left out, those of modules with similar names are not."""

    def error_in(*modules: str) -> Exception:
        body = "def f(n, calls):\n    return calls[n](n + 1, calls) if n < len(calls) else 1 / 0\n"
        calls: list[Any] = []
        for module in modules:
            scope: dict[str, Any] = {"__name__": module}
            exec(compile(body, f"{module}.py", "exec"), scope)
            calls.append(scope["f"])
        error = outcome.capture(calls[0], 1, calls).error
        while error.__traceback__.tb_frame.f_code.co_name != "f":
            error = error.with_traceback(error.__traceback__.tb_next)
        assert isinstance(error, ZeroDivisionError)
        return error

    inside = error_in("trio_uwsgi.uwsgi", "app", "trio._core._run", "queue", "contextlib", "anyio.to_thread", "outcome")
    assert location(inside).startswith("app.py:2 in f")
    assert location(ExceptionGroup("x", [error_in("app", "queues")])).startswith("queues.py:2 in f")
    assert location(error_in("trio_uwsgi_shop.views", "trio")).startswith("trio_uwsgi_shop.views.py:2 in f")
    assert "a place outside of the application" == location(error_in("trio", "threading"))


async def test_unit_has_a_name_or_not(calls: Calls) -> None:
    """A unit in words is its kind and its name, where it has one."""
    assert "signal 17" == Unit(calls.member, "signal", "17", trio.CancelScope(), 0).what
    assert "message" == Unit(calls.member, "message", "", trio.CancelScope(), 0).what


def test_member_without_a_number() -> None:
    """The master's own code runs for a member that is called `master`."""
    assert "master" == Member("master", 0, Registry(), LoggingJournal(), lambda: 0.0).name
