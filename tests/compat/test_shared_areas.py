"""Shared areas of the module `uwsgi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compat.modes import Enter, all_modes, asking, get
from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


@all_modes
async def test_every_call(mode: dict[str, object], enter: Enter, autojump_clock: MockClock) -> None:
    """Bytes and signed numbers are written and read, by all of their names."""
    config = Config(sharedarea=[64], **mode)  # type: ignore[arg-type]
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


def test_without_an_area(enter: Enter) -> None:
    """There are no such names, and the error says which option gives them."""
    uwsgi = enter(Config())
    with pytest.raises(AttributeError, match=r"--sharedarea 1"):
        uwsgi.sharedarea_read(0, 0, 4)
