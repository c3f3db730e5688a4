"""Pauses before something that failed is restarted."""

from __future__ import annotations

import pytest

from trio_uwsgi._runtime.backoff import MEMBER_STARTED_AFTER, next_pause

pytestmark = pytest.mark.pure


def test_pauses_double_up_to_a_minute() -> None:
    """What fails soon after its start is restarted after 1, 2, 4, ... 60 seconds."""
    pauses = [0.0]
    for _ in range(8):
        pauses.append(next_pause(pauses[-1], 59.9))
    assert [0, 1, 2, 4, 8, 16, 32, 60, 60] == pauses


def test_a_long_run_was_no_failure() -> None:
    """After a run of a minute there is no pause, and the next short run counts as the first."""
    assert 0 == next_pause(32, 60)
    assert 1 == next_pause(0, 0)


def test_members_have_started_after_a_second() -> None:
    """A member that dies within it is restarted after 1, 2, 4, ... seconds, one that dies later at once."""
    assert [1, 2, 60] == [next_pause(pause, 0.99, MEMBER_STARTED_AFTER) for pause in (0, 1, 32)]
    assert [0, 0] == [next_pause(pause, 1, MEMBER_STARTED_AFTER) for pause in (0, 32)]
