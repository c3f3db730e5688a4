"""Numbers in memory that processes share: each has one writer, and all see it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from trio_uwsgi._link.scoreboard import Board


@pytest.fixture
def board() -> Iterator[Board]:
    """A board of three seats and two locks."""
    board = Board.make(3, 2)
    yield board
    board.close()


def test_everything_begins_at_nothing(board: Board) -> None:
    """New memory is all zero, and nothing is locked."""
    assert [0.0] * 6 == [row.get(column) for row in board.rows for column in ("pid", "heartbeat")]
    assert [False, False] == [board.is_locked(number) for number in (0, 1)]


def test_who_has_the_descriptor_sees_it(board: Board) -> None:
    """Another opening of the memory reads what this one writes, and the other way round, until each is closed."""
    other = Board(os.dup(board.descriptor), 3, 2)
    board.rows[1].set("requests", 7)
    other.rows[2].set("heartbeat", 0.25)
    board.set_locked(1, True)
    assert [0.0, 7.0, 0.0] == [row.get("requests") for row in other.rows]
    assert 0.25 == board.rows[2].get("heartbeat")
    assert [False, True] == [other.is_locked(number) for number in (0, 1)]
    other.close()
    board.set_locked(1, False)
    assert not board.is_locked(1)


def test_clearing_a_row_leaves_the_others(board: Board) -> None:
    """A new member's numbers begin at nothing, but for the totals; its neighbours, and the locks, keep theirs."""
    columns = ("pid", "stuck", "done")
    for row in board.rows:
        for column in columns:
            row.set(column, 5)
    board.set_locked(0, True)
    board.rows[1].clear()
    assert [(5, 5, 5), (0, 0, 5), (5, 5, 5)] == [tuple(row.get(column) for column in columns) for row in board.rows]
    assert board.is_locked(0)


def test_a_row_has_a_text(board: Board) -> None:
    """It is read as it was written, cut where there is no more room; the neighbours have theirs; clearing ends it."""
    for row, text in zip(board.rows, (b"GET /", b"x" * 1000, b""), strict=True):
        row.write(b"longer than what follows")
        row.write(text)
    assert [b"GET /", b"x" * 127, b""] == [row.read() for row in board.rows]
    board.rows[0].clear()
    assert [b"", b"x" * 127] == [row.read() for row in board.rows[:2]]


def test_a_process_inherits_it(board: Board) -> None:
    """What a forked process writes is here at once, also after its end."""
    pid = os.fork()
    if pid == 0:
        board.rows[0].set("pid", os.getpid())
        os._exit(0)
    os.waitpid(pid, 0)
    assert pid == board.rows[0].get("pid")


def test_a_closed_board_is_gone() -> None:
    """The descriptor is closed, and what the numbers were can still be read; a board may have no seats and no locks."""
    for rows in (0, 2):
        board = Board.make(rows, 0)
        for number, row in enumerate(board.rows):
            row.set("done", number + 1)
        board.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(board.descriptor)
        assert [1, 2][:rows] == [row.get("done") for row in board.rows]
