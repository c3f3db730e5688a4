"""Every recorded request, replayed byte for byte, gets the recorded answer: from ours, and from a real uWSGI.

The recordings are of uWSGI 2.0.31 with the functions of `apps/uwsgi_node.py`. Answers are equal to the byte. The
differences: the time at which an item expires is that of today, and so checked apart; and of the old cache commands,
0 and 5 are answered by ours as uWSGI's documentation has it, where the real one sends four bytes of its memory.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import TIMEOUT, Node, exchange

if TYPE_CHECKING:
    from tests.interop.conftest import Nodes

pytestmark = pytest.mark.real

FIXTURES = Path(__file__).parents[1] / "fixtures" / "uwsgi"

# Not spoken over a socket of the uwsgi protocol.
FILES = {"spool_body_priority5", "spool_simple_at"}

# In the order in which they were recorded: later ones see what earlier ones stored.
CONVERSATION = (
    *("rpc_hello", "rpc_noargs", "rpc_unknown", "rpc_empty_result", "rpc_big_result", "rpc_exact_65535"),
    *("rpc_exact_65536", "remote_signal", "remote_signal_unregistered", "cache_set", "cache_set_expires"),
    *("cache_set_exists_fails", "cache_update", "cache_get", "cache_get_default", "cache_get_miss"),
    *("cache_get_nocache", "cache_exists", "cache_del", "cache_clear", "cache_inc", "cache_num", "cache_inc_again"),
    *("cache_num2", "uwsgi_request_get", "uwsgi_request_post"),
)

_EXPIRES = re.compile(rb"(?<=\x07\x00expires\x0a\x00)\d{10}")


@pytest.fixture(params=["uwsgi2", "ours2"])
def node(request: pytest.FixtureRequest, nodes: Nodes) -> Node:
    """A server whose caches are empty."""
    node = nodes.get(request.param)
    for name in ("c1", "c2"):
        node.run("cache_clear", name)
    return node


def recorded(name: str, part: str) -> bytes:
    """The bytes of a recording."""
    return (FIXTURES / f"{name}.{part}.bin").read_bytes()


def test_all_recordings_are_replayed() -> None:
    """No recording is forgotten."""
    stems = {path.name.split(".")[0] for path in FIXTURES.glob("*.bin")}
    assert set(CONVERSATION) | FILES == stems


@pytest.mark.parametrize("over", ["tcp", "unix"])
@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_the_recorded_conversation(node: Node, over: str, piece: int) -> None:
    """All recorded requests, one after the other, are answered as they were, also when they come byte by byte."""
    for name in CONVERSATION:
        reply = exchange(node.at(over), recorded(name, "request"), piece)
        expected = recorded(name, "reply")
        if name in ("cache_get", "cache_get_default"):
            (expires,) = _EXPIRES.findall(reply)
            assert 0 <= time.time() + 60 - int(expires) < TIMEOUT, name
            expected = _EXPIRES.sub(expires, expected)
        assert expected == reply, name


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_the_old_commands_that_store(node: Node, over: str) -> None:
    """Modifier2 1 sets and 2 deletes in the first cache, without an answer."""
    assert b"" == exchange(node.at(over), b"o\x0c\x00\x01\x03\0key\x05\0value")
    assert b"value" == node.run("cache_get", "key")
    assert b"" == exchange(node.at(over), b"o\x03\x00\x02key")
    assert None is node.run("cache_get", "key")


@pytest.mark.parametrize(
    ("modifier2", "found", "missing"),
    [(0, b"o\x05\x00\x00value", b""), (5, b"o\x00\x00\x01value", b"o\x00\x00\x00")],
)
def test_the_old_commands_that_read(nodes: Nodes, modifier2: int, found: bytes, missing: bytes) -> None:
    """Ours answers modifier2 0 and 5 as documented; a real uWSGI leaks its memory, and is not asked."""
    node = nodes.get("ours2")
    node.run("cache_clear", "c1")
    node.run("cache_set", "key", b"value", 0, "c1")
    assert found == exchange(node.tcp, b"o\x03\x00" + bytes([modifier2]) + b"key")
    assert missing == exchange(node.tcp, b"o\x05\x00" + bytes([modifier2]) + b"other")


def test_a_ping(node: Node) -> None:
    """Modifier1 100 is answered by itself with modifier2 1."""
    assert b"\x64\0\0\x01" == exchange(node.tcp, b"\x64\0\0\0")


def test_a_job_without_a_spooler(node: Node) -> None:
    """Modifier1 17 is refused in four bytes where no spooler runs."""
    assert b"\xff\0\0\0" == exchange(node.tcp, b"\x11\x0a\0\0\x03\0foo\x03\0bar")


@pytest.mark.parametrize("modifier1", [10, 22, 48, 254, 255])
def test_unknown_modifiers(node: Node, modifier1: int) -> None:
    """The connection of an unknown packet is closed without a byte."""
    assert b"" == exchange(node.tcp, bytes([modifier1, 0, 0, 0]))


def test_raw_rpc_results(node: Node) -> None:
    """Modifier2 1 of an rpc gives the bare result, however long it is."""
    assert b"Hello one" == exchange(node.tcp, b"\xad\x0c\0\x01\x05\0hello\x03\0one")
    assert b"x" * 70_000 == exchange(node.tcp, b"\xad\x05\0\x01\x03\0big")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [(b"/hello/one/two", b"200 OK", b"Hello one,two"), (b"/nosuch/x", b"404 Not Found", None), (b"/", b"500 ", None)],
)
def test_rpc_by_path(node: Node, path: bytes, status: bytes, body: bytes | None) -> None:
    """Modifier2 2 of an rpc takes its name and arguments from a path, and answers as HTTP."""
    values = {b"REQUEST_METHOD": b"GET", b"PATH_INFO": path, b"SERVER_PROTOCOL": b"HTTP/1.1"}
    text = b"".join(len(part).to_bytes(2, "little") + part for name, value in values.items() for part in (name, value))
    reply = exchange(node.tcp, b"\xad" + len(text).to_bytes(2, "little") + b"\x02" + text)
    head, _, rest = reply.partition(b"\r\n\r\n")
    assert b" " + status in head.split(b"\r\n")[0]
    if body is not None:
        assert body == rest
        assert b"Content-Length: 13" in head
