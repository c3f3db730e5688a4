"""Which alarms are worth doing something about."""

from __future__ import annotations

import pytest

from trio_uwsgi._alarms.rules import RepeatFilter, alarms_of
from trio_uwsgi.config.options import LogAlarm

pytestmark = pytest.mark.pure


def test_the_same_message_is_held_back_for_a_while() -> None:
    """Ten times at half a second are two alarms, at 0 and 3 s; another message is always let through."""
    repeat_filter = RepeatFilter(3)
    assert [0.0, 3.0] == [n / 2 for n in range(10) if repeat_filter.allows("a", "same", n / 2)]
    assert repeat_filter.allows("a", "other", 4.6)
    assert repeat_filter.allows("a", "same", 4.7)
    assert repeat_filter.allows("b", "same", 4.7)


def test_log_lines_raise_alarms_once_each() -> None:
    """In the order of the rules, by search and not by match."""
    rules = [LogAlarm.parse("a,b disk", "abc"), LogAlarm.parse("b,c full$", "abc")]
    assert ["a", "b", "c"] == alarms_of("the disk is full", rules)
    assert [] == alarms_of("all is well", rules)
