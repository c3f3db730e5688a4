"""The filter for repeated alarms, and the rules by which log lines raise alarms. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_uwsgi.config.options import LogAlarm

__all__ = ["RepeatFilter", "alarms_of"]


class RepeatFilter:
    """Suppresses an alarm with the same message as its last run, for `freq` seconds after that run, as uWSGI does."""

    def __init__(self, freq: float) -> None:
        self._freq = freq
        self._last: dict[str, tuple[str, float]] = {}  # each alarm's last message that was not suppressed, and when

    def allows(self, name: str, message: str, now: float) -> bool:
        """Should this alarm run? `now` is in seconds."""
        last = self._last.get(name)
        if last is not None and last[0] == message and now - last[1] < self._freq:
            return False
        self._last[name] = message, now
        return True


def alarms_of(line: str, rules: Iterable[LogAlarm]) -> list[str]:
    """The alarms that a log line raises, each once, in the order of the rules."""
    return list(dict.fromkeys(name for rule in rules if rule.pattern.search(line) for name in rule.names))
