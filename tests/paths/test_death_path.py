"""Members that die: what they ran, what waited, and when they are restarted."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Mules, Registry, uwsgi
from trio_uwsgi._runtime.statistics import MessageStatistics
from trio_uwsgi.testing import Event, Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@all_placements
async def test_what_waits_outlives_its_mule(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """The message that was handled is redelivered, first; later ones keep their order, and each is delivered once."""
    got: Notes[tuple[float, bytes]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def slow(message: bytes) -> None:
        await trio.sleep(0.4)
        got.append((round(trio.current_time() - began, 3), message))

    began = trio.current_time()
    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        for message in (b"1", b"2", b"3"):
            runtime.mule_msg(message)
        await trio.sleep(0.6)
        assert [(0.4, b"1")] == got
        runtime.kill("mule1")
        await trio.sleep(0.5)
        assert "backing off" == runtime.statistics().members[1].state
        await trio.sleep(10)
        assert [0.6] == runtime.log.times("died", "mule1")
    assert [(0.4, b"1"), (2.0, b"2"), (2.4, b"3")] == got


@all_placements
async def test_pauses_after_short_runs_grow(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """It is restarted after 1, 2, 4, ... 60 seconds, and at once after it ran for a second."""
    starts: Notes[float] = Notes()

    @uwsgi_registry.mule(1)
    async def program() -> None:
        starts.append(round(trio.current_time() - began, 3))
        await trio.sleep_forever()

    began = trio.current_time()
    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        for pause in (1, 2, 4, 8, 16, 32, 60, 60):
            runtime.kill("mule1")
            await trio.sleep(pause + 0.1)
        await trio.sleep(0.9)
        runtime.kill("mule1")
        await trio.sleep(0.1)
        runtime.kill("mule1")
        await trio.sleep(2)
        assert 10 == runtime.statistics().members[1].deaths
    pauses = [round(after - before) for before, after in itertools.pairwise(starts)]
    assert [1, 2, 4, 8, 16, 32, 60, 60, 1, 1] == pauses


@all_placements
async def test_a_redelivered_message_is_marked(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler can tell a message that killed a mule from one that did not; otherwise both are bytes."""
    got: Notes[tuple[bytes, bool]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: uwsgi.MuleMessage) -> None:
        got.append((message, message.redelivered))
        await trio.sleep(1)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"first")
        runtime.mule_msg(b"second")
        await trio.sleep(0.5)
        runtime.kill("mule1")
        await trio.sleep(10)
        messages = runtime.statistics().messages
    assert [(b"first", False), (b"first", True), (b"second", False)] == got
    assert MessageStatistics(queued=2, refused=0, delivered=2, redelivered=1, lost=0, undelivered=0) == messages
    assert re.search(r"mule1 died \(killed( by SIGKILL)?\); restarting it in 1 s", caplog.text)
    assert "mule1: redelivering the message of 5 bytes that it handled" in caplog.messages


@task_placements("a process that is killed may have begun what came in this very step")
@pytest.mark.parametrize("program", [False, True])
async def test_what_comes_in_the_step_of_a_death_is_not_begun(
    program: bool, placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A member that is dead begins nothing: the next instance gets the message, which is not marked as redelivered."""
    got: Notes[tuple[bytes, bool]] = Notes()

    if program:

        @uwsgi_registry.mule(1)
        async def read() -> None:
            while (message := await uwsgi.mule_get_msg()) is not None:
                got.append((message, message.redelivered))

    else:

        @uwsgi_registry.mule_message_handler
        async def handle(message: uwsgi.MuleMessage) -> None:
            got.append((message, message.redelivered))

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(1)
        runtime.mule_msg(b"x")
        runtime.kill("mule1")
        await trio.sleep(10)
    assert [(b"x", False)] == got


@all_placements
async def test_a_message_that_kills_twice_is_dropped(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no third delivery: the log has its size, it is counted, and later messages are handled."""
    got: Notes[bytes] = Notes()

    @uwsgi_registry.mule(1)
    async def program() -> None:
        while (message := await uwsgi.mule_get_msg()) is not None:
            if message == b"poison":
                await trio.sleep_forever()
            got.append(message)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        for message in (b"before", b"poison", b"after"):
            runtime.mule_msg(message)
        await trio.sleep(0.5)
        runtime.kill("mule1")
        await trio.sleep(1.2)
        assert [b"before"] == got
        runtime.kill("mule1")
        await trio.sleep(10)
        assert (1, 1) == (runtime.statistics().messages.redelivered, runtime.statistics().messages.lost)
        assert [0.0, 1.5, 3.7] == runtime.log.times("program started")
    assert [b"before", b"after"] == got
    assert "mule1: dropped a message of 6 bytes: 2 mules died while they handled it" in caplog.messages


@all_placements
async def test_signals_of_a_member_that_dies(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """The signal that it ran is lost and logged; waiting ones are for the next instance; a timer keeps running."""
    ran: Notes[int] = Notes()

    @uwsgi_registry.signal_handler(1, target="worker1")
    @uwsgi_registry.signal_handler(2, target="worker1")
    async def slow(signum: int) -> None:
        await trio.sleep(5)
        ran.append(signum)

    @uwsgi_registry.timer(30, target="worker1")
    async def tick(signum: int) -> None:
        await trio.sleep(5)
        ran.append(signum)

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(2)
        runtime.kill("worker1")
        await trio.sleep(30)
        assert [2] == ran
        runtime.kill("worker1")
        await trio.sleep(60)
        signals = runtime.statistics().signals
    assert [2, 255, 255] == ran
    assert (5, 5, 2, 0) == (signals.raised, signals.delivered, signals.lost, signals.undelivered)
    assert "worker1: lost the signals that it ran: 1" in caplog.messages
    assert "worker1: lost the signals that it ran: 255" in caplog.messages


@all_placements
async def test_what_any_can_run_does_not_wait_for_one_that_backs_off(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """While a slot backs off, what waits there for any member moves to another; what is for this member waits."""
    ran: Notes[tuple[str, float]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        await trio.sleep(0.25)
        ran.append((f"mule{uwsgi.mule_id()} {message.decode()}", round(trio.current_time() - began, 2)))

    began = trio.current_time()
    async with open_runtime(None, Config(mules=2, placement=placement), registry=uwsgi_registry) as runtime:
        for message in (b"a", b"b", b"c", b"d", b"e"):
            runtime.mule_msg(message)
        runtime.mule_msg(b"mine", 1)
        await trio.sleep(0.1)
        runtime.kill("mule1")
        await trio.sleep(10)
    expected = [("mule2 b", 0.25), ("mule2 d", 0.5), ("mule2 c", 0.75), ("mule2 e", 1.0)]
    assert [*expected, ("mule1 a", 1.35), ("mule1 mine", 1.6)] == ran


@all_placements
async def test_a_stop_while_a_slot_backs_off(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A graceful stop does not wait out the pause: what waits is handled at once by one more member."""
    got: Notes[tuple[bytes, float]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        await trio.sleep(1)
        got.append((message, round(trio.current_time() - began, 2)))

    began = trio.current_time()
    async with open_runtime(None, Config(mules=2, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"1", 1)
        runtime.mule_msg(b"2", 1)
        await trio.sleep(0.5)
        runtime.kill("mule1")
        runtime.kill("mule2")
        await trio.sleep(0.1)
    assert [(b"1", 1.6), (b"2", 2.6)] == got


@all_placements
async def test_a_death_while_the_runtime_stops(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A member that dies while it stops is not restarted; what it had not run is reported."""

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        await trio.sleep(5)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"1")
        runtime.mule_msg(b"2")
        await trio.sleep(1)
        runtime.stop()
        await trio.sleep(1)
        runtime.kill("mule1")
    assert re.search(r"mule1 died \(killed( by SIGKILL)?\); it is not restarted", caplog.text)
    assert "mule1 ended; messages that were not handled: 2" in caplog.messages


@all_placements
async def test_frames_of_dead_members_are_dropped(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """What the code of a dead member still sends while it is cancelled is dropped, as from a killed process."""

    @uwsgi_registry.mule(1)
    async def program() -> None:
        try:
            await trio.sleep_forever()
        finally:
            uwsgi.signal(1)
            uwsgi.mule_msg(b"x")

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None: ...

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.kill("mule1")
        await trio.sleep(0.5)
        assert (0, 0) == (runtime.statistics().signals.raised, runtime.statistics().messages.queued)
        with pytest.raises(LookupError, match="no member 'mule1' is running; running: worker1"):
            runtime.kill("mule1")


@all_placements
async def test_a_worker_that_dies(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Its requests are lost; while it backs off the other worker serves, and then both."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await trio.sleep(2)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"worker %d" % uwsgi.worker_id()})

    async def get() -> None:
        with contextlib.suppress(httpx.RemoteProtocolError):
            answers.append((await runtime.client.get("/")).text)

    answers: Notes[str] = Notes()
    config = Config(workers=2, placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(get)
        nursery.start_soon(get)
        await trio.sleep(0.5)
        runtime.kill("worker1")
        await trio.sleep(0.5)
        nursery.start_soon(get)
        await trio.sleep(5)
        assert ["worker 2", "worker 2"] == answers
        for _ in range(4):  # more than the connections to worker 2 that the client has kept
            nursery.start_soon(get)
        await trio.sleep(5)
        assert {"worker 1", "worker 2"} == set(answers[2:])
        done = runtime.statistics().members[0].done
        for _ in range(2):  # the instance that starts at once dies soon: the next one starts after a second
            runtime.kill("worker1")
            runtime.kill("worker2")
            await trio.sleep(0.5)
        with pytest.raises(LookupError, match="no worker is ready: worker1 is backing off"):
            await runtime.client.get("/")
        await trio.sleep(10)
        assert (done, 3) == (runtime.statistics().members[0].done, runtime.statistics().members[0].deaths)


@all_placements
async def test_a_thread_of_a_member_that_dies(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A `def` handler is cancelled where it waits, and its message is redelivered."""
    got: Notes[bool] = Notes()

    @uwsgi_registry.mule_message_handler
    def handle(message: uwsgi.MuleMessage) -> None:
        trio.from_thread.run(trio.sleep, 5)
        got.append(message.redelivered)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"x")
        await trio.sleep(2)
        runtime.kill("mule1")
        await trio.sleep(20)
        assert 0 == sum(member.stuck for member in runtime.statistics().members)
    assert [True] == got


async def story(placement: Placement, registry: Registry) -> list[Event]:
    """A busy pool with a farm, whose members die one after the other; returns the log."""
    config = Config(workers=2, mules=Mules(max=4, idle=7), farms={"a": [2, 4]}, placement=placement)
    async with open_runtime(None, config, registry=registry) as runtime:
        for n in range(60):
            runtime.mule_msg(b"%d" % n, 0 if n % 3 else "a")
            runtime.signal(n % 2 + 1)
            await trio.sleep(0.7)
            if n % 7 == 3:
                for member in runtime.statistics().members:
                    if member.state == "ready" and (n + len(member.name) + member.done) % 2:
                        runtime.kill(member.name)
                        await trio.sleep(0.001)
        await trio.sleep(200)
    return list(runtime.log)


@all_placements
async def test_many_runs_give_one_log(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Which member gets, and dies of, which message is deterministic; each message is handled."""
    handled: Notes[bytes] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: uwsgi.MuleMessage) -> None:
        await trio.sleep(1.1)
        handled.append(message)

    @uwsgi_registry.signal_handler(1, target="mule")
    @uwsgi_registry.signal_handler(2, target="workers")
    async def handler(signum: int) -> None:
        await trio.sleep(0.3)

    logs = []
    for _ in range(5):
        handled.clear()
        logs.append(await story(placement, uwsgi_registry))
        assert sorted(b"%d" % n for n in range(60)) == sorted(handled)
    assert {"died", "stopped idle"} <= {event.what for event in logs[0]}
    assert [logs[0]] * 5 == logs


@all_placements
async def test_counters_of_a_slot_continue(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Requests, connections and units of all instances in a slot are added up; each entry has the name of its slot."""

    async def app(scope: dict[str, Any], receive: object, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    config = Config(workers=1, placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        for instances in range(1, 4):
            for _ in range(5):
                await runtime.client.get("/")
            await trio.sleep(60)
            statistics = runtime.statistics()
            (http,) = statistics.http
            assert ("worker1", 5 * instances) == (http.name, http.requests)
            assert 5 * instances == next(member.done for member in statistics.members if member.name == "worker1")
            assert http.connections >= instances
            runtime.kill("worker1")
            await trio.sleep(60)
