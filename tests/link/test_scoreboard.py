"""Numbers in memory that processes share: each has one writer, and all see it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from trio_uwsgi._link.scoreboard import Scoreboard


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    """A scoreboard of three rows and two locks."""
    scoreboard = Scoreboard.make(3, 2)
    yield scoreboard
    scoreboard.close()


def test_everything_begins_at_nothing(scoreboard: Scoreboard) -> None:
    """New memory is all zero, and nothing is locked."""
    assert [0.0] * 6 == [row.get(column) for row in scoreboard.rows for column in ("pid", "heartbeat")]
    assert [False, False] == [scoreboard.is_locked(number) for number in (0, 1)]


def test_who_has_the_descriptor_sees_it(scoreboard: Scoreboard) -> None:
    """Another opening of the memory reads what this one writes, and the other way round, until each is closed."""
    other = Scoreboard(os.dup(scoreboard.descriptor), 3, 2)
    scoreboard.rows[1].set("requests", 7)
    other.rows[2].set("heartbeat", 0.25)
    scoreboard.set_lock_holder(1, 5)
    assert [0.0, 7.0, 0.0] == [row.get("requests") for row in other.rows]
    assert 0.25 == scoreboard.rows[2].get("heartbeat")
    scoreboard.set_direct(0, True)
    assert [False, True] == [other.is_locked(number) for number in (0, 1)]
    assert [0, 5] == [other.lock_holder(number) for number in (0, 1)]
    assert [True, False] == [other.is_direct(number) for number in (0, 1)]
    other.close()
    scoreboard.set_lock_holder(1, 0)
    assert not scoreboard.is_locked(1)


def test_shared_areas_are_a_part_of_the_memory() -> None:
    """Each has its own bytes, aligned, in every process that has the descriptor."""
    with (
        contextlib.closing(Scoreboard.make(1, 3, [24, 16])) as board,
        contextlib.closing(Scoreboard(os.dup(board.descriptor), 1, 3, [24, 16])) as other,
    ):
        board.areas[0][:] = b"a" * 24
        board.areas[1][:] = b"b" * 16
        board.set_lock_holder(2, 5)
        assert [b"a" * 24, b"b" * 16] == [bytes(area) for area in other.areas]
        assert other.is_locked(2)


def test_clearing_a_row_leaves_the_others(scoreboard: Scoreboard) -> None:
    """A new member's numbers begin at nothing, but for the totals; its neighbours, and the locks, keep theirs."""
    columns = ("pid", "stuck", "done")
    for row in scoreboard.rows:
        for column in columns:
            row.set(column, 5)
    scoreboard.set_lock_holder(0, 5)
    scoreboard.rows[1].clear()
    assert [(5, 5, 5), (0, 0, 5), (5, 5, 5)] == [
        tuple(row.get(column) for column in columns) for row in scoreboard.rows
    ]
    assert scoreboard.is_locked(0)


def test_a_row_has_a_text(scoreboard: Scoreboard) -> None:
    """It is read as it was written, cut where there is no more room; the neighbours have theirs; clearing ends it."""
    for row, text in zip(scoreboard.rows, (b"GET /", b"x" * 1000, b""), strict=True):
        row.write(b"longer than what follows")
        row.write(text)
    assert [b"GET /", b"x" * 127, b""] == [row.read() for row in scoreboard.rows]
    scoreboard.rows[0].clear()
    assert [b"", b"x" * 127] == [row.read() for row in scoreboard.rows[:2]]


def test_a_process_inherits_it(scoreboard: Scoreboard) -> None:
    """What a forked process writes is here at once, also after its end."""
    pid = os.fork()
    if pid == 0:
        scoreboard.rows[0].set("pid", os.getpid())
        os._exit(0)
    os.waitpid(pid, 0)
    assert pid == scoreboard.rows[0].get("pid")


def test_a_closed_scoreboard_is_released() -> None:
    """The descriptor is closed, and the last numbers can still be read; a scoreboard may have no rows and no locks."""
    for rows in (0, 2):
        scoreboard = Scoreboard.make(rows, 0)
        for number, row in enumerate(scoreboard.rows):
            row.set("done", number + 1)
        scoreboard.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(scoreboard.descriptor)
        assert [1, 2][:rows] == [row.get("done") for row in scoreboard.rows]
