"""Mules and farms of the module `uwsgi`."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.errors import MuleError
from trio_uwsgi.testing import Notes, open_runtime


@all_modes
async def test_the_message_hook(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`mule_msg_hook` gets the messages of every mule as plain bytes; the last assignment counts."""
    config = config_in(mode, mules=2, farms={"f": [2]})
    uwsgi = enter(config)
    got: Notes[tuple[int, bool, bytes, bool]] = Notes()
    uwsgi.mule_msg_hook = print
    uwsgi.mule_msg_hook = lambda message: got.append(
        (uwsgi.mule_id(), type(message) is bytes, message, uwsgi.in_farm("f") is True)
    )
    app = asking(
        send=lambda: [uwsgi.mule_msg("one", 1), uwsgi.mule_msg(b"two", b"f"), uwsgi.farm_msg("f", bytearray(b"three"))],
        where=lambda: [uwsgi.mule_id(), uwsgi.in_farm(), uwsgi.in_farm("unknown")],
    )
    async with open_runtime(app, config) as runtime:
        assert "[True, True, None]" == await get(runtime, "send")
        assert "[0, None, None]" == await get(runtime, "where")
        await trio.sleep(1)
    expected = [(1, True, b"one", False), (2, True, b"three", True), (2, True, b"two", True)]
    assert expected == sorted(got, key=lambda item: item[2][1:] if item[0] == 1 else item[2])


async def test_a_full_queue_is_false(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A mule with a full queue answers False, and a farm, which answers nothing, raises."""
    config = Config(mules=1, farms={"f": [1]}, message_queue=1)
    uwsgi = enter(config)

    async def slow(message: bytes) -> None:
        await trio.sleep(10)

    from trio_uwsgi import uwsgi as native

    native.registry.mule_message_handler(slow)
    app = asking(
        send=lambda: [uwsgi.mule_msg(b"m") for _ in range(3)],
        farm=lambda: uwsgi.farm_msg("f", b"m"),
    )
    async with open_runtime(app, config) as runtime:
        assert "False" == (await get(runtime, "send"))[-6:-1]
        assert (await get(runtime, "farm")).startswith("MessageQueueFull: ")


async def test_who_does_not_exist(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A mule or a farm that there is not is a ValueError, as are messages from where none may come."""
    config = Config(mules=1)
    uwsgi = enter(config)
    app = asking(
        mule=lambda: uwsgi.mule_msg(b"m", 2),
        name=lambda: uwsgi.mule_msg(b"m", b"farm"),
        what=lambda: uwsgi.mule_msg(b"m", None),
        farm=lambda: uwsgi.farm_msg("farm", b"m"),
        get=lambda: uwsgi.mule_get_msg(),
        farm_get=lambda: uwsgi.farm_get_msg(),
        farm_name=lambda: uwsgi.farm_msg(b"farm", b"m"),
        message=lambda: uwsgi.mule_msg(5),
    )
    async with open_runtime(app, config) as runtime:
        for name in ("mule", "name", "what", "farm", "get", "farm_get"):
            assert (await get(runtime, name)).startswith("MuleError: ")
        for name in ("farm_name", "message"):
            assert (await get(runtime, name)).startswith("TypeError: ")
    assert issubclass(MuleError, ValueError)


async def test_a_program_receives(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A mule's program gets whole messages, b"" after a timeout, and those of its farm on request."""
    from trio_uwsgi import uwsgi as native

    config = Config(mules=1, farms={"f": [1]})
    uwsgi = enter(config)
    got: list[object] = []

    @native.registry.mule(1)
    def program() -> None:
        got.append(uwsgi.mule_get_msg(timeout=5))
        got.append(uwsgi.mule_get_msg(farms=False, buffer_size=1))
        got.append(uwsgi.farm_get_msg())

    app = asking(send=lambda: [uwsgi.farm_msg("f", b"farm"), uwsgi.mule_msg(b"x" * 70_000)])
    async with open_runtime(app, config) as runtime:
        await trio.sleep(6)
        await get(runtime, "send")
        await trio.sleep(1)
    assert [b"", b"x" * 70_000, b"farm"] == got
    assert [bytes] * 3 == [type(message) for message in got]


async def test_without_mules_the_hook_is_ignored(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`uwsgidecorators` assigns the hook in any case, so a runtime without mules starts all the same."""
    uwsgi = enter(Config())
    uwsgi.mule_msg_hook = print
    async with open_runtime(asking(send=lambda: uwsgi.mule_msg(b"m")), Config()) as runtime:
        assert (await get(runtime, "send")).startswith("MuleError: ")


def test_an_assignment_is_an_attribute(enter: Enter) -> None:
    """Before an assignment there is none; afterwards it is what was assigned."""
    uwsgi = enter(Config(mules=1))
    with pytest.raises(AttributeError, match="the application assigns it"):
        uwsgi.mule_msg_hook  # noqa: B018
    uwsgi.mule_msg_hook = print
    assert print is uwsgi.mule_msg_hook
