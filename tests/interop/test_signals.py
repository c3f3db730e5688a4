"""Remote signals, in both directions between a real uWSGI and ours, over TCP and unix sockets.

All are equal, except: `signal` returns None in uWSGI, `remote_signal` None in ours; a node without a server is an
`OSError` in uWSGI, and its subclass `NodeUnreachable` in ours. Both acknowledge and log a signal number that is not
registered: the answer is about the queue, not about handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.conftest import Pair

pytestmark = pytest.mark.real


@pytest.mark.parametrize("signum", [7, 8, 255])
def test_a_registered_signal_runs(pair: Pair, signum: int) -> None:
    """Three remote signals are acknowledged, and their handler runs three times at the other end."""
    before = pair.callee.run("seen_times", signum)
    answers = [pair.caller.run("remote_signal", signum, pair.node) for _ in range(3)]
    assert [None] * 3 == answers
    assert before + 3 == pair.callee.wait_for(before + 3, "seen_times", signum)


def test_an_unregistered_signal_is_acknowledged(pair: Pair) -> None:
    """Nothing runs, the raiser learns nothing, the server logs the number."""
    before = len(pair.callee.log.read_text())
    assert None is pair.caller.run("remote_signal", 77, pair.node)
    assert "77" in pair.callee.wait_for_log("77", before)
    assert 0 == pair.callee.run("seen_times", 77)


def test_a_node_without_a_server(pair: Pair, tmp_path: object) -> None:
    """It is an error for both."""
    nowhere = f"{tmp_path}/nobody.sock" if pair.over == "unix" else "127.0.0.1:1"
    answer = pair.caller.run("remote_signal", 7, nowhere)
    assert ("OSError" if pair.caller.kind == "uwsgi" else "NodeUnreachable") == answer.name
