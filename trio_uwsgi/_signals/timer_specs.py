"""Converts timer rules from callers' arguments, and to and from frames; the rules are in `timer.py`. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trio_uwsgi._signals.timer import Again, Cron, Every, Rule
from trio_uwsgi.config.cron import CronSpec, CrontabSpec
from trio_uwsgi.errors import RegistrationError

__all__ = ["cron_spec", "rule_from_values", "rule_values"]


def cron_spec(*when: int | str) -> CronSpec | CrontabSpec:
    """Five integers in uWSGI's meaning, or one crontab string.

    Raises:
        RegistrationError: `when` is neither.
    """
    if len(when) == 1 and isinstance(when[0], str):
        return CrontabSpec(when[0])
    numbers = [n for n in when if isinstance(n, int)]
    if len(when) != 5 or len(numbers) != 5:
        raise RegistrationError(
            f"a cron is five integers (minute, hour, day, month, week) or one crontab string, not {when!r}"
        )
    return CronSpec(*numbers)


def rule_values(rule: Rule) -> list[float | int | str]:
    """A rule as plain values, for a frame to the master; `rule_from_values` is the reverse."""
    if isinstance(rule, Every):
        return ["every", rule.seconds]
    if isinstance(rule, Again):
        return ["again", rule.seconds, rule.iterations]
    return ["cron", *dataclasses.astuple(rule.spec)]


def rule_from_values(values: Sequence[float | int | str]) -> Rule:
    """The rule of the values that `rule_values` made.

    Raises:
        RegistrationError: the values are not a valid rule.
    """
    match values:
        case ["every", int() | float() as seconds]:
            return Every(seconds)
        case ["again", int() | float() as seconds, int() as iterations]:
            return Again(seconds, iterations)
        case ["cron", *when]:
            return Cron(cron_spec(*(part for part in when if isinstance(part, int | str))))
    raise RegistrationError(f"{values!r} is not a timer's rule")
