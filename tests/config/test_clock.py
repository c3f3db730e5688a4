"""What a configuration runs by the clock: the forms of crons with commands, and of timers."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi import Config
from trio_uwsgi.config.clock import CronCommand, SignalTimer
from trio_uwsgi.config.cron import CronSpec, CrontabSpec
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("59 2 -1 -1 -1 /bin/backup -v", CronCommand(spec=CronSpec(59, 2, -1, -1, -1), command="/bin/backup -v")),
        ("*/5  8-18 * * MON-FRI  a  b", CronCommand(spec=CrontabSpec("*/5 8-18 * * MON-FRI"), command="a  b")),
        ("minute=-15,unique=1 a b", CronCommand(spec=CronSpec(-15, -1, -1, -1, -1), command="a b", unique=True)),
        ("hour=3,unique=0,harakiri=9 a", CronCommand(spec=CronSpec(-1, 3, -1, -1, -1), command="a", harakiri=9)),
    ],
)
def test_the_forms_of_a_cron(text: str, expected: CronCommand) -> None:
    """uWSGI's numbers, a crontab's fields, and keys."""
    assert (text,) == Config(cron=text).cron
    assert expected == CronCommand.parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cron": "59 2 -1 -1 backup"}, "is not a time with a command; write '0 3 * * 1 COMMAND'"),
        ({"cron": "99 2 -1 -1 -1 backup"}, "cron minute 99 matches no time"),
        ({"cron": "x * * * * backup"}, "crontab 'x * * * *' cannot be used"),
        ({"cron": ""}, "cron='' is not a time with a command"),
        ({"cron": "minute=5"}, "cron='minute=5' has no command"),
        (
            {"cron": "minute=5,legion=x a"},
            "cron: there is no 'legion' here; use minute, hour, day, month, week, unique",
        ),
        ({"cron": "minute=often a"}, "cron: minute='often' is not a whole number"),
        ({"cron": 5}, "cron=5 is not a text; write a text, or a list of texts"),
        ({"cron": [5]}, "cron=[5] is not a text"),
        ({"cron_harakiri": -1}, "cron_harakiri=-1 is too small"),
        ({"timer": "17"}, "timer='17' is not a signal from 0 to 255 and seconds"),
        ({"timer": "256 1"}, "is not a signal from 0 to 255"),
        ({"timer": "1 0"}, "is not a signal from 0 to 255 and seconds; write '17 60'"),
    ],
)
def test_impossible_values(options: dict[str, Any], message: str) -> None:
    """Each error says what to write."""
    with pytest.raises(ConfigError) as caught:
        Config(**options)
    assert message in str(caught.value)


def test_timers() -> None:
    """A signal, and seconds."""
    assert [SignalTimer(17, 60), SignalTimer(0, 1)] == list(
        map(SignalTimer.parse, Config(timer=["17 60", "0 1"]).timer)
    )
