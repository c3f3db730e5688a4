"""The API of alarms."""

from __future__ import annotations

from trio_uwsgi._alarms.alarms import ALARM
from trio_uwsgi._link.frames import Alarm
from trio_uwsgi.errors import AlarmError
from trio_uwsgi.uwsgi._base import current_unit, on_trios_thread

__all__ = ["alarm"]

_LONGEST = 8192


def alarm(alarm: str, msg: str | bytes) -> None:
    """Raise an alarm: the master does what `Config.alarms` says, soon, and in no member.

    One whose message is that of the last time is held back for `Config.alarm_freq` seconds.

    Args:
        alarm: its name.
        msg: a text of at most 8,192 bytes; bytes are taken as UTF-8. What is not UTF-8 in it is replaced.
    Raises:
        AlarmError: there is no such alarm, the message is too long, or an alarm is being done: it would feed itself.
        TypeError: the message is neither str nor bytes.
        NotServing: not called by a running member.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.alarm`, which ignores an alarm that does not exist, and messages that are too long or have one byte.
    """
    unit = current_unit("alarm", "alarms belong to a runtime; raise them in a request, a handler or a mule's program")
    known = unit.member.services.alarms
    if unit.kind == ALARM:
        raise AlarmError(
            f"alarm {alarm!r} was raised by what alarm {unit.name!r} does; log it instead, or do both in one"
        )
    if alarm not in known:
        there = ", ".join(sorted(map(repr, known))) or "none"
        raise AlarmError(
            f"there is no alarm {alarm!r}; there is {there}; add it with Config(alarms={{...}}), or --alarm"
        )
    if not isinstance(msg, str | bytes):
        raise TypeError(f"the message of an alarm is str or bytes, not {type(msg).__name__}")
    data = msg.encode("utf-8", "replace") if isinstance(msg, str) else msg
    if len(data) > _LONGEST:
        raise AlarmError(f"the message of an alarm has at most {_LONGEST} bytes, and this one has {len(data)}")
    text = data.decode("utf-8", "replace")
    on_trios_thread(lambda: unit.member.link.send(Alarm(alarm, text)))
