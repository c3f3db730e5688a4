"""The options of a runtime. Floor 0.

`Config` is written once and never changes. Values that are impossible, or that contradict each other, are refused when
it is made, with the remedy in the error: nothing has been started by then. What needs the operating system to be judged
(a port in use, a stale socket file) is not here but in `_tasks/listeners.py`; reading options from a command line is in
`__main__.py`.

No part below floor 4 gets the whole `Config`: the properties at its end make the small groups that are handed down.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast, get_args

from trio_uwsgi.addresses import Address
from trio_uwsgi.errors import ConfigError
from trio_uwsgi.options import (
    AccessRules,
    Alarm,
    AlarmOptions,
    Cache,
    HttpLimits,
    HttpTimeouts,
    LogAlarm,
    SocketOptions,
)

__all__ = ["Address", "Cache", "Config"]

Interface = Literal["auto", "wsgi", "asgi"]
Lifespan = Literal["auto", "on", "off"]
Placement = Literal["task", "memory"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a runtime can be told. Names are uWSGI's, with underscores; times are seconds, sizes are bytes.

    A `Config` never changes; `dataclasses.replace(config, mules=2)` makes another one.

    Raises:
        ConfigError: a value is of the wrong type or out of its range, or two of them contradict each other.
    Example:
        Config(http=["127.0.0.1:8000", "/run/app.sock"], chmod_socket=0o660, mules=1, harakiri=30)
    """

    # ----- listeners

    # Where HTTP is served: one address, or several; the forms are in `Address.parse`. An empty sequence opens no
    # socket, for tests. Left out, it is 127.0.0.1:8000, unless `socket` is given: reachable from this machine only,
    # because nothing in front of it has been configured yet. uWSGI's `http` starts a router process in front of the
    # workers; here the workers serve the sockets themselves. It is parsed when the Config is made: read `addresses`.
    http: str | Address | Sequence[str | Address] | None = None

    # Where the uwsgi protocol is served, in the same forms: for nginx's `uwsgi_pass`, and for other servers' RPC,
    # signals and caches. Read `uwsgi_addresses`.
    socket: str | Address | Sequence[str | Address] = ()

    # Who may use the uwsgi protocol for something else than the application: names of modifiers ("rpc", "signal",
    # "cache", "ping") with a source, or several: "unix", "loopback", "any", a network as in "10.0.0.0/8", or the
    # address of one listener. What is not named here is for unix sockets and loopback. uWSGI accepts everything from
    # everybody. Read `access_rules`.
    modifiers: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict, hash=False)

    # Connections the kernel keeps for us until they are accepted. It takes at most /proc/sys/net/core/somaxconn, 4096
    # on current systems, without saying so. uWSGI's default is 100, gunicorn's and uvicorn's 2048, Trio asks for as
    # many as it can get.
    listen: int = 1024

    # Mode of unix socket files, as in 0o660. None leaves it to the umask (0o755 with the usual one, so only the owner
    # connects).
    chmod_socket: int | None = None

    # ----- application

    # How the application is called. "auto" looks at it, and says so when it cannot tell.
    interface: Interface = "auto"

    # ASGI's lifespan protocol. "auto" takes an application that raises on it as one without; "on" takes that as a
    # failed start.
    lifespan: Lifespan = "auto"

    # Cancel an ASGI application when its client has gone away, on top of sending it `http.disconnect`. Off, because
    # work that was begun for a client (a payment, a job) is often meant to be finished.
    cancel_on_disconnect: bool = False

    # ----- members

    # Workers of the runtime. They serve the same sockets.
    workers: int = 1

    # WSGI requests that run at once in each worker, each in its own thread. 1 as in uWSGI: applications need not be
    # thread-safe.
    threads: int = 1

    # Mules: members that serve no requests, but run their own programs, signal handlers and messages.
    mules: int = 0

    # Signals that may wait at each member; one more is refused with `SignalQueueFull`. uWSGI's queue is a socket buffer
    # of some hundred signals that drops what does not fit.
    signal_queue: int = 10_000

    # Messages that may wait at each mule; one more is refused with `MessageQueueFull`.
    message_queue: int = 10_000

    # Caches, which all members share. The first one is used where no name is given.
    caches: Sequence[Cache] = ()

    # The highest user lock; 0 is always there. uWSGI's option of this name counts in the same way.
    locks: int = 0

    # What each alarm does: "log:PREFIX", "cmd:SHELL", "signal:N", "mule:N", "curl:URL", or a function of the message.
    alarms: Mapping[str, str | Callable[[str], object]] = dataclasses.field(default_factory=dict, hash=False)

    # Log lines that raise alarms, as in "name REGEX" or "name,name REGEX".
    alarm_log: Sequence[str] = ()

    # How members are run: "task", in this process. "memory" also does, but speaks to them in bytes, which tests use to
    # keep that path honest.
    placement: Placement = "task"

    # ----- limits of requests

    # Bytes of a request's line and headers together, answered with 431 beyond. One cookie may be 4 KiB, the token of a
    # single sign-on 16 KiB. uWSGI takes 4 KiB (`buffer-size`), uvicorn 64 KiB.
    max_header_size: int = 32_768

    # Header fields of a request, answered with 431 beyond. Browsers behind two proxies send about 40.
    max_headers: int = 100

    # Bytes of a request's body, answered with 413 beyond; 0 is no limit. Bodies are streamed, so size alone costs no
    # memory.
    max_body: int = 0

    # ----- time

    # Seconds that a request, signal handler or mule message may take before it is cancelled; 0 is no limit. uWSGI's
    # option of this name takes whole seconds and ends the process.
    harakiri: float = 0

    # The same in mules, where `harakiri` does not count.
    mule_harakiri: float = 0

    # Seconds that a graceful stop waits for what runs, before it is cancelled; 0 waits for nothing. 30 is what
    # container schedulers give. uWSGI waits 60.
    mercy: float = 30

    # Seconds for a whole request head to arrive, from its first byte (or from the connection being made). A browser
    # sends it at once; 15 is enough for a bad mobile network, and short enough for clients that dribble on purpose.
    header_timeout: float = 15

    # Seconds that a connection may be idle between two requests. Longer than the 60 of usual load balancers, so that
    # they close first and never send a request into a connection that is just being closed.
    keep_alive_timeout: float = 75

    # Seconds that a client may neither send nor take a byte while a body is on its way. Long transfers that move are
    # not limited.
    socket_timeout: float = 60

    # Seconds for a call to another node (RPC, signal, cache) from the connection to the last byte of the answer. uWSGI
    # has 4 for each step (`socket-timeout`).
    node_timeout: float = 10

    # Seconds in which an alarm with the same message as before is not repeated. uWSGI's option of this name.
    alarm_freq: float = 3

    # Time zone of crons, as in "Europe/Rome"; None is the system's.
    timezone: str | None = None

    # ----- logging

    # No access log, as with uWSGI's option of this name. Warnings, errors and start-up messages are logged regardless.
    disable_logging: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        _check_ranges(self)
        _check_timezone(self.timezone)
        object.__setattr__(self, "socket", _addresses("socket", self.socket))
        http = (() if self.socket else "127.0.0.1:8000") if self.http is None else self.http
        object.__setattr__(self, "http", _addresses("http", http))
        _check_caches(self)
        _ = self.access_rules, self.alarm_options  # refuse what they refuse
        _check_contradictions(self)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """`http`, parsed: what to listen on, in the order it was given."""
        return cast("tuple[Address, ...]", self.http)

    @property
    def uwsgi_addresses(self) -> tuple[Address, ...]:
        """`socket`, parsed."""
        return cast("tuple[Address, ...]", self.socket)

    @property
    def access_rules(self) -> AccessRules:
        """`modifiers`, parsed."""
        return AccessRules.parse(self.modifiers)

    @property
    def alarm_options(self) -> AlarmOptions:
        """What the alarms need."""
        if not isinstance(self.alarms, Mapping):
            raise ConfigError(f"alarms={self.alarms!r} is not a mapping", "write alarms={'name': 'log:'}")
        if isinstance(self.alarm_log, str) or not isinstance(self.alarm_log, Iterable):
            raise ConfigError(f"alarm_log={self.alarm_log!r} is not a list", "write alarm_log=['name REGEX']")
        alarms = {name: Alarm.parse(name, action) for name, action in self.alarms.items()}
        rules = tuple(LogAlarm.parse(rule, alarms) for rule in self.alarm_log)
        return AlarmOptions(alarms=alarms, rules=rules, freq=self.alarm_freq)

    @property
    def http_limits(self) -> HttpLimits:
        """What the HTTP codec needs."""
        return HttpLimits(max_header_size=self.max_header_size, max_headers=self.max_headers, max_body=self.max_body)

    @property
    def http_timeouts(self) -> HttpTimeouts:
        """What connections need."""
        return HttpTimeouts(header=self.header_timeout, keep_alive=self.keep_alive_timeout, socket=self.socket_timeout)

    @property
    def socket_options(self) -> SocketOptions:
        """What listening sockets need."""
        return SocketOptions(backlog=self.listen, mode=self.chmod_socket)


# Smallest value of each number, and what to write instead of a smaller one.
_SMALLEST: dict[str, tuple[float, str]] = {
    "listen": (1, "use 1 or more"),
    "workers": (1, "use 1 or more; Config(http=()) serves nothing"),
    "threads": (1, "use 1 or more"),
    "mules": (0, "use 0 or more"),
    "locks": (0, "use 0 or more: it is the highest number"),
    "signal_queue": (1, "use 1 or more: a signal has to wait somewhere until its handler runs"),
    "message_queue": (1, "use 1 or more: a message has to wait somewhere until a mule takes it"),
    "max_header_size": (256, "use 256 or more: no real request fits in less"),
    "max_headers": (1, "use 1 or more: every HTTP/1.1 request has a Host header"),
    "max_body": (0, "use 0 for no limit"),
    "harakiri": (0, "use 0 for no limit"),
    "mule_harakiri": (0, "use 0 for no limit"),
    "mercy": (0, "use 0 to wait for nothing"),
    "alarm_freq": (0, "use 0 to repeat every message"),
}
_INTEGERS = (
    "listen",
    "workers",
    "threads",
    "mules",
    "locks",
    "signal_queue",
    "message_queue",
    "max_header_size",
    "max_headers",
    "max_body",
)
_TIMEOUTS = ("header_timeout", "keep_alive_timeout", "socket_timeout", "node_timeout")
_SECONDS = ("harakiri", "mule_harakiri", "mercy", "alarm_freq", *_TIMEOUTS)
_FLAGS = ("cancel_on_disconnect", "disable_logging")
_CHOICES: dict[str, tuple[str, ...]] = {
    "interface": get_args(Interface),
    "lifespan": get_args(Lifespan),
    "placement": get_args(Placement),
}


def _check_types(config: Config) -> None:
    for name in _INTEGERS:
        if type(getattr(config, name)) is not int:  # a bool is an int to Python, and a mistake here
            raise ConfigError(f"{name}={getattr(config, name)!r} is not a whole number", f"write {name}=1, for example")
    for name in _SECONDS:
        value = getattr(config, name)
        if type(value) not in (int, float) or math.isnan(value):
            raise ConfigError(
                f"{name}={value!r} is not a number of seconds", f"write {name}=30 or {name}=0.5, for example"
            )
    for name in _FLAGS:
        if type(getattr(config, name)) is not bool:
            raise ConfigError(
                f"{name}={getattr(config, name)!r} is neither True nor False", f"write {name}=True or leave it out"
            )
    for name, choices in _CHOICES.items():
        if getattr(config, name) not in choices:
            allowed = " or ".join(repr(choice) for choice in choices)
            raise ConfigError(f"{name}={getattr(config, name)!r} does not exist", f"use {allowed}")


def _check_ranges(config: Config) -> None:
    for name, (smallest, remedy) in _SMALLEST.items():
        if getattr(config, name) < smallest:
            raise ConfigError(f"{name}={getattr(config, name)} is too small", remedy)
    for name in _TIMEOUTS:
        if getattr(config, name) <= 0:
            raise ConfigError(
                f"{name}={getattr(config, name)} leaves the other side no time at all",
                "use more than 0, or math.inf for no limit",
            )
    for name in ("harakiri", "mule_harakiri"):
        if math.isinf(getattr(config, name)):
            raise ConfigError(f"{name}=inf would never be reached", "use 0 for no limit")
    mode = config.chmod_socket
    if mode is not None and (type(mode) is not int or not 0 <= mode <= 0o777):
        written = f"{mode} is {mode:#o} in octal, which" if type(mode) is int and mode >= 0 else f"{mode!r}"
        raise ConfigError(
            f"chmod_socket: {written} is not the mode of a socket", "write it in octal, as in chmod_socket=0o660"
        )


def _check_timezone(key: object) -> None:
    if key is None:
        return
    try:
        zoneinfo.ZoneInfo(cast("str", key))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
        close = difflib.get_close_matches(str(key), zoneinfo.available_timezones(), n=1)
        remedy = (
            f"did you mean {close[0]!r}?"
            if close
            else "write a name as in 'Europe/Rome', or None for the system's time zone"
        )
        raise ConfigError(f"timezone={key!r} does not exist on this machine", remedy) from None


def _addresses(option: str, given: object) -> tuple[Address, ...]:
    items = [given] if isinstance(given, str | Address) else given
    if not isinstance(items, Iterable) or isinstance(items, bytes):
        raise ConfigError(
            f"{option}={given!r} is not an address", f"write {option}='127.0.0.1:8000', or a list of such addresses"
        )
    found: list[Address] = []
    for item in items:
        if not isinstance(item, str | Address):
            raise ConfigError(
                f"{option} has {item!r} in it, which is not an address",
                f"write {option}='127.0.0.1:8000', or a list of these",
            )
        address = Address.parse(item) if isinstance(item, str) else item
        if address in found and not _takes_a_free_port(address):
            raise ConfigError(f"{option} names {address} twice", "name each address once")
        found.append(address)
    return tuple(found)


def _takes_a_free_port(address: Address) -> bool:
    return address.kind == "tcp" and address.port == 0


def _check_caches(config: Config) -> None:
    if isinstance(config.caches, str | Mapping) or not isinstance(config.caches, Iterable):
        raise ConfigError(f"caches={config.caches!r} is not a list", "write caches=[Cache('default', items=1000)]")
    names: set[str] = set()
    for cache in config.caches:
        if not isinstance(cache, Cache):
            raise ConfigError(f"caches has {cache!r} in it", "write Cache('default', items=1000)")
        if cache.name in names:
            raise ConfigError(f"two caches are called {cache.name!r}", "give each a name of its own")
        names.add(cache.name)
    object.__setattr__(config, "caches", tuple(config.caches))


def _check_contradictions(config: Config) -> None:
    for address in config.addresses:
        if address in config.uwsgi_addresses and not _takes_a_free_port(address):
            raise ConfigError(f"http and socket both name {address}", "give each protocol an address of its own")
    if config.chmod_socket is not None and not any(
        a.kind == "unix" and not a.path.startswith("@") for a in config.addresses + config.uwsgi_addresses
    ):
        raise ConfigError(
            "chmod_socket is set, and neither http nor socket names a unix socket file",
            "add one, as in http='/run/app.sock', or leave chmod_socket out",
        )
    if config.interface == "wsgi" and config.lifespan == "on":
        raise ConfigError("interface='wsgi' contradicts lifespan='on': only ASGI has a lifespan", "leave lifespan out")
    if config.interface == "wsgi" and config.cancel_on_disconnect:
        raise ConfigError(
            "interface='wsgi' contradicts cancel_on_disconnect=True: the thread of a WSGI request cannot be cancelled",
            "leave cancel_on_disconnect out; harakiri limits the time of WSGI requests",
        )
