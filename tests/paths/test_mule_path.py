"""Mules: programs, messages, crashes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import MessageQueueFull, MuleError, RegistrationError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@all_placements
async def test_messages_are_handled_in_order(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """What a request sends to a mule arrives there once, in order, as bytes, also in a `def` handler."""
    got: Notes[tuple[int, bytes]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def first(message: bytes) -> None:
        got.append((uwsgi.mule_id(), message))

    @uwsgi_registry.mule_message_handler
    def second(message: bytes) -> None:
        got.append((-uwsgi.mule_id(), message))

    @uwsgi_registry.signal_handler(1)
    async def send(signum: int) -> None:
        uwsgi.mule_msg("größe", 2)
        uwsgi.mule_msg(bytearray(b"two"), 2)  # type: ignore[arg-type]  # any bytes-like object will do
        with pytest.raises(TypeError, match="not int"):
            uwsgi.mule_msg(3)  # type: ignore[arg-type]
        with pytest.raises(MuleError, match="only a mule's program may"):
            await uwsgi.mule_get_msg()

    async with open_runtime(None, Config(mules=2, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        runtime.mule_msg(b"three", 2)
        await trio.sleep(1)
    sent = ["größe".encode(), b"two", b"three"]
    assert [(n, message) for message in sent for n in (2, -2)] == got


@all_placements
async def test_messages_for_any_mule_go_to_the_least_busy(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """With mule 0 the master chooses the mule with the fewest deliveries in its slot; ties take turns."""
    got: Notes[int] = Notes()

    @uwsgi_registry.mule_message_handler
    async def slow(message: bytes) -> None:
        got.append(uwsgi.mule_id())
        await trio.sleep(5 if message == b"long" else 1)

    async with open_runtime(None, Config(mules=2, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"long")
        await trio.sleep(0.5)
        for _ in range(3):
            runtime.mule_msg(b"short")
            await trio.sleep(1.1)
    assert [1, 2, 2, 2] == got


@all_placements
async def test_a_program_gets_messages_and_signals(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A mule with a program reads messages with `mule_get_msg` and still runs its signals; in uWSGI it gets neither."""
    story: Notes[object] = Notes()

    @uwsgi_registry.mule(1)
    async def program() -> None:
        while True:
            story.append(await uwsgi.mule_get_msg(timeout=10))

    @uwsgi_registry.mule_message_handler
    async def not_here(message: bytes) -> None:
        raise AssertionError("the program reads the messages")

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def handler(signum: int) -> None:
        story.append(signum)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"a")
        await trio.sleep(1)
        runtime.signal(1)
        await trio.sleep(1)
        runtime.mule_msg(b"b")
        await trio.sleep(12)
    assert [b"a", 1, b"b", None] == story


@all_placements
async def test_a_program_gets_what_was_sent_before_it_began(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A program that begins with `mule_get_msg` gets what the lifespan sent, each time, although handlers exist."""
    got: Notes[str] = Notes()

    @uwsgi_registry.mule(1)
    async def program() -> None:
        while True:
            got.append(f"program {await uwsgi.mule_get_msg()!r}")

    @uwsgi_registry.mule_message_handler
    async def handler(message: bytes) -> None:
        got.append(f"handler {message!r}")

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        for phase in ("startup", "shutdown"):
            await receive()
            if phase == "startup":
                uwsgi.mule_msg(b"early")
            await send({"type": f"lifespan.{phase}.complete"})

    for _ in range(20):
        async with open_runtime(app, Config(mules=1, placement=placement), registry=uwsgi_registry):
            await trio.sleep(1)
    assert ["program b'early'"] * 20 == got


@all_placements
async def test_a_program_that_returns_leaves_an_ordinary_mule(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """After its program has returned, the mule's messages go to the handlers again."""
    story: Notes[object] = Notes()

    @uwsgi_registry.mule(1)
    async def program() -> None:
        story.append(await uwsgi.mule_get_msg())

    @uwsgi_registry.mule_message_handler
    async def handler(message: bytes) -> None:
        story.append(("handler", message))

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"program")
        await trio.sleep(1)
        runtime.mule_msg(b"handler")
        await trio.sleep(1)
        assert [1.0] != runtime.log.times("program started")
    assert [b"program", ("handler", b"handler")] == story


@all_placements
async def test_a_full_queue_refuses_the_message(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """The sender of one message too many gets an error, and the others arrive."""
    got: Notes[bytes] = Notes()

    @uwsgi_registry.mule_message_handler
    async def slow(message: bytes) -> None:
        await trio.sleep(1)
        got.append(message)

    config = Config(mules=1, message_queue=3, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for n in range(3):
            runtime.mule_msg(b"%d" % n)
        with pytest.raises(MessageQueueFull, match=r"mule1 has 3 messages waiting.*message_queue"):
            runtime.mule_msg(b"too many")
        with pytest.raises(MuleError, match="mule 2 does not exist"):
            runtime.mule_msg(b"x", 2)
        await trio.sleep(10)
    assert [b"0", b"1", b"2"] == got


@all_placements
async def test_messages_without_a_handler_are_logged(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A mule with neither program nor handler logs what it dropped and how to declare one."""
    with caplog.at_level(logging.WARNING):
        async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
            runtime.mule_msg(b"lost")
            await trio.sleep(1)
    assert "dropped a message of 4 bytes" in caplog.text
    assert "mule_message_handler" in caplog.text


@all_placements
async def test_a_program_that_returns_lets_go_of_its_messages(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages that waited for a program which returned, in a mule without handlers, are dropped with a log line, as in
    any such mule.
    """

    @uwsgi_registry.mule(1)
    async def program() -> None:
        await trio.sleep(5)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"lost")
        await trio.sleep(4)
        assert "dropped" not in caplog.text
        await trio.sleep(2)
    assert "dropped a message of 4 bytes" in caplog.text


@all_placements
async def test_without_mules_messages_are_refused(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A runtime without mules says which option makes one; a program for a mule that is not there is refused at the
    start.
    """
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        with pytest.raises(MuleError, match=r"set Config\(mules=1\)"):
            runtime.mule_msg(b"x")
        with pytest.raises(RegistrationError, match="before serving"):
            uwsgi_registry.mule(1)(trio.sleep_forever)

    @uwsgi_registry.mule(3)
    async def program() -> None: ...

    with pytest.raises(RegistrationError, match=r"set Config\(mules=3\)"):
        async with open_runtime(None, Config(mules=2, placement=placement), registry=uwsgi_registry):
            raise AssertionError("it must not start")


@all_placements
async def test_a_crashing_program_is_restarted_with_back_off(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Pauses double from 1 s to 60 s, and begin at 1 s again after a run of a minute; signals run meanwhile."""
    starts: Notes[float] = Notes()
    number = itertools.count(1)

    @uwsgi_registry.mule(1)
    async def program() -> None:
        starts.append(trio.current_time() - began)
        if next(number) == 9:
            await trio.sleep(60)
        raise RuntimeError("crash")

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def handler(signum: int) -> None: ...

    config = Config(mules=1, placement=placement)
    began = trio.current_time()
    async with open_runtime(None, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        await trio.sleep(300)
        runtime.signal(1)
        await trio.sleep(1)
        assert 1 == runtime.log.count("signal 1", "mule1")
        failed = runtime.statistics().members[1].failed
        assert len(starts) - (1 if starts[-1] > 300 else 0) <= failed + 1
    assert [0, 1, 3, 7, 15, 31, 63, 123, 183, 244, 246, 250, 258, 274] == [round(t) for t in starts[:14]]
    assert "RuntimeError: crash" in caplog.text


@all_placements
async def test_harakiri_of_a_program_is_a_crash(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A mule's program has no time limit, but one that it sets itself ends it, and it is restarted."""

    @uwsgi_registry.mule(1)
    async def program() -> None:
        uwsgi.set_user_harakiri(5)
        await trio.sleep_forever()

    async with open_runtime(
        None, Config(mules=1, mule_harakiri=2, placement=placement), registry=uwsgi_registry
    ) as runtime:
        await trio.sleep(10)
        assert [0.0, 6.0] == runtime.log.times("program started")
        assert [5.0] == runtime.log.times("program program harakiri")
