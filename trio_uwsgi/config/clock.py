"""What the configuration runs by the clock: shell commands of crons, and signals of timers. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from trio_uwsgi.config.cron import CronSpec, CrontabSpec, Spec
from trio_uwsgi.config.daemons import key_values
from trio_uwsgi.errors import ConfigError, RegistrationError

__all__ = ["CronCommand", "SignalTimer", "several"]

_FIELDS = ("minute", "hour", "day", "month", "week")
_KEYS = (*_FIELDS, "unique", "harakiri")
_EXAMPLE = "write '0 3 * * 1 COMMAND', '0 3 -1 -1 1 COMMAND' or 'hour=3,unique=1 COMMAND'"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CronCommand:
    """A shell command that a cron runs: when, what, whether only one may run at a time, and its time limit in seconds
    (0: none; None: that of `Config.cron_harakiri`).
    """

    spec: Spec
    command: str
    unique: bool = False
    harakiri: float | None = None

    @classmethod
    def parse(cls, text: str) -> CronCommand:
        """Read five fields with a command behind them, uWSGI's numbers or those of a crontab; or the form of uWSGI's
        `cron2`, with keys.

        Raises:
            ConfigError: it is none of these, or never matches.
        """
        try:
            if re.match(r"\w+=", text):
                return cls._with_keys(text)
            *fields, command = text.split(None, len(_FIELDS)) or [""]
            if len(fields) != len(_FIELDS):
                raise ConfigError(f"cron={text!r} is not a time with a command", _EXAMPLE)
            if all(re.fullmatch(r"-?\d+", field) for field in fields):
                return cls(spec=CronSpec(*map(int, fields)), command=command)
            return cls(spec=CrontabSpec(" ".join(fields)), command=command)
        except RegistrationError as error:
            raise ConfigError(f"cron={text!r}: {error}", "correct the time") from None

    @classmethod
    def _with_keys(cls, text: str) -> CronCommand:
        options, _, command = text.partition(" ")
        if not command.strip():
            raise ConfigError(f"cron={text!r} has no command", _EXAMPLE)
        found: dict[str, int] = {}
        for key, value in key_values(options, "cron"):
            if key not in _KEYS:
                raise ConfigError(f"cron: there is no {key!r} here", f"use {', '.join(_KEYS)}")
            if not re.fullmatch(r"-?\d+", value):
                raise ConfigError(f"cron: {key}={value!r} is not a whole number", f"write {key}=1, for example")
            found[key] = int(value)
        spec = CronSpec(*(found.get(field, -1) for field in _FIELDS))
        return cls(spec=spec, command=command.strip(), unique=bool(found.get("unique")), harakiri=found.get("harakiri"))


@dataclasses.dataclass(frozen=True, slots=True)
class SignalTimer:
    """A signal that is raised at intervals: its number, and seconds."""

    signum: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> SignalTimer:
        """Read uWSGI's form: `"SIGNUM SECONDS"`.

        Raises:
            ConfigError: it is not two such numbers.
        """
        numbers = re.fullmatch(r"(\d{1,3})[ ,](\d{1,9})", text.strip())
        if numbers is None or int(numbers[1]) > 255 or not int(numbers[2]):
            raise ConfigError(
                f"timer={text!r} is not a signal from 0 to 255 and seconds", "write '17 60' for signal 17 each minute"
            )
        return cls(int(numbers[1]), int(numbers[2]))


def several(check: Callable[[str], object]) -> Callable[[str, object], tuple[str, ...]]:
    """A reader of options that are one text or several, each of which is checked."""

    def read(option: str, given: object) -> tuple[str, ...]:
        items = (given,) if isinstance(given, str) else given
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise ConfigError(f"{option}={given!r} is not a text", "write a text, or a list of texts")
        for item in items:
            check(item)
        return tuple(items)

    return read
