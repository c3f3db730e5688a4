"""Signals, timers and crons of the module `uwsgi`."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.errors import NotServing, RegistrationError
from trio_uwsgi.testing import Notes, open_runtime


@all_modes
async def test_a_signal_reaches_its_handler(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A view raises a signal, and the mule runs the handler with its number; 300 is 44, as in uWSGI."""
    config = config_in(mode, mules=1)
    uwsgi = enter(config)
    ran: Notes[tuple[int, int]] = Notes()
    assert None is uwsgi.register_signal(300, "mule0", lambda signum: ran.append((signum, uwsgi.mule_id())))
    app = asking(
        raise_it=lambda: uwsgi.signal(44),
        again=lambda: uwsgi.signal(300),
        known=lambda: (uwsgi.signal_registered(44), uwsgi.signal_registered(45), uwsgi.signal_received()),
    )
    async with open_runtime(app, config) as runtime:
        assert "None" == await get(runtime, "raise_it")
        assert "None" == await get(runtime, "again")
        assert "(True, None, 0)" == await get(runtime, "known")
        await trio.sleep(1)
    assert [(44, 1), (44, 1)] == ran


@all_modes
async def test_file_monitors(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """A file that comes and changes raises the signal, also one that a request names; a path is a str."""
    config = config_in(mode, mules=1)
    uwsgi = enter(config)
    one, two = tmp_path / "one", tmp_path / "two"
    ran: Notes[tuple[int, int]] = Notes()
    for signum in (17, 18):
        uwsgi.register_signal(signum, "mule1", lambda signum: ran.append((signum, uwsgi.mule_id())))
    assert None is uwsgi.add_file_monitor(17, str(one))
    app = asking(add=lambda: uwsgi.add_file_monitor(18, str(two)), data=lambda: uwsgi.add_file_monitor(18, b"/tmp"))
    async with open_runtime(app, config) as runtime:
        assert "None" == await get(runtime, "add")
        assert (await get(runtime, "data")).startswith("TypeError: ")
        for path in (one, two, one):
            await trio.sleep(2)
            path.write_text(str(trio.current_time()))
        await trio.sleep(2)
    assert [(17, 1), (18, 1), (17, 1)] == ran


async def test_timers(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Each kind of timer fires as often as it says, those that were added in a request too."""
    uwsgi = enter(Config())
    counts: dict[int, int] = {}
    for signum in range(1, 6):
        uwsgi.register_signal(signum, "", lambda signum: counts.__setitem__(signum, counts.get(signum, 0) + 1))
    assert None is uwsgi.add_timer(1, 10)
    assert None is uwsgi.add_ms_timer(2, 500)
    assert None is uwsgi.add_rb_timer(3, 5, 3)
    assert True is uwsgi.add_cron(4, -5, -1, -1, -1, -1)
    async with open_runtime(asking(add=lambda: uwsgi.add_rb_timer(5, 20, -1))) as runtime:
        assert "None" == await get(runtime, "add")
        await trio.sleep(600)
    assert {1: 60, 2: 1200, 3: 3, 4: 2, 5: 1} == counts


async def test_late_ticks_wait(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """While a handler runs, its timer's ticks are kept and not skipped, as in uWSGI."""
    uwsgi = enter(Config())
    ran: list[float] = []

    async def slow(signum: int) -> None:
        ran.append(trio.current_time())
        if len(ran) == 1:
            await trio.sleep(35)

    uwsgi.register_signal(1, "", slow)
    uwsgi.add_timer(1, 10)
    async with open_runtime():
        began = trio.current_time()
        await trio.sleep(50)
    assert [10, 45, 45, 45, 50] == [round(time - began) for time in ran]


def test_registrations_that_cannot_be(enter: Enter) -> None:
    """What uWSGI refuses is a ValueError or a TypeError here too; so is what it loses later."""
    uwsgi = enter(Config())
    uwsgi.register_signal(1, "worker", print)
    with pytest.raises(ValueError, match="registered already"):
        uwsgi.register_signal(1, "", print)
    with pytest.raises(TypeError):
        uwsgi.register_signal(2, b"worker", print)
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        uwsgi.register_signal("2", "", print)
    with pytest.raises(RegistrationError, match="valid target"):
        uwsgi.register_signal(2, "cluster", print)
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        uwsgi.add_timer(1, 0.5)
    for add in (uwsgi.add_timer, uwsgi.add_rb_timer):
        with pytest.raises(ValueError, match="0"):
            add(1, 0)
    with pytest.raises(ValueError, match="99"):
        uwsgi.add_cron(1, 99, -1, -1, -1, -1)
    with pytest.raises(TypeError):
        uwsgi.signal(5, None)
    with pytest.raises(NotServing):
        uwsgi.signal(1)


async def test_only_the_import_and_workers_register(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A mule cannot register signals and RPC functions, a worker can, and then its handler runs."""
    config = Config(mules=1)
    uwsgi = enter(config)
    refused: list[str] = []
    ran: list[int] = []

    def in_mule(signum: int) -> None:
        for register, args in ((uwsgi.register_signal, (9, "", print)), (uwsgi.register_rpc, ("f", print))):
            try:
                register(*args)
            except ValueError as error:
                refused.append(str(error))

    uwsgi.register_signal(1, "mule", in_mule)
    app = asking(register=lambda: uwsgi.register_signal(8, "", ran.append), signal=lambda: uwsgi.signal(8))
    async with open_runtime(app, config) as runtime:
        runtime.signal(1)
        assert "None" == await get(runtime, "register")
        assert "None" == await get(runtime, "signal")
        await trio.sleep(1)
    assert [8] == ran
    assert ["import and workers" in text for text in refused] == [True, True]


async def test_waiting_for_a_signal(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`signal_wait` returns b"" after the handler has run, and `signal_received` has the number."""
    uwsgi = enter(Config())
    uwsgi.register_signal(7, "", lambda signum: None)
    app = asking(wait=lambda: (uwsgi.signal_wait(7), uwsgi.signal_received()))
    async with open_runtime(app) as runtime, trio.open_nursery() as nursery:

        async def raise_it() -> None:
            await trio.sleep(1)
            runtime.signal(7)

        nursery.start_soon(raise_it)
        assert "(b'', 7)" == await get(runtime, "wait")
