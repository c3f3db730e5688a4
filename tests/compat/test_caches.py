"""Caches of the module `uwsgi`."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Cache, Config
from trio_uwsgi.errors import CacheError, NotServing
from trio_uwsgi.testing import open_runtime


def _caches(mode: Mode | None = None) -> Config:
    return config_in(mode or {}, caches=[Cache("a", items=3, max_value=20, max_key=10), Cache("b", items=3)])


@all_modes
async def test_answers(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Yes is True, no is None, a value is bytes; None also for each item that is not stored."""
    config = _caches(mode)
    uwsgi = enter(config)

    def items() -> object:
        return [
            uwsgi.cache_set("k", "value"),
            uwsgi.cache_set("k", b"again"),
            uwsgi.cache_get(b"k"),
            uwsgi.cache_update(b"k", bytearray(b"new"), 0, "a"),
            uwsgi.cache_get("k", "a"),
            uwsgi.cache_exists("k"),
            uwsgi.cache_exists("l"),
            uwsgi.cache_keys(),
            uwsgi.cache_del("k"),
            uwsgi.cache_del("k"),
            uwsgi.cache_get("k"),
        ]

    def not_stored() -> object:
        return [
            uwsgi.cache_set("", b"v"),
            uwsgi.cache_set("k", b""),
            uwsgi.cache_set("k", b"v" * 21),
            uwsgi.cache_update("k" * 11, b"v"),
            uwsgi.cache_set("k", b"v", 0, "unknown"),
            uwsgi.cache_get("k", "unknown"),
            uwsgi.cache_clear("unknown"),
            [uwsgi.cache_set(str(n), b"v") for n in range(4)],
            uwsgi.cache_update("5", b"v"),
            uwsgi.cache_clear(),
            uwsgi.cache_keys(),
        ]

    def numbers() -> object:
        return [
            uwsgi.cache_inc("n"),
            uwsgi.cache_inc("n", 9, 0, "a"),
            uwsgi.cache_mul("n"),
            uwsgi.cache_dec("n", 2),
            uwsgi.cache_num("n"),
            uwsgi.cache_div("n", 5),
            uwsgi.cache_num("n"),
            uwsgi.cache_num("m"),
            uwsgi.cache_inc("n", 1, 0, "unknown"),
        ]

    async with open_runtime(asking(items=items, not_stored=not_stored, numbers=numbers), config) as runtime:
        expected: list[object] = [True, None, b"value", True, b"new", True, None, [b"k"], True, None, None]
        assert repr(expected) == await get(runtime, "items")
        expected = [None] * 7 + [[True, True, True, None], None, True, []]
        assert repr(expected) == await get(runtime, "not_stored")
        assert repr([True, True, True, True, 18, True, 3, 0, None]) == await get(runtime, "numbers")


async def test_items_expire(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`expires` is seconds from now; a negative number is never, as in uWSGI."""
    uwsgi = enter(_caches())
    app = asking(
        set=lambda: [uwsgi.cache_set("k", b"v", 10), uwsgi.cache_set("l", b"v", -1)],
        get=lambda: [uwsgi.cache_get("k"), uwsgi.cache_get("l")],
    )
    async with open_runtime(app, _caches()) as runtime:
        assert "[True, True]" == await get(runtime, "set")
        await trio.sleep(11)
        assert "[None, b'v']" == await get(runtime, "get")


async def test_what_uwsgi_destroys_is_refused(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Arithmetic on what is no number, beyond 64 bits, or by 0 leaves the item as it is."""
    uwsgi = enter(_caches())
    app = asking(
        text=lambda: uwsgi.cache_set("t", b"12345"),
        inc=lambda: uwsgi.cache_inc("t"),
        num=lambda: uwsgi.cache_num("t"),
        big=lambda: (uwsgi.cache_inc("n", 2**63 - 1), uwsgi.cache_inc("n")),
        div=lambda: uwsgi.cache_div("n", 0),
        keys=lambda: uwsgi.cache_keys("unknown"),
        float=lambda: uwsgi.cache_inc("n", 1.5),
        key=lambda: uwsgi.cache_get(5),
        name=lambda: uwsgi.cache_get("n", b"a"),
    )
    async with open_runtime(app, _caches()) as runtime:
        assert "True" == await get(runtime, "text")
        for name in ("inc", "big", "div", "keys"):
            assert (await get(runtime, name)).startswith("CacheError: ")
        for name in ("float", "key", "name"):
            assert (await get(runtime, name)).startswith("TypeError: ")
        assert "0" == await get(runtime, "num")
    assert issubclass(CacheError, ValueError)


async def test_another_node(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A cache of a node that does not answer has no items."""
    uwsgi = enter(_caches())
    name = "a@/no/such/socket"
    app = asking(
        get=lambda: [
            uwsgi.cache_get("k", name),
            uwsgi.cache_set("k", b"v", 0, name),
            uwsgi.cache_update("k", b"v", 0, name),
            uwsgi.cache_del("k", name),
            uwsgi.cache_exists("k", name),
            uwsgi.cache_clear(name),
            uwsgi.cache_num("k", name),
        ],
        inc=lambda: uwsgi.cache_inc("k", 1, 0, name),
    )
    async with open_runtime(app, _caches()) as runtime:
        assert repr([None] * 6 + [0]) == await get(runtime, "get")
        assert (await get(runtime, "inc")).startswith("NodeUnreachable: ")


@pytest.mark.processes
async def test_a_thread_reads_while_the_event_loop_is_blocked(
    enter: Enter, autojump_clock: trio.testing.MockClock
) -> None:
    """Caches of this runtime need no event loop: a view without threads waits for a thread that uses one."""
    config = _caches({"placement": "process"})
    uwsgi = enter(config)

    def view() -> object:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.extend([uwsgi.cache_inc("n"), uwsgi.cache_num("n")]))
        thread.start()
        thread.join(30)
        return found

    async with open_runtime(asking(view=view), config) as runtime:
        assert "[True, 1]" == await get(runtime, "view")


def test_the_import_has_no_caches(enter: Enter) -> None:
    """Before members run there are none, and the error says where there are."""
    with pytest.raises(NotServing, match="call it in a request"):
        enter(_caches()).cache_get("k")
