"""What a `Config` refuses: wrong types, impossible values, contradictions. Pure.

Read `config.py` first; this is a module of its own only because of the length. Each error says what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from trio_uwsgi.config.options import Mules
from trio_uwsgi.config.values import takes_a_free_port
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from trio_uwsgi.config.addresses import Address
    from trio_uwsgi.config.config import Config

__all__ = ["all_of", "contradictions", "impossible_values"]

# Smallest value of each number, and the advice for a smaller one.
_SMALLEST: dict[str, tuple[float, str]] = {
    "listen": (1, "use 1 or more"),
    "workers": (1, "use 1 or more"),
    "threads": (1, "use 1 or more"),
    "spooler_processes": (1, "use 1 or more; without spooler= there is none"),
    "spooler_max_tries": (0, "use 0 for no limit"),
    "spooler_harakiri": (0, "use 0 for no limit"),
    "locks": (0, "use 0 or more: it is the highest number of a lock"),
    "queue": (0, "use 0 for no shared queue"),
    "queue_blocksize": (1, "use 1 or more: it is the longest message, in bytes"),
    "queue_store_sync": (0, "use 0 to leave flushing to the system"),
    "signal_queue": (1, "use 1 or more: signals are queued until their handler runs"),
    "message_queue": (1, "use 1 or more: messages are queued until a mule takes them"),
    "max_header_size": (256, "use 256 or more: no real request fits in less"),
    "max_headers": (1, "use 1 or more: every HTTP/1.1 request has a Host header"),
    "max_body": (0, "use 0 for no limit"),
    "max_connections": (0, "use 0 for no limit"),
    "max_concurrent_requests": (0, "use 0 for no limit"),
    "max_websocket_message": (0, "use 0 for no limit"),
    "websocket_ping_interval": (0, "use 0 for no pings"),
    "websocket_ping_timeout": (0, "use 0 for no limit"),
    "harakiri": (0, "use 0 for no limit"),
    "mule_harakiri": (0, "use 0 for no limit"),
    "cron_harakiri": (0, "use 0 for no limit"),
    "mercy": (0, "use 0 to cancel running requests at once"),
    "drain_delay": (0, "use 0 to begin the stop at once"),
    "stop_streams": (0, "use 0 to tell them at once"),
    "import_timeout": (0, "use 0 for no limit"),
    "alarm_freq": (0, "use 0 to repeat every message"),
}
_MODES = ("chmod_socket", "umask")  # whole numbers that are written in octal
# 0 would leave the peer no time, or retry without a pause.
_TIMEOUTS = ("header_timeout", "keep_alive_timeout", "socket_timeout", "node_timeout")
_PAUSES = ("spooler_frequency", "spooler_retry", "spooler_retry_longest")
_HARAKIRIS = ("harakiri", "mule_harakiri", "spooler_harakiri", "cron_harakiri")
_RECYCLING = ("max_requests", "max_worker_lifetime", "reload_on_rss")


def all_of(errors: Sequence[ConfigError]) -> ConfigError:
    """One error for several."""
    first, *others = errors
    return ConfigError(first.problem, first.remedy, tuple(others)) if others else first


def impossible_values(config: Config, choices: Mapping[str, Sequence[str]]) -> Iterator[ConfigError]:
    """Values that are of the wrong type or out of range, each checked by itself.

    Args:
        config: to check.
        choices: the possible values of fields that are names.
    """
    wrong = dict(_wrong_types(config))
    yield from wrong.values()
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            names = " or ".join(repr(choice) for choice in allowed)
            yield ConfigError(f"{name}={getattr(config, name)!r} does not exist", f"use {names}")
    numbers = {name: value for name, kind, value in _simple_values(config) if kind != "bool" and name not in wrong}
    yield from _out_of_range(cast("Mapping[str, float]", numbers))
    yield from _wrong_mode(config.chmod_socket)
    yield from _wrong_timezone(config.timezone)


def _simple_values(config: Config) -> Iterator[tuple[str, str, object]]:
    """Name, type and value of the options that are numbers or flags, without those that are None and may be."""
    for field in dataclasses.fields(config):
        kind, _, optional = str(field.type).partition(" | ")
        value = getattr(config, field.name)
        is_simple = kind in ("int", "float", "bool") and optional in ("", "None") and field.name not in _MODES
        if is_simple and (value is not None or not optional):
            yield field.name, kind, value


def _wrong_types(config: Config) -> Iterator[tuple[str, ConfigError]]:
    for name, kind, value in _simple_values(config):
        if kind == "int" and type(value) is not int:  # a bool is an int to Python, and a mistake here
            yield name, ConfigError(f"{name}={value!r} is not a whole number", f"write {name}=1, for example")
        elif kind == "float" and (not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value)):
            remedy = f"write {name}=30 or {name}=0.5, for example"
            yield name, ConfigError(f"{name}={value!r} is not a number of seconds", remedy)
        elif kind == "bool" and type(value) is not bool:
            yield name, ConfigError(f"{name}={value!r} is neither True nor False", f"write {name}=True or leave it out")
    mules = config.mules
    if type(mules) is not int and not isinstance(mules, Mules):
        remedy = "write mules=1 or mules=Mules(min=1, max=4)"
        yield "mules", ConfigError(f"mules={mules!r} is not a whole number", remedy)
    elif isinstance(mules, int) and mules < 0:
        yield "mules", ConfigError(f"mules={mules} is too small", "use 0 or more")


def _out_of_range(values: Mapping[str, float]) -> Iterator[ConfigError]:
    for name, value in values.items():
        smallest, remedy = _SMALLEST.get(name, (-math.inf, ""))
        if value < smallest:
            yield ConfigError(f"{name}={value} is too small", remedy)
        elif name in (*_RECYCLING, "max_requests_delta") and not 0 <= value < math.inf:
            yield ConfigError(f"{name}={value} is not a limit", "use more than 0, or 0 for no limit")
        elif name in _TIMEOUTS and value <= 0:
            remedy = "use more than 0, or math.inf for no limit"
            yield ConfigError(f"{name}={value} leaves the peer no time", remedy)
        elif name in _PAUSES and not 0.001 <= value <= 365 * 86400:
            yield ConfigError(f"{name}={value} is out of range", "use 0.001 seconds to a year (31,536,000 s)")
        elif name == "queue_store_sync" and math.isinf(value):
            yield ConfigError("queue_store_sync=inf would never be reached", "use 0 to leave flushing to the system")
        elif name in _HARAKIRIS and math.isinf(value):
            yield ConfigError(f"{name}=inf would never be reached", "use 0 for no limit")
        elif name == "drain_delay" and math.isinf(value):
            yield ConfigError("drain_delay=inf would never end", "use the seconds that load balancers need")


def _wrong_mode(mode: object) -> Iterator[ConfigError]:
    if mode is not None and (type(mode) is not int or not 0 <= mode <= 0o777):
        written = f"{mode} is {mode:#o} in octal, which" if type(mode) is int and mode >= 0 else f"{mode!r}"
        yield ConfigError(
            f"chmod_socket: {written} is not the mode of a socket", "write it in octal, as in chmod_socket=0o660"
        )


def _wrong_timezone(key: object) -> Iterator[ConfigError]:
    if key is None:
        return
    try:
        zoneinfo.ZoneInfo(cast("str", key))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
        close = difflib.get_close_matches(str(key), zoneinfo.available_timezones(), n=1)
        remedy = (
            f"did you mean {close[0]!r}?"
            if close
            else "write a name as in 'Europe/Rome', or leave it out for the system's time zone"
        )
        yield ConfigError(f"timezone={key!r} does not exist on this machine", remedy)


def contradictions(config: Config) -> Iterator[ConfigError]:
    """Values that contradict each other, or have no effect without another one."""
    secure = tuple(tls.where for tls in config.tls)
    named = {
        "http": config.addresses,
        "https": secure,
        "socket": config.uwsgi_addresses,
        "stats": config.stats_addresses,
    }
    owners: dict[Address, str] = {}
    for option, addresses in named.items():
        for address in addresses:
            owner = owners.setdefault(address, option)
            if owner != option and not takes_a_free_port(address):
                yield ConfigError(f"{owner} and {option} both name {address}", "give each its own address")
    if config.placement == "process" and any(tls.context is not None for tls in config.tls):
        yield ConfigError(
            "https has a context= of your own, which cannot be passed on to processes",
            "name files, as in certificate='cert.pem', or leave placement out",
        )
    if config.chmod_socket is not None and not any(a.kind == "unix" and not a.path.startswith("@") for a in owners):
        yield ConfigError(
            "chmod_socket is set, but neither http nor socket names a unix socket file",
            "add one, as in http='/run/app.sock', or leave chmod_socket out",
        )
    if config.stats_http and not config.stats_addresses:
        yield ConfigError(
            "stats_http is set without the address of a stats server", "add one, as in stats='127.0.0.1:9191'"
        )
    if config.lazy_apps and config.placement != "process":
        yield ConfigError(
            "lazy_apps is set, but members are tasks of one process, which imports the application once",
            "set placement='process', or leave lazy_apps out",
        )
    for name, is_set in (("spooler_cheap", config.spooler_cheap), ("spooler_processes", config.spooler_processes > 1)):
        if is_set and not config.spooler:
            yield ConfigError(f"{name} is set, but there is no spooler", f"add spooler='jobs', or leave {name} out")
    yield from _without_queue(config)
    for alarm in config.alarm_options.alarms.values():
        if alarm.kind == "mule" and (most := config.mule_pool.max) < max(1, alarm.number):
            problem = f"alarm {alarm.name!r} goes to a mule that does not exist: {_mules(most)}"
            yield ConfigError(problem, f"set mules={max(1, alarm.number)}, or use another number")
    if config.spooler_retry_longest < config.spooler_retry:
        yield ConfigError(
            f"spooler_retry_longest={config.spooler_retry_longest:g} is less than spooler_retry",
            f"set spooler_retry_longest to {config.spooler_retry:g} or more",
        )
    if config.stop_streams is not None and config.stop_streams > config.mercy:
        yield ConfigError(
            f"stop_streams={config.stop_streams:g} is more than mercy={config.mercy:g}, which ends streams before that",
            "set stop_streams to less than mercy",
        )
    yield from _without_replacements(config)
    if (config.uid is not None or config.gid is not None) and any(d.uid or d.gid for d in config.daemons):
        yield ConfigError(
            "attach_daemon has a uid or gid of its own, and the server itself gives up root for another user",
            "leave uid and gid out of one of them; without one of its own, a daemon has the server's",
        )
    if config.interface == "wsgi" and config.lifespan == "on":
        yield ConfigError("interface='wsgi' contradicts lifespan='on': only ASGI has a lifespan", "leave lifespan out")


def _without_queue(config: Config) -> Iterator[ConfigError]:
    """Options of the shared queue, where there is none."""
    store = config.queue_store
    if store is not None and (not isinstance(store, str) or not store or "\0" in store):
        yield ConfigError(f"queue_store={store!r} is not a path", "write the path of a file")
    if store is not None and not config.queue:
        yield ConfigError("queue_store is set, but there is no queue", "set queue=100, or leave queue_store out")
    if config.queue_store_sync and store is None:
        yield ConfigError("queue_store_sync is set without a store", "set queue_store, or leave queue_store_sync out")


def _without_replacements(config: Config) -> Iterator[ConfigError]:
    """Options that replace members, where members cannot be replaced."""
    for name in (*_RECYCLING, "chain_reload", "touch_reload", "reload"):
        if getattr(config, name) and config.placement != "process":
            yield ConfigError(
                f"{name} is set, but members are tasks of one process, which cannot be replaced",
                f"set placement='process', or leave {name} out",
            )
    if config.max_requests_delta and not config.max_requests:
        yield ConfigError("max_requests_delta is set, but max_requests is not", "set both, or leave it out")


def _mules(count: int) -> str:
    return f"there {'is' if count == 1 else 'are'} {count or 'no'} {'mule' if count == 1 else 'mules'}"
