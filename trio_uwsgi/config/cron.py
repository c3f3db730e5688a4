"""When a cron fires: uWSGI's five integers, crontab strings, and both across DST changes. Pure.

Theory. A spec matches local minutes: `next_local` returns the next match on a calendar without time zones. `next_fire`
converts it to POSIX time; both kinds of spec meet DST only there, so they agree. A local minute read with fold=0 and
with fold=1 (PEP 495) gives two instants: equal on an ordinary day, fold=0 first in the hour that is repeated in autumn,
fold=1 first in the hour that is skipped in spring. A *fixed* job (given minutes of given hours) runs at the first of
two equal times, and once right after the gap if its time was skipped. Any other job follows the minutes that really
pass: none in the gap, twice as many in the repeated hour.

A cron fires at second 0 of its minutes. The order of crons and timers is in `_signals/schedule.py`. There is no clock
here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from trio_uwsgi.errors import RegistrationError

__all__ = ["CronSpec", "CrontabSpec", "Spec", "next_fire"]

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# Field, lowest and highest value that can match. A negative N matches the multiples of |N|, so the range must contain
# one: 0 is one for minute, hour and week; for day and month |N| must not exceed the highest value.
_RANGES = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("week", 0, 7))


def _hits(value: int, wanted: int) -> bool:
    return value == wanted if wanted >= 0 else value % wanted == 0


@dataclass(frozen=True, slots=True)
class CronSpec:
    """uWSGI's five integers, with uWSGI's meaning of them, in local time.

    A value of 0 or more is compared; a negative N matches the values that |N| divides, so -1 is always and minute -5 is
    :00, :05, :10, ... If `day` and `week` are both 0 or more, one of the two is enough; otherwise all five must match.

    Args:
        minute: 0 to 59, or negative.
        hour: 0 to 23, or negative.
        day: of the month, 1 to 31, or -1 to -31.
        month: 1 to 12, or -1 to -12.
        week: day of the week, 0 and 7 are Sunday, or negative.
    Raises:
        RegistrationError: a value or a date that never matches. uWSGI accepts these, and they never fire.
    """

    minute: int
    hour: int
    day: int
    month: int
    week: int

    def __post_init__(self) -> None:
        for name, lowest, highest in _RANGES:
            value = getattr(self, name)
            if type(value) is not int:
                raise RegistrationError(f"cron {name} {value!r} is not an int; give {_allowed(name, lowest, highest)}")
            if value > highest or 0 <= value < lowest or (lowest and value < -highest):
                allowed = _allowed(name, lowest, highest)
                raise RegistrationError(f"cron {name} {value} matches no time, so it would never run; give {allowed}")
        if self.day >= 0 and self.week >= 0:  # a match of the day of the week is enough
            return
        months = [length for month, length in enumerate(_DAYS_IN_MONTH, 1) if _hits(month, self.month)]
        if not any(_hits(day, self.day) for day in range(1, max(months) + 1)):
            raise RegistrationError(
                f"cron day {self.day} of month {self.month} matches no date, so it would never run; "
                f"give a day that this month has, at most {max(months)}"
            )

    @property
    def fixed(self) -> bool:
        """Does it give its minute and its hour? See the module's docstring for the meaning across a DST change."""
        return self.minute >= 0 and self.hour >= 0

    def matches(self, local: datetime) -> bool:
        """Is this local minute one of the spec's? Only the fields are read: zone and fold do not matter."""
        return _hits(local.minute, self.minute) and _hits(local.hour, self.hour) and self._on(local)

    def next_local(self, after: datetime) -> datetime:
        """The first matching local minute later than `after`, a naive whole minute."""
        day = after.date()
        if self._on(day):
            for hour in range(after.hour, 24):
                if _hits(hour, self.hour):
                    for minute in range(after.minute + 1 if hour == after.hour else 0, 60):
                        if _hits(minute, self.minute):
                            return datetime(day.year, day.month, day.day, hour, minute)
        # Step by day, or by month where the month does not match: 29 February is at most some 400 steps away. The loop
        # ends, because __post_init__ refuses specs that match no date, and each date falls on each day of the week in
        # some year.
        day += _DAY
        while not self._on(day):
            day = day + _DAY if _hits(day.month, self.month) else (day.replace(day=1) + 31 * _DAY).replace(day=1)
        # 0 is a multiple of everything, so a negative hour or minute starts its day, or hour, at 0.
        return datetime(day.year, day.month, day.day, max(self.hour, 0), max(self.minute, 0))

    def _on(self, day: date) -> bool:
        if not _hits(day.month, self.month):
            return False
        week = self.week if self.week != 7 else 0
        on_week = _hits(day.isoweekday() % 7, week)
        on_day = _hits(day.day, self.day)
        if self.day >= 0 and week >= 0:
            return on_day or on_week
        return on_day and on_week


def _allowed(name: str, lowest: int, highest: int) -> str:
    negative = f"-1 to -{highest}" if lowest else "a negative number"
    return f"{lowest} to {highest}, or {negative} (-N is every {name} that N divides)"


@dataclass(frozen=True, slots=True)
class CrontabSpec:
    """A crontab string of five fields, as `cronsim` reads it: minute, hour, day, month, day of the week.

    Names (`JAN`, `MON`), ranges, lists, steps, `L` (last), `LW` (last weekday) and `MON#2` (the second one) are
    understood. As in Debian's cron, day and day of the week must both match if either starts with `*`; otherwise one
    is enough.

    Args:
        text: the five fields.
    Raises:
        RegistrationError: the string is not understood, or never matches.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            fields = self.text.split()
            if len(fields) != 5:
                raise CronSimError(f"it has {len(fields)} field{'s' * (len(fields) != 1)}")
            next(CronSim(self.text, datetime(2000, 1, 1)))
        except CronSimError as error:
            reason = str(error)
        except StopIteration:
            reason = "it matches no date"
        else:
            return
        raise RegistrationError(
            f"crontab {self.text!r} cannot be used: {reason}; "
            "give five fields, as in '*/5 8-18 * * MON-FRI': minute, hour, day, month, day of the week"
        )

    @property
    def fixed(self) -> bool:
        """Does it give its minutes and its hours? See the module's docstring for the meaning across a DST change."""
        minute, hour = self.text.split()[:2]
        return not minute.startswith("*") and not hour.startswith("*")

    def next_local(self, after: datetime) -> datetime:
        """The first matching local minute later than `after`, a naive whole minute."""
        # Naive on purpose: with a zone cronsim applies its own DST rules, and may return a minute that has passed.
        return next(CronSim(self.text, after))


Spec = CronSpec | CrontabSpec


def next_fire(spec: Spec, after_wall: float, zone: tzinfo | None) -> float:
    """The first time a cron fires after the minute that contains `after_wall`.

    Args:
        spec: what to match.
        after_wall: POSIX time in seconds. Its own minute is skipped, even if this is its second 0.
        zone: the time zone, with PEP 495 folds (`zoneinfo.ZoneInfo`, `datetime.timezone`); None is the system's.
    Returns:
        POSIX time in seconds, a second 0 of local time.
    uWSGI: a cron fires at once if the minute of its registration matches; then at that same second; not at all on the
        day on which DST skips its time, and twice on the day on which its time is repeated.
    """
    after = math.floor(after_wall)  # datetime would round 59.9999999 s up to the next minute
    here = _local(after, zone).replace(second=0)
    if spec.fixed:
        return _fixed_fire(spec, here, after, zone)
    fires = _instants(_outside_gap(spec, spec.next_local(here), zone), zone)
    first, again = _instants(here, zone)
    if first < again:
        # This minute occurs twice. If it is the first occurrence, the clock will be set back to earlier minutes.
        put_back = _local(_offset_change(first, again, zone), zone)
        fires += _instants(spec.next_local(put_back - _MINUTE), zone)
    return min(fire for fire in fires if fire > after)


def _fixed_fire(spec: Spec, here: datetime, after: int, zone: tzinfo | None) -> float:
    first, again = _instants(spec.next_local(here), zone)
    if first > again:  # skipped: it runs at the end of the gap
        return _offset_change(again, first, zone)
    if first > after:
        return first
    # `after` is in the second pass of a repeated hour; fixed jobs ran in the first pass, so continue after the hour.
    end = _local(_offset_change(first, again, zone), zone) + timedelta(seconds=again - first)
    return _instants(spec.next_local(end - _MINUTE), zone)[0]


def _outside_gap(spec: Spec, local: datetime, zone: tzinfo | None) -> datetime:
    first, again = _instants(local, zone)
    if first <= again:
        return local
    return spec.next_local(_local(_offset_change(again, first, zone), zone) - _MINUTE)


def _local(instant: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0)


def _instants(local: datetime, zone: tzinfo | None) -> tuple[float, ...]:
    """POSIX times of a local time read with fold=0 and with fold=1."""
    return local.replace(tzinfo=zone).timestamp(), local.replace(tzinfo=zone, fold=1).timestamp()


def _offset_change(before: float, behind: float, zone: tzinfo | None) -> float:
    """The first second of the offset that is in force at `behind` and was not at `before`."""
    low, high = int(before), int(behind)
    offset = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == offset:
            high = middle
        else:
            low = middle
    return float(high)


def _offset(instant: int, zone: tzinfo | None) -> timedelta:
    return _local(instant, zone) - _local(instant, UTC)
