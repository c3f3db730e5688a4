"""The API of alarms."""

from __future__ import annotations

from trio_uwsgi._alarms.alarms import ALARM
from trio_uwsgi._link.frames import Alarm
from trio_uwsgi.errors import AlarmError
from trio_uwsgi.uwsgi._base import current_unit, on_trios_thread

__all__ = ["alarm"]

_LONGEST = 8192


def alarm(alarm: str, msg: str | bytes) -> None:
    """Raise an alarm: the master performs the action that `Config.alarms` has for it.

    This returns at once, before the action is performed. An alarm with the same message as the last one is suppressed
    for `Config.alarm_freq` seconds. In the application's import the alarm is kept, and raised once members serve.

    Args:
        alarm: the name of the alarm, a key of `Config.alarms`.
        msg: the message, at most 8,192 bytes. Bytes are read as UTF-8; invalid ones are replaced.
    Raises:
        AlarmError: there is no such alarm, the message is too long, or the action of an alarm calls this.
        TypeError: the message is neither str nor bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.alarm`, which ignores alarms that do not exist, messages that are too long, and messages of 0 or 1
        byte.
    Example:
        uwsgi.alarm("disk", "90% full")
    """
    unit = current_unit("alarm", "raise alarms in a request, a handler or a mule's program")
    known = unit.member.services.alarms
    if unit.kind == ALARM:
        raise AlarmError(
            f"alarm {alarm!r} was raised by what runs for alarm {unit.name!r}; "
            f"log a message instead, or let one alarm do both"
        )
    if alarm not in known:
        alarms = ", ".join(sorted(map(repr, known))) or "none"
        raise AlarmError(
            f"there is no alarm {alarm!r}; configured: {alarms}; add it with Config(alarms={{...}}) or --alarm"
        )
    if not isinstance(msg, str | bytes):
        raise TypeError(f"the message of an alarm is str or bytes, not {type(msg).__name__}")
    data = msg.encode("utf-8", "replace") if isinstance(msg, str) else msg
    if len(data) > _LONGEST:
        raise AlarmError(f"the message of an alarm has {len(data)} bytes; the limit is {_LONGEST}")
    text = data.decode("utf-8", "replace")
    on_trios_thread(lambda: unit.member.link.send(Alarm(alarm, text)))
