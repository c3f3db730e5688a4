"""The shared queue of the module `uwsgi`."""

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
    """Changes answer True, and None where uWSGI does; reads answer bytes or None."""
    config = Config(queue=4, queue_blocksize=100, **mode)  # type: ignore[arg-type]
    uwsgi = enter(config)
    assert 4 == uwsgi.queue_size

    def fill() -> object:
        pushed = [uwsgi.queue_push(message) for message in (b"a", "str", b"", b"x" * 101, bytearray(b"c"))]
        read = [uwsgi.queue_get(0), uwsgi.queue_get(-1), uwsgi.queue_get(99), uwsgi.queue_last(), uwsgi.queue_last(4)]
        return pushed, read, uwsgi.queue_slot(), uwsgi.queue_pull_slot()

    def empty() -> object:
        taken = [uwsgi.queue_pop(), uwsgi.queue_pull(), uwsgi.queue_pull(), uwsgi.queue_pull(), uwsgi.queue_pop()]
        put = [uwsgi.queue_set(1, "s"), uwsgi.queue_set(99, b"s"), uwsgi.queue_set(-1, b"s"), uwsgi.queue_set(1, b"")]
        return taken, put, uwsgi.queue_get(1)

    app = asking(fill=fill, empty=empty, number=lambda: uwsgi.queue_push(5), text=lambda: uwsgi.queue_get("a"))
    async with open_runtime(app, config) as runtime:
        pushed, read = [True, True, None, None, True], [b"a", None, None, b"c", [b"c", b"str", b"a", None]]
        assert repr((pushed, read, 3, 0)) == await get(runtime, "fill")
        assert repr(([b"c", b"a", b"str", None, None], [True, None, None, None], b"s")) == await get(runtime, "empty")
        assert (await get(runtime, "number")).startswith("TypeError: ")
        assert (await get(runtime, "text")).startswith("TypeError: ")


async def test_a_full_queue_stays_in_order(enter: Enter, autojump_clock: MockClock) -> None:
    """The oldest messages are overwritten, and the others are pulled in their order."""
    uwsgi = enter(Config(queue=4))

    def wrap() -> object:
        return [uwsgi.queue_push(b"%d" % number) for number in range(6)], [uwsgi.queue_pull() for _ in range(5)]

    async with open_runtime(asking(wrap=wrap), Config(queue=4)) as runtime:
        assert repr(([True] * 6, [b"2", b"3", b"4", b"5", None])) == await get(runtime, "wrap")


def test_without_a_queue(enter: Enter) -> None:
    """There are no such names, and the error says which option gives them."""
    uwsgi = enter(Config())
    assert not hasattr(uwsgi, "queue_size")
    with pytest.raises(AttributeError, match=r"--queue 100"):
        uwsgi.queue_push(b"a")
