"""Remote procedure calls of the module `uwsgi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    import trio.testing


def _fails() -> bytes:
    raise RuntimeError("on purpose")


@all_modes
async def test_calls(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A function gets bytes and returns bytes; every failure and an empty result are None."""
    config = config_in(mode)
    uwsgi = enter(config)
    assert True is uwsgi.register_rpc("hello", lambda name: b"old", 1)
    assert True is uwsgi.register_rpc("hello", lambda *names: b"hello " + b",".join(names), 2)
    uwsgi.register_rpc("empty", lambda: b"")
    uwsgi.register_rpc("fails", _fails)
    uwsgi.register_rpc("number", lambda: 5)
    app = asking(
        list=lambda: uwsgi.rpc_list(),
        call=lambda: uwsgi.call(b"hello", b"a", b"b"),
        rpc=lambda: [uwsgi.rpc(node, b"hello", b"a") for node in (None, "", b"", 5)],
        none=lambda: [uwsgi.call(name) for name in (b"empty", b"fails", b"number", b"unknown")],
        nobody=lambda: uwsgi.rpc("/no/such/socket", b"hello"),
    )
    async with open_runtime(app, config, allow_failures=True) as runtime:
        assert "(b'hello', b'empty', b'fails', b'number')" == await get(runtime, "list")
        assert "b'hello a,b'" == await get(runtime, "call")
        assert repr([b"hello a"] * 4) == await get(runtime, "rpc")
        assert repr([None] * 4) == await get(runtime, "none")
        assert "None" == await get(runtime, "nobody")


def test_arguments_that_cannot_be(enter: Enter) -> None:
    """Names and arguments are bytes; what does not fit into a packet is refused and not cut."""
    uwsgi = enter(Config())
    for words in (("f",), (b"f", "a"), (b"f", b"x" * 65536), (b"f", *[b""] * 255)):
        with pytest.raises(ValueError, match="RPC call"):
            uwsgi.call(*words)
        with pytest.raises(ValueError, match="RPC call"):
            uwsgi.rpc("", *words)
    with pytest.raises(TypeError):
        uwsgi.register_rpc(b"f", print)
    with pytest.raises(ValueError, match="not 5"):
        uwsgi.register_rpc("f", 5)
    uwsgi.register_rpc("f", print)
    with pytest.raises(ValueError, match="not 5"):
        uwsgi.register_rpc("f", 5)
    assert (b"f",) == uwsgi.rpc_list()
