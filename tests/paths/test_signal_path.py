"""A signal from `uwsgi.signal` to its handler, through the master, in both placements."""

from __future__ import annotations

import logging

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import NotServing, RegistrationError, SignalQueueFull
from trio_uwsgi.testing import Notes, open_runtime

pytestmark = all_placements


async def test_burst_runs_whole_and_in_order(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """3,000 signals that one handler raises in a burst are all run, in the order in which they were raised."""
    ran: Notes[int] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def burst(signum: int) -> None:
        for n in range(3000):
            uwsgi.signal(2 + n % 3)

    async def note(signum: int) -> None:
        ran.append(signum)

    for signum in (2, 3, 4):
        uwsgi_registry.register_signal(signum, "mule1", note)
    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        assert [2 + n % 3 for n in range(3000)] == ran
        assert 3001 == runtime.statistics().signals.delivered


async def test_full_queue_refuses_and_loses_nothing_else(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """With a queue of 100 the 101st signal is refused with an error that says so, and the 100 before it are run."""
    ran: Notes[int] = Notes()
    errors: Notes[str] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def burst(signum: int) -> None:
        for _ in range(100):
            uwsgi.signal(2)
        try:
            uwsgi.signal(2)
        except SignalQueueFull as error:
            errors.append(str(error))

    @uwsgi_registry.signal_handler(2, target="mule1")
    async def slow(signum: int) -> None:
        await trio.sleep(1)
        ran.append(signum)

    config = Config(mules=1, signal_queue=100, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(200)
        assert 100 == len(ran)
        assert 1 == len(errors)
        assert "100 signals waiting" in errors[0]
        assert "signal_queue" in errors[0]


async def test_targets_reach_the_members_they_name(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """Every kind of target goes to exactly the members it means; `worker` and `mule` take turns."""
    ran: Notes[tuple[int, str]] = Notes()

    async def note(signum: int) -> None:
        name = f"worker{uwsgi.worker_id()}" if uwsgi.worker_id() else f"mule{uwsgi.mule_id()}"
        ran.append((signum, name))

    targets = ["", "worker", "worker0", "workers", "active-workers", "worker2", "mule", "mule0", "mules", "mule1"]
    for signum, target in enumerate(targets):
        uwsgi_registry.register_signal(signum, target, note)
    config = Config(workers=2, mules=2, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for signum in range(len(targets)):
            runtime.signal(signum)
            await trio.sleep(1)
    members: dict[int, list[str]] = {}
    for signum, name in ran:
        members.setdefault(signum, []).append(name)
    assert {
        0: ["worker1"],
        1: ["worker2"],
        2: ["worker1"],
        3: ["worker1", "worker2"],
        4: ["worker1", "worker2"],
        5: ["worker2"],
        6: ["mule1"],
        7: ["mule2"],
        8: ["mule1", "mule2"],
        9: ["mule1"],
    } == {signum: sorted(names) for signum, names in members.items()}


async def test_targets_that_cannot_exist_are_refused(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """A member that does not exist is refused when serving starts, with those that do; while serving, at once."""

    @uwsgi_registry.signal_handler(9, target="mule9")
    async def never(signum: int) -> None: ...

    with pytest.raises(RegistrationError, match=r"this runtime has 2 mules.*mule1 to mule2"):
        async with open_runtime(None, Config(mules=2, placement=placement), registry=uwsgi_registry):
            raise AssertionError("it must not start")

    del uwsgi_registry.signals[9]
    seen: Notes[str] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def register(signum: int) -> None:
        try:
            uwsgi.register_signal(2, "worker7", never)
        except RegistrationError as error:
            seen.append(str(error))
        uwsgi.register_signal(1, "", never)  # allowed while serving: replaces

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        for _ in range(2):
            runtime.signal(1)
            await trio.sleep(1)
        assert 2 == runtime.log.count("signal 1")
    assert 1 == len(seen)
    assert "use worker1" in seen[0]


async def test_unregistered_signal_is_logged_with_its_raiser(
    placement: Placement,
    autojump_clock: trio.testing.MockClock,
    uwsgi_registry: Registry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Raising a number that is not registered is no error; the log says which member raised it."""

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def stray(signum: int) -> None:
        assert not uwsgi.signal_registered(77)
        uwsgi.signal(77)

    with caplog.at_level(logging.WARNING):
        async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
            runtime.signal(1)
            await trio.sleep(1)
            assert 1 == runtime.log.count("signal 77 unregistered", "master")
            assert 1 == runtime.statistics().signals.unregistered
    assert "signal 77 was raised by mule1, but no handler is registered for it" in caplog.text


async def test_signal_wait_returns_what_was_run(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """A mule's program can wait for one signal or for any; the handler has run by then."""
    story: Notes[object] = Notes()

    @uwsgi_registry.signal_handler(5, target="mule1")
    @uwsgi_registry.signal_handler(6, target="mule1")
    async def handler(signum: int) -> None:
        story.append(f"ran {signum}")
        with pytest.raises(RuntimeError, match="cannot wait for a signal"):
            await uwsgi.signal_wait()

    @uwsgi_registry.mule(1)
    async def program() -> None:
        story.append(uwsgi.signal_received())
        story.append(await uwsgi.signal_wait(6))
        story.append(await uwsgi.signal_wait())
        story.append(uwsgi.signal_received())

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        for signum in (5, 6, 5):
            await trio.sleep(1)
            runtime.signal(signum)
        await trio.sleep(1)
    assert [0, "ran 5", "ran 6", 6, "ran 5", 5, 5] == story


async def test_plain_handlers_run_in_a_thread_and_may_raise_signals(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """A `def` handler runs off Trio's thread, and the plain calls of the API work from there."""
    story: Notes[object] = Notes()

    @uwsgi_registry.signal_handler(1)
    def plain(signum: int) -> None:
        story.append(trio.lowlevel.in_trio_run())
        uwsgi.signal(2)
        handle = uwsgi.add_timer(2, 10)
        story.append(handle.due is not None)
        handle.cancel()
        story.append(handle.due)

    @uwsgi_registry.signal_handler(2)
    async def other(signum: int) -> None:
        story.append(uwsgi.worker_id())

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(60)
    assert [False, True, None, 1] == story


async def test_outside_of_members_the_error_says_what_to_use(placement: Placement) -> None:
    """`uwsgi.signal` and its siblings name the call that works where no member runs."""
    with pytest.raises(NotServing, match=r"signal\(\) of the Runtime"):
        uwsgi.signal(1)
    with pytest.raises(NotServing, match=r"mule_msg\(\) of the Runtime"):
        uwsgi.mule_msg(b"x")
    with pytest.raises(NotServing, match="mule's program"):
        await uwsgi.mule_get_msg()
    with pytest.raises(NotServing):
        await uwsgi.signal_wait()
    with pytest.raises(NotServing):
        uwsgi.set_user_harakiri(1)
    with pytest.raises(NotServing), uwsgi.harakiri(1):
        raise AssertionError
    assert 0 == uwsgi.worker_id() == uwsgi.mule_id() == uwsgi.signal_received()


async def test_a_registry_is_served_by_one_runtime_at_a_time(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """Two runtimes cannot share declarations; one after the other can."""
    config = Config(placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry):
        with pytest.raises(RegistrationError, match=r"give each runtime a Registry\(\) of its own"):
            async with open_runtime(None, config, registry=uwsgi_registry):
                raise AssertionError("it must not start")
    async with open_runtime(None, config, registry=uwsgi_registry):
        pass
