"""Who holds a lock, and who is next."""

from __future__ import annotations

import pytest

from trio_uwsgi._locks.rules import LockTable

pytestmark = pytest.mark.pure


def test_a_lock_is_handed_over_in_order() -> None:
    """The one that waited longest holds it at once; nobody is left after the last."""
    table: LockTable[str] = LockTable()
    assert table.take(0, "a")
    assert not table.take(0, "b")
    assert not table.take(0, "c")
    assert [(0, "b"), (0, "c")] == table.waiters()
    assert "b" == table.hand_over(0)
    assert [(0, "b")] == table.held()
    assert "c" == table.hand_over(0)
    assert table.hand_over(0) is None
    assert table.holder(0) is None
    assert ([], []) == (table.waiters(), table.held())


def test_a_cancelled_waiter_is_removed() -> None:
    """Others keep their place, and locks have nothing to do with each other."""
    table: LockTable[str] = LockTable()
    for who in "abc":
        table.take(0, who)
    assert table.take(1, "b")
    table.forget(0, "b")
    assert "c" == table.hand_over(0)
    table.take(0, "d")
    table.forget(0, "d")
    assert table.hand_over(0) is None
    assert "b" == table.holder(1)
