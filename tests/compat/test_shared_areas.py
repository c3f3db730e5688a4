"""Shared areas of the module `uwsgi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


@all_modes
async def test_every_call(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """Bytes and signed numbers are written and read, by all of their names."""
    config = config_in(mode, sharedarea=[64])
    uwsgi = enter(config)

    def use() -> object:
        done = [
            *(uwsgi.sharedarea_write(0, 0, "abcd"), uwsgi.sharedarea_write8(0, 8, 200)),
            *(uwsgi.sharedarea_writebyte(0, 9, 1), uwsgi.sharedarea_write16(0, 10, -2)),
            *(
                uwsgi.sharedarea_write32(0, 12, 7),
                uwsgi.sharedarea_write64(0, 16, 2**63),
                uwsgi.sharedarea_inc32(0, 12),
            ),
            *(uwsgi.sharedarea_dec32(0, 12, 5), uwsgi.sharedarea_writelong(0, 24, 5), uwsgi.sharedarea_inclong(0, 24)),
            *(uwsgi.sharedarea_inc64(0, 24, 10), uwsgi.sharedarea_dec64(0, 24)),
        ]
        numbers = [
            *(uwsgi.sharedarea_read8(0, 8), uwsgi.sharedarea_readbyte(0, 9), uwsgi.sharedarea_read16(0, 10)),
            *(uwsgi.sharedarea_read32(0, 12), uwsgi.sharedarea_read64(0, 16), uwsgi.sharedarea_readlong(0, 24)),
        ]
        uwsgi.sharedarea_memoryview(0)[1:2] = uwsgi.sharedarea_object(0)[3:4]
        return done, numbers, uwsgi.sharedarea_read(0, 0, 4), len(uwsgi.sharedarea_read(0, 4))

    app = asking(
        use=use,
        unknown=lambda: uwsgi.sharedarea_read(1, 0, 4),
        outside=lambda: uwsgi.sharedarea_read(0, 62, 4),
        large=lambda: uwsgi.sharedarea_write8(0, 0, 1000),
        text=lambda: uwsgi.sharedarea_read("0", 0, 4),
    )
    async with open_runtime(app, config) as runtime:
        numbers = [-56, 1, -2, 3, -(2**63), 15]
        assert repr(([None] * 12, numbers, b"adcd", 60)) == await get(runtime, "use")
        for name in ("unknown", "outside", "large"):
            assert (await get(runtime, name)).startswith("SharedAreaError: ")
        assert (await get(runtime, "text")).startswith("TypeError: ")


@all_modes
async def test_locks(mode: Mode, enter: Enter, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """One holder at a time, for each area; user locks have nothing to do with it, and a request ends with its locks."""
    config = config_in(mode, sharedarea=[64, 64], workers=2)
    uwsgi = enter(config)

    def add() -> object:
        uwsgi.sharedarea_wlock(1)
        uwsgi.sharedarea_rlock(0)
        uwsgi.lock(0)
        number = uwsgi.sharedarea_read64(1, 0)
        uwsgi.async_sleep(1)
        uwsgi.suspend()
        uwsgi.sharedarea_write64(1, 0, number + 1)
        return uwsgi.unlock(0), uwsgi.sharedarea_unlock(1), uwsgi.sharedarea_unlock(0)

    app = asking(
        add=add,
        number=lambda: uwsgi.sharedarea_read64(1, 0),
        twice=lambda: uwsgi.sharedarea_wlock(1) or uwsgi.sharedarea_rlock(1),
        free=lambda: uwsgi.sharedarea_unlock(0),
        unknown=lambda: uwsgi.sharedarea_wlock(2),
        negative=lambda: uwsgi.lock(-1),
    )
    async with open_runtime(app, config) as runtime:
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(get, runtime, "add")
        assert "6" == await get(runtime, "number")
        assert "LockError: this task holds the lock of shared area 1 already" in await get(runtime, "twice")
        assert "LockError: the lock of shared area 0 cannot be unlocked" in await get(runtime, "free")
        assert (await get(runtime, "unknown")).startswith("SharedAreaError: there is no shared area 2")
        assert (await get(runtime, "negative")).startswith("LockError: there is no user lock -1")
        assert "(None, None, None)" == await get(runtime, "add")
    assert "ended without unlocking the lock of shared area 1; it is unlocked now" in caplog.text


def test_without_an_area(enter: Enter) -> None:
    """There are no such names, and the error says which option gives them."""
    uwsgi = enter(Config())
    with pytest.raises(AttributeError, match=r"--sharedarea 1"):
        uwsgi.sharedarea_read(0, 0, 4)
