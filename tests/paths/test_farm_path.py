"""Farms: names for several mules, which share what is sent to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Mules, Registry, uwsgi
from trio_uwsgi.errors import MessageQueueFull, MuleError, RegistrationError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

FARMS = {"images": [1, 2], "mail": [2, 3]}


@all_placements
async def test_a_farm_shares_its_messages(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A farm's function runs in every mule of the farm; each message goes to the next one, and is handled once."""
    got: Notes[tuple[int, bytes, str]] = Notes()

    @uwsgi_registry.farm("images")
    async def resize(message: uwsgi.MuleMessage) -> None:
        got.append((uwsgi.mule_id(), message, message.farm))
        await trio.sleep(1)

    @uwsgi_registry.signal_handler(1)
    def send(signum: int) -> None:
        for n in range(3):
            uwsgi.farm_msg("images", f"{n}")
        uwsgi.mule_msg(b"3", "images")
        uwsgi.mule_msg(b"4", b"images")

    config = Config(mules=3, farms=FARMS, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(10)
        assert [1, 2, 1, 2, 1] == [mule for mule, _, _ in sorted(got, key=lambda item: item[1])]
        assert [(b"%d" % n, "images") for n in range(5)] == sorted((message, farm) for _, message, farm in got)
        runtime.farm_msg("images", b"from outside")
        runtime.mule_msg(b"likewise", "images")
        await trio.sleep(3)
        assert [b"from outside", b"likewise"] == [message for _, message, _ in sorted(got[5:], key=str, reverse=True)]
        assert 3 == runtime.log.count("farm images message 1 bytes", "mule1")


@all_placements
async def test_a_program_gets_farm_messages_too(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`mule_get_msg` gives a program its own and its farms' messages in order; `farms=False` leaves the latter queued,
    and `farm_get_msg` gets only them.
    """
    got: Notes[object] = Notes()

    @uwsgi_registry.mule_message_handler
    async def not_here(message: bytes) -> None:
        raise AssertionError("the program reads the messages")

    @uwsgi_registry.mule(1)
    async def program() -> None:
        got.append(await uwsgi.mule_get_msg())
        await trio.sleep(5)
        got.extend([await uwsgi.mule_get_msg(farms=False, timeout=1) for _ in range(3)])
        got.append("farms")
        got.extend([await uwsgi.farm_get_msg(timeout=1) for _ in range(3)])
        got.append("all")
        got.extend([await uwsgi.mule_get_msg() for _ in range(2)])

    config = Config(mules=1, farms={"images": [1], "mail": [1]}, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.farm_msg("images", b"image 1")
        await trio.sleep(1)
        for n in (1, 2):
            runtime.farm_msg("mail", b"mail %d" % n)
            runtime.mule_msg(b"own %d" % n)
        await trio.sleep(20)
        runtime.mule_msg(b"own 3", 1)
        runtime.farm_msg("mail", b"mail 3")
        await trio.sleep(1)
    expected = [b"image 1", b"own 1", b"own 2", None, "farms", b"mail 1", b"mail 2", None, "all", b"own 3", b"mail 3"]
    assert expected == got


@all_placements
async def test_a_program_that_reads_farms_leaves_the_rest_to_handlers(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """One that calls only `farm_get_msg` takes no other messages; a farm's function keeps its own from both."""
    got: Notes[str] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        got.append(f"handler {message.decode()}")

    @uwsgi_registry.farm("mail")
    async def mail(message: bytes) -> None:
        got.append(f"function {message.decode()}")

    @uwsgi_registry.mule(1)
    async def program() -> None:
        while message := await uwsgi.farm_get_msg(timeout=10):
            got.append(f"program {message.decode()}")

    config = Config(mules=1, farms={"images": [1], "mail": [1]}, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for farm in ("images", "mail"):
            runtime.farm_msg(farm, farm)
        runtime.mule_msg(b"own")
        await trio.sleep(1)
        assert ["function mail", "handler own", "program images"] == sorted(got)
        await trio.sleep(20)
        runtime.farm_msg("images", "late")
        await trio.sleep(1)
        assert "handler late" == got[-1]


@all_placements
async def test_farms_are_targets_of_signals(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`farm_NAME` and `farmN`, counted by declaration, mean one mule of the farm."""
    ran: Notes[tuple[int, int]] = Notes()

    @uwsgi_registry.signal_handler(1, target="farm_mail")
    @uwsgi_registry.signal_handler(2, target="farm2")
    @uwsgi_registry.signal_handler(3, target="farm1")
    async def handler(signum: int) -> None:
        ran.append((signum, uwsgi.mule_id()))

    config = Config(mules=3, farms=FARMS, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for signum in (1, 1, 2, 3):
            runtime.signal(signum)
            await trio.sleep(1)
    assert [(1, 2), (1, 3), (2, 2), (3, 1)] == ran


@all_placements
async def test_who_is_in_a_farm(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A mule knows its farms; workers and code outside of members are in none."""
    answers: Notes[tuple[int, bool, bool, bool]] = Notes()

    @uwsgi_registry.signal_handler(1, target="mules")
    @uwsgi_registry.signal_handler(2)
    async def ask(signum: int) -> None:
        answers.append((uwsgi.mule_id(), uwsgi.in_farm(), uwsgi.in_farm("images"), uwsgi.in_farm("mail")))
        with pytest.raises(
            MuleError, match=r"there is no farm 'mial'; did you mean 'mail'\? There are 'images', 'mail'"
        ):
            uwsgi.in_farm("mial")

    @uwsgi_registry.mule(4)
    async def program() -> None:
        with pytest.raises(MuleError, match="in no farm"):
            await uwsgi.farm_get_msg()
        with pytest.raises(ValueError, match="a timeout is 0 or more"):
            await uwsgi.farm_get_msg(timeout=-1)

    config = Config(mules=4, farms=FARMS, placement=placement)
    assert not uwsgi.in_farm("images")
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(1)
    assert [
        (0, False, False, False),
        (1, True, True, False),
        (2, True, True, True),
        (3, True, False, True),
        (4, False, False, False),
    ] == sorted(answers)


@all_placements
async def test_what_a_farm_refuses(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Unknown farms are errors that list those there are; a farm is full when all its mules are; nothing is dropped."""
    got: Notes[bytes] = Notes()

    @uwsgi_registry.farm("images")
    async def slow(message: bytes) -> None:
        await trio.sleep(1)
        got.append(message)

    config = Config(mules=3, farms=FARMS, message_queue=2, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        with pytest.raises(MuleError, match="there is no farm 'x'; There are 'images', 'mail'"):
            runtime.farm_msg("x", b"")
        with pytest.raises(MuleError, match="no farm 'x'"):
            runtime.mule_msg(b"", b"x")
        for wrong in (None, "", 1.0, True):
            with pytest.raises(MuleError, match="is neither a mule nor a farm"):
                runtime.mule_msg(b"", wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a mule message is bytes or str"):
            runtime.farm_msg("images", 1)  # type: ignore[arg-type]
        for n in range(4):
            runtime.farm_msg("images", b"%d" % n)
        with pytest.raises(MessageQueueFull, match="mule1 has 2 messages"):
            runtime.farm_msg("images", b"4")
        runtime.mule_msg(b"mule3 has room", 3)
        await trio.sleep(5)
    assert [b"0", b"1", b"2", b"3"] == sorted(got)


@all_placements
async def test_declarations_must_fit_the_farms(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Functions and targets of farms that do not exist are refused at the start, and functions once mules run."""
    config = Config(mules=3, farms=FARMS, placement=placement)

    @uwsgi_registry.signal_handler(1, target="farm3")
    async def handler(signum: int) -> None: ...

    with pytest.raises(RegistrationError, match=r"farm number 3, but this runtime has 2: images, mail"):
        async with open_runtime(None, config, registry=uwsgi_registry):
            raise AssertionError("it must not start")
    uwsgi_registry.signals.clear()
    async with open_runtime(None, config, registry=uwsgi_registry):
        with pytest.raises(RegistrationError, match="before serving"):
            uwsgi_registry.farm("mail")(print)
    uwsgi_registry.farm("mule")(print)
    with pytest.raises(RegistrationError, match=r"@farm\('mule'\): there is no farm 'mule'"):
        async with open_runtime(None, config, registry=uwsgi_registry):
            raise AssertionError("it must not start")


@all_placements
async def test_a_farm_of_a_pool(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A farm may have spare mules: they start for its messages, and stop when they are idle."""
    got: Notes[int] = Notes()

    @uwsgi_registry.farm("images")
    def resize(message: bytes) -> None:
        got.append(uwsgi.mule_id())

    config = Config(mules=Mules(min=1, max=3, idle=10), farms={"images": [2, 3]}, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for _ in range(4):
            runtime.farm_msg("images", b"x")
        await trio.sleep(5)
        assert [2, 2, 3, 3] == sorted(got)
        await trio.sleep(10)
        assert ["ready", "ready", "vacant", "vacant"] == [m.state for m in runtime.statistics().members]


@all_placements
async def test_a_farms_mule_dies(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """What it handled is redelivered to it, marked; what waited there moves to the other mules of the farm."""
    got: Notes[tuple[int, bytes, bool]] = Notes()

    @uwsgi_registry.farm("images")
    async def resize(message: uwsgi.MuleMessage) -> None:
        await trio.sleep(0.4)
        got.append((uwsgi.mule_id(), message, message.redelivered))

    config = Config(mules=3, farms={"images": [2, 3]}, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for n in range(4):
            runtime.farm_msg("images", b"%d" % n)
        await trio.sleep(0.1)
        runtime.kill("mule2")
        await trio.sleep(10)
    assert [(3, b"1", False), (3, b"3", False), (3, b"2", False), (2, b"0", True)] == got
