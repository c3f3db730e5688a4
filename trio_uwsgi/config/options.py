"""The parts of `Config` that have fields or a grammar of their own: caches, alarms, access rules. Pure.

Like `Config`, each refuses impossible values when it is made; the error says what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from trio_uwsgi.config.mules import Mules
from trio_uwsgi.config.process import ProcessOptions
from trio_uwsgi.config.sources import matches, read_sources
from trio_uwsgi.errors import ConfigError

__all__ = [
    "AccessRules",
    "Alarm",
    "AlarmOptions",
    "Cache",
    "LogAlarm",
    "Mules",
    "ProcessOptions",
    "RecyclingLimits",
    "SpoolerOptions",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpoolerOptions:
    """What spoolers need: their directories, spoolers per directory, and the fields of `Config` with these names."""

    directories: tuple[str, ...]
    processes: int
    frequency: float
    max_tries: int
    retry: float
    retry_longest: float
    fsync: bool
    cheap: bool
    harakiri: float

    @property
    def count(self) -> int:
        """How many spoolers there are."""
        return len(self.directories) * self.processes


# ----- caches


@dataclasses.dataclass(frozen=True, slots=True)
class Cache:
    """One cache of a runtime, shared by its members, for `Config.caches`.

    Args:
        name: the name of the cache. It is not empty and has no `@`, which separates it from a node's address.
        items: the most items that the cache holds. uWSGI's `maxitems`, of which it holds one less.
        max_value: bytes of the longest value. uWSGI's `blocksize`.
        max_key: bytes of the longest key. uWSGI's `keysize`.
        lru: when the cache is full, drop the least recently used item. uWSGI's `purge_lru`, under which items do not
            expire; here they do.
        clear_on_full: when the cache is full, drop all items. uWSGI's key of this name.
        math_initial: the number that `cache_inc`, `cache_dec`, `cache_mul` and `cache_div` start from when there is no
            item.
        store: a file that keeps the items across restarts; it is created if it does not exist. Once a call that changes
            an item has returned, the change survives `kill -9`.
        store_sync: seconds between two flushes of the store to the disk, so that older changes also survive a crash of
            the machine; 0 leaves flushing to the system.
    Raises:
        ConfigError: a value is impossible, or `lru` and `clear_on_full` contradict each other.
    """

    name: str
    items: int = dataclasses.field(kw_only=True)
    max_value: int = dataclasses.field(default=65536, kw_only=True)
    max_key: int = dataclasses.field(default=2048, kw_only=True)
    lru: bool = dataclasses.field(default=False, kw_only=True)
    clear_on_full: bool = dataclasses.field(default=False, kw_only=True)
    math_initial: int = dataclasses.field(default=0, kw_only=True)
    store: str | None = dataclasses.field(default=None, kw_only=True)
    store_sync: float = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "@" in self.name:
            raise ConfigError(f"{self.name!r} is not the name of a cache", "write a text without '@'")
        for field, least in (("items", 1), ("max_value", 8), ("max_key", 1)):
            value = getattr(self, field)
            if type(value) is not int or value < least:
                raise ConfigError(
                    f"cache {self.name!r}: {field}={value!r} is not possible", f"use a whole number from {least} on"
                )
        if type(self.math_initial) is not int or not -(2**63) <= self.math_initial < 2**63:
            raise ConfigError(
                f"cache {self.name!r}: math_initial={self.math_initial!r} is not possible",
                "use a whole number that fits into 64 bits",
            )
        if type(self.store_sync) not in (int, float) or not 0 <= self.store_sync < math.inf:
            raise ConfigError(
                f"cache {self.name!r}: store_sync={self.store_sync!r} is not possible", "use seconds, or 0 for never"
            )
        if self.lru and self.clear_on_full:
            raise ConfigError(f"cache {self.name!r}: lru and clear_on_full are both set", "use one of them")
        if self.store is not None and (not isinstance(self.store, str) or not self.store or "\0" in self.store):
            raise ConfigError(f"cache {self.name!r}: store={self.store!r} is not a path", "write the path of a file")
        if self.store_sync and self.store is None:
            raise ConfigError(f"cache {self.name!r}: store_sync is set without a store", "add store=, or leave it out")

    @classmethod
    def parse(cls, text: str) -> Cache:
        """Read the form of the command line, which is that of uWSGI's `cache2`: `"name=default,items=1000,lru=1"`.

        Raises:
            ConfigError: a key or a value is not possible, or `name` or `items` is missing.
        """
        found: dict[str, str | int | float | bool] = {}
        for pair in text.split(","):
            key, equals, value = (part.strip() for part in pair.partition("="))
            if key in _NOT_HERE:
                raise ConfigError(f"cache2: {key!r} does not exist here", f"leave it out: {_NOT_HERE[key]}")
            name = _CACHE2.get(key, key)
            if name not in _CACHE_READERS:
                close = difflib.get_close_matches(key, [*_CACHE2, *_CACHE_READERS], n=1)
                raise ConfigError(
                    f"cache2: there is no {key!r}",
                    f"did you mean {close[0]!r}?" if close else f"use {', '.join(_CACHE_READERS)}",
                )
            try:
                found[name] = _CACHE_READERS[name](value if equals else "1")
            except ValueError:
                raise ConfigError(f"cache2: {key}={value!r} is not possible", "write a number") from None
        if "name" not in found or "items" not in found:
            raise ConfigError(f"cache2: {text!r} lacks a name or items", "write name=default,items=1000")
        return cls(**found)  # type: ignore[arg-type]  # each read as its field's type


# The keys of `cache2` that differ from the names of fields, and those that are not supported, with the reason.
_CACHE2 = {
    **dict.fromkeys(("max_items", "maxitems"), "items"),
    **dict.fromkeys(("key_size", "keysize"), "max_key"),
    "blocksize": "max_value",
    "purge_lru": "lru",
    "storesync": "store_sync",
}
_NOT_HERE = {
    **dict.fromkeys(("blocks", "bitmap"), "a value takes the memory it needs, up to max_value"),
    **dict.fromkeys(("hash", "hashsize", "hash_size"), "there is no hash table of a fixed size"),
    **dict.fromkeys(("lazy", "lazy_expire", "sweep_on_full"), "expired items are never returned, and make room"),
    **dict.fromkeys(("node", "nodes", "udp", "udp_server", "udp_servers", "sync"), "caches are not replicated"),
    **dict.fromkeys(("ignore_full", "no_expire", "lastmod", "store_delete"), "it is not supported"),
}
_CACHE_READERS: Mapping[str, Callable[[str], str | int | float | bool]] = {
    "name": str,
    "items": int,
    "max_value": int,
    "max_key": int,
    "lru": lambda text: bool(int(text)),
    "clear_on_full": lambda text: bool(int(text)),
    "math_initial": int,
    "store": str,
    "store_sync": float,
}


# ----- alarms

_KINDS = ("log", "cmd", "signal", "mule", "curl")
_HTTP_URL = re.compile(r"https?://[^/\s]+\S*")


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm:
    """The action of an alarm: `kind` and `argument` as in uWSGI's `alarm` option, or `call`, a function of the message.

    Kinds: `log:PREFIX`, `cmd:SHELL` (gets the message on standard input), `signal:N`, `mule:N` (0 for any mule),
    `curl:URL` (an HTTP POST).
    """

    name: str
    kind: str
    argument: str
    call: Callable[[str], object] | None = None

    @property
    def number(self) -> int:
        """The number of a `signal` or a `mule` alarm."""
        return int(self.argument)

    @classmethod
    def parse(cls, name: object, action: object) -> Alarm:
        """Read one entry of `Config.alarms`.

        Raises:
            ConfigError: the name or the action is not possible.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[^\s,]+", name):
            raise ConfigError(f"{name!r} is not the name of an alarm", "write a text without spaces and commas")
        if callable(action):
            return cls(name, "call", "", cast("Callable[[str], object]", action))
        kind, colon, argument = action.partition(":") if isinstance(action, str) else ("", "", "")
        if not colon or kind not in _KINDS:
            kinds = ", ".join(f"'{kind}:...'" for kind in _KINDS)
            raise ConfigError(f"alarm {name!r}: {action!r} is not an action", f"write {kinds} or a function")
        if kind == "signal" and not (argument.isdecimal() and int(argument) < 256):
            raise ConfigError(f"alarm {name!r}: {argument!r} is not a signal", "write a number from 0 to 255")
        if kind == "mule" and not (argument.isdecimal() and len(argument) < 7):
            raise ConfigError(f"alarm {name!r}: {argument!r} is not a mule", "write its number, or 0 for any")
        if kind == "cmd" and not argument.strip():
            raise ConfigError(f"alarm {name!r}: there is no command", "write cmd:COMMAND")
        if kind == "curl" and not _HTTP_URL.fullmatch(argument):
            raise ConfigError(f"alarm {name!r}: {argument!r} is not an HTTP address", "write curl:https://host/path")
        return cls(name, kind, argument)


@dataclasses.dataclass(frozen=True, slots=True)
class LogAlarm:
    """Every log line in which `pattern` is found raises the alarms `names`."""

    names: tuple[str, ...]
    pattern: re.Pattern[str]

    @classmethod
    def parse(cls, rule: object, known: Iterable[str]) -> LogAlarm:
        """Read one entry of `Config.alarm_log`: uWSGI's `"a,b REGEX"`.

        Raises:
            ConfigError: it does not have that form, names an alarm that is not `known`, or the expression is invalid.
        """
        names, space, expression = rule.partition(" ") if isinstance(rule, str) else ("", "", "")
        if not space or not expression.strip():
            raise ConfigError(f"alarm_log: {rule!r} is not a rule", "write 'NAME REGEX' or 'NAME,NAME REGEX'")
        for name in names.split(","):
            if name not in known:
                raise ConfigError(
                    f"alarm_log: there is no alarm {name!r}", f"add it, as in alarms={{{name!r}: 'log:'}}"
                )
        try:
            return cls(tuple(names.split(",")), re.compile(expression))
        except re.error as error:
            raise ConfigError(
                f"alarm_log: {expression!r} is not a regular expression ({error})", "write one in Python's syntax"
            ) from None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlarmOptions:
    """All of a runtime's alarms; `freq` is in seconds, see `Config.alarm_freq`."""

    alarms: Mapping[str, Alarm]
    rules: tuple[LogAlarm, ...]
    freq: float

    @classmethod
    def parse(cls, alarms: object, rules: object, freq: float) -> AlarmOptions:
        """Read the values of `Config.alarms`, `Config.alarm_log` and `Config.alarm_freq`.

        Raises:
            ConfigError: an alarm or a rule is not possible.
        """
        if not isinstance(alarms, Mapping):
            raise ConfigError(f"alarms={alarms!r} is not a mapping", "write alarms={'name': 'log:'}")
        if isinstance(rules, str) or not isinstance(rules, Iterable):
            raise ConfigError(f"alarm_log={rules!r} is not a list", "write alarm_log=['name REGEX']")
        parsed = {name: Alarm.parse(name, action) for name, action in alarms.items()}
        return cls(alarms=parsed, rules=tuple(LogAlarm.parse(rule, parsed) for rule in rules), freq=freq)

    def names_only(self) -> AlarmOptions:
        """The names alone, for member processes: the master runs the actions."""
        alarms = {name: Alarm(name, "log", "") for name in self.alarms}
        return AlarmOptions(alarms=alarms, rules=(), freq=self.freq)


# ----- access rules

# Modifiers of the uwsgi protocol that a listener can accept besides 0, the application.
_MODIFIERS = {"spool": 17, "ping": 100, "signal": 110, "cache": 111, "rpc": 173}
_LOCAL = ("unix", "loopback")


@dataclasses.dataclass(frozen=True, slots=True)
class AccessRules:
    """Which clients may use which modifier of the uwsgi protocol; requests for the application are always accepted.

    A source is `"unix"` (unix sockets), `"loopback"`, `"any"`, a network as in `"10.0.0.0/8"`, or the address of a
    listener as in `Config.socket`, which allows all clients of that listener. uWSGI accepts every modifier from every
    client.
    """

    sources: Mapping[int, tuple[str, ...]]

    @classmethod
    def parse(cls, rules: object) -> AccessRules:
        """Read `Config.modifiers`: names of modifiers, each with one source or several.

        Raises:
            ConfigError: a modifier or a source does not exist.
        """
        if not isinstance(rules, Mapping):
            raise ConfigError(
                f"modifiers={rules!r} is not a mapping", "write modifiers={'rpc': ['unix', '10.0.0.0/8']}"
            )
        sources: dict[int, tuple[str, ...]] = dict.fromkeys(_MODIFIERS.values(), _LOCAL)
        for name, given in rules.items():
            if name not in _MODIFIERS:
                raise ConfigError(f"modifiers: there is no {name!r}", f"use {', '.join(map(repr, _MODIFIERS))}")
            sources[_MODIFIERS[name]] = read_sources(f"modifiers: {name!r}", given)
        return cls(sources)

    def allow(self, modifier: int, client: str | None, listener: str) -> bool:
        """May this client use the modifier?

        Args:
            modifier: modifier1 of its packet.
            client: its IP address; None on a unix socket.
            listener: the address it connected to, as `str(Address)`.
        """
        return any(matches(source, client, listener) for source in self.sources.get(modifier, ()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecyclingLimits:
    """Limits at which a worker is replaced; 0 is no limit.

    In requests (plus up to `requests_delta` random ones), in seconds, and in bytes of resident memory.
    """

    requests: int = 0
    requests_delta: int = 0
    lifetime: float = 0
    rss: int = 0
