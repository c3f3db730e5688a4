"""rpc, in both directions between a real uWSGI and ours, over TCP and unix sockets.

What a function gives is equal in all of them. The differences:

what                      | uWSGI calls                 | ours calls               | why
--------------------------|-----------------------------|--------------------------|---------------------------------
empty result              | None, from either           | b"" from ours; from      | uWSGI closes without a byte for
                          |                             | uWSGI `NodeClosed`       | an empty result as for failures
unknown function          | None                        | `RpcNotFound` from ours; | the same
                          |                             | from uWSGI `NodeClosed`  |
function fails, or gives  | None                        | `RpcFailed` from ours;   | the same; ours tells the reason
no bytes                  |                             | from uWSGI `NodeClosed`  |
a text as result          | None from uWSGI, UTF-8 from | UTF-8 from ours; from    | uWSGI takes bytes only
                          | ours                        | uWSGI `NodeClosed`       |
255 arguments             | uWSGI loses the last one,   | `RpcError`, nothing sent | uWSGI counts them in 8 bits; a
                          | ours refuses: None          |                          | call that was cut is not made
an argument of 70,000     | its first 4,464 bytes arrive| `RpcError`, nothing sent | uWSGI keeps lengths in 16 bits
a packet beyond 65,535    | None                        | `RpcError`, nothing sent | the wire's limit
empty arguments, to uWSGI | lost; the last one makes    | the same                 | uWSGI's server cannot read them
                          | the call fail               |                          |
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import Raised

if TYPE_CHECKING:
    from tests.interop.conftest import Pair

pytestmark = pytest.mark.real


def digest(*args: bytes) -> bytes:
    """What the function `digest` gives for these arguments."""
    return b"%d %s" % (len(args), hashlib.sha256(repr(args).encode()).hexdigest().encode())


def pattern(size: int) -> bytes:
    """What the function `pattern` gives for this size."""
    return b"".join(b"%07d " % i for i in range(size // 8 + 1))[:size]


ARGUMENTS = {
    "0": (),
    "1": (b"one",),
    "every byte": (bytes(range(256)),),
    "254": tuple(b"argument %d" % i for i in range(254)),
    "the largest packet": (b"x" * (65_535 - 2 - 2 - len("digest")),),
}


@pytest.mark.parametrize("args", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_arrive(pair: Pair, args: tuple[bytes, ...]) -> None:
    """0, 1 and 254 arguments, of all bytes, up to the largest packet, arrive as they were given."""
    assert digest(*args) == pair.caller.run("rpc", pair.node, "digest", *args)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 5_000_000])
def test_results_come_back(pair: Pair, size: int) -> None:
    """Results on both sides of the limit of the short form, and large ones, come back as they were given."""
    answer = pair.caller.run("rpc", pair.node, "pattern", b"%d" % size)
    assert size == len(answer)
    assert pattern(size) == answer


def test_an_empty_result(pair: Pair) -> None:
    """An empty result differs from a failure only if both ends are ours."""
    answer = pair.caller.run("rpc", pair.node, "empty")
    if pair.caller.kind == "uwsgi":
        assert None is answer
    elif pair.callee.kind == "ours":
        assert b"" == answer
    else:
        assert "NodeClosed" == answer.name


@pytest.mark.parametrize(
    ("function", "error"), [("nosuch", "RpcNotFound"), ("fails", "RpcFailed"), ("number", "RpcFailed")]
)
def test_failures(pair: Pair, function: str, error: str) -> None:
    """A function that is unknown, raises, or returns a number is None for uWSGI, and an error in ours."""
    answer = pair.caller.run("rpc", pair.node, function)
    if pair.caller.kind == "uwsgi":
        assert None is answer
    elif pair.callee.kind == "ours":
        assert error == answer.name
    else:
        assert "NodeClosed" == answer.name


def test_the_reason_of_a_failure(pair: Pair) -> None:
    """The error of a function is sent to a caller that is ours, and logged by its server in any case."""
    answer = pair.caller.run("rpc", pair.node, "fails")
    if pair.kinds == "ours to ours":
        assert "on purpose" in answer.text
    assert "on purpose" in pair.callee.log.read_text()


def test_a_text_as_result(pair: Pair) -> None:
    """A text that a function of ours returns is sent as UTF-8; for uWSGI it is no result."""
    answer = pair.caller.run("rpc", pair.node, "text")
    if pair.callee.kind == "ours":
        assert "text \u2603".encode() == answer
    elif pair.caller.kind == "uwsgi":
        assert None is answer
    else:
        assert "NodeClosed" == answer.name


TOO_MUCH = {
    "255 arguments": tuple(b"argument %d" % i for i in range(255)),
    "an argument of 70,000": (b"x" * 70_000,),
    "a packet beyond the limit": (b"x" * 40_000, b"y" * 40_000),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_beyond_the_limits(pair: Pair, case: str) -> None:
    """A call that exceeds the protocol is cut or None with uWSGI, and refused by ours before anything is sent."""
    args = TOO_MUCH[case]
    answer = pair.caller.run("rpc", pair.node, "digest", *args)
    if pair.caller.kind == "ours":
        assert isinstance(answer, Raised)
        assert "RpcError" == answer.name
    elif case == "255 arguments":
        assert (None if pair.callee.kind == "ours" else digest(*args[:254])) == answer
    elif case == "an argument of 70,000":
        assert digest(b"x" * (70_000 - 65_536)) == answer
    else:
        assert None is answer


@pytest.mark.parametrize("args", [(b"", b"one"), (b"one", b"")], ids=["first", "last"])
def test_empty_arguments(pair: Pair, args: tuple[bytes, ...]) -> None:
    """Empty arguments arrive in ours; uWSGI loses one in the middle, and refuses the call if it is the last."""
    answer = pair.caller.run("rpc", pair.node, "digest", *args)
    if pair.callee.kind == "ours":
        assert digest(*args) == answer
    elif args[-1]:
        assert digest(b"one") == answer
    elif pair.caller.kind == "uwsgi":
        assert None is answer
    else:
        assert "NodeClosed" == answer.name


def test_a_node_without_a_server(pair: Pair, tmp_path: object) -> None:
    """A call without a server is None for uWSGI, and an error of its own in ours."""
    nowhere = f"{tmp_path}/nobody.sock" if pair.over == "unix" else "127.0.0.1:1"
    answer = pair.caller.run("rpc", nowhere, "hello")
    if pair.caller.kind == "uwsgi":
        assert None is answer
    else:
        assert "NodeUnreachable" == answer.name
