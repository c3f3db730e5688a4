"""The options of a runtime. Pure.

`Config` is written once and never changes. Values that are impossible, or that contradict each other, are refused when
it is made, with the remedy in the error: nothing has been started by then. What needs the operating system to be judged
(a port in use, a stale socket file) is not here but in `_http/listeners.py`; reading options from a command line is in
`__main__.py` and `command_options.py`.

No part below floor 4 gets the whole `Config`: the properties at its end make the small groups that are handed down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast, get_args

from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.checks import all_of, caches, contradictions, impossible_values, paths, several_addresses
from trio_uwsgi.config.mules import farms
from trio_uwsgi.config.options import (
    AccessRules,
    Alarm,
    AlarmOptions,
    Cache,
    HttpLimits,
    HttpTimeouts,
    LogAlarm,
    Mules,
    ProcessOptions,
    RecyclingLimits,
    SocketOptions,
    SpoolerOptions,
)
from trio_uwsgi.errors import ConfigError

__all__ = ["Config", "Interface", "Lifespan"]

Interface = Literal["auto", "wsgi", "asgi"]
Lifespan = Literal["auto", "on", "off"]
Placement = Literal["task", "memory", "process"]
_DEFAULT = Address.tcp("127.0.0.1", 8000)
_READERS: Mapping[str, Callable[[str, object], object]] = {
    "socket": several_addresses,
    "http": lambda name, given: None if given is None else several_addresses(name, given),
    "caches": lambda name, given: caches(given),
    "spooler": paths,
    "touch_reload": paths,
}
_CHOICES = {"interface": get_args(Interface), "lifespan": get_args(Lifespan), "placement": get_args(Placement)}


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
    # socket, for tests. Left out, it is what systemd passes to the program, or 127.0.0.1:8000, unless `socket` is
    # given: reachable from this machine only, because nothing in front of it has been configured yet. uWSGI's `http`
    # starts a router process in front of the workers; here the workers serve the sockets themselves. It is parsed when
    # the Config is made: read `addresses`.
    http: str | Address | Sequence[str | Address] | None = None

    # Where the uwsgi protocol is served, in the same forms: for nginx's `uwsgi_pass`, and for other servers' RPC,
    # signals and caches. Read `uwsgi_addresses`.
    socket: str | Address | Sequence[str | Address] = ()

    # Who may use the uwsgi protocol for something else than the application: names of modifiers ("rpc", "signal",
    # "cache", "spool", "ping") with a source, or several: "unix", "loopback", "any", a network as in "10.0.0.0/8", or
    # the address of one listener. What is not named here is for unix sockets and loopback. uWSGI accepts everything
    # from everybody. Read `access_rules`.
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

    # Cancel a request, ASGI or WSGI, when its client has gone away, wherever it waits for Trio then or later; code that
    # does something else goes on. Off, because work that was begun for a client (a payment, a job) is often meant to be
    # finished. A client that has ended its sending side only (`nc -N`) counts as gone, as it does for ASGI's
    # `http.disconnect`: nothing tells it from one that has closed its connection. Without this it is answered in full.
    cancel_on_disconnect: bool = False

    # ----- members

    # Workers of the runtime. They serve the same sockets.
    workers: int = 1

    # WSGI requests that run at once in each worker, each in its own thread. None is one at a time, as in uWSGI:
    # applications need not be thread-safe. Where workers are tasks that takes one thread; where they are processes it
    # takes none, which is faster, and leaves what blocks too long to the master.
    threads: int | None = None

    # Mules: members that serve no requests, but run their own programs, signal handlers and messages. Mules(min=1,
    # max=4) is a pool, that grows with the work that waits for it. Read `mule_pool`.
    mules: int | Mules = 0

    # Farms: names for several mules each, as in {"images": [1, 2]}. A message or signal to a farm goes to the one of
    # them whose turn it is.
    farms: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict, hash=False)

    # Signals that may wait at each member; one more is refused with `SignalQueueFull`. uWSGI's queue is a socket buffer
    # of some hundred signals that drops what does not fit.
    signal_queue: int = 10_000

    # Messages that may wait at each mule; one more is refused with `MessageQueueFull`.
    message_queue: int = 10_000

    # Directories of the spooler: jobs wait in them as files, and survive everything. Empty: there is no spooler. One is
    # made if it does not exist. A real uWSGI may use the same directory at the same time. One path becomes a tuple of
    # it when the Config is made.
    spooler: str | Sequence[str] = ()

    # Spoolers of each of these directories. Each runs one job at a time.
    spooler_processes: int = 1

    # Seconds after which a directory is looked through again, where the system does not tell all that happens in it (a
    # network's disk), or something was left there, such as another program's job. A new job is noticed at once. uWSGI's
    # option of this name is also what a job waits for that is tried again.
    spooler_frequency: float = 30

    # How often a job is tried before it goes to the directory's `dead/`; 0 is for ever, as in uWSGI.
    spooler_max_tries: int = 10

    # Seconds until a job that failed is tried again: this after the first time, twice as much each time after that, but
    # no more than the longest; and up to a quarter more, by chance, so that jobs which failed together do not again.
    spooler_retry: float = 5
    spooler_retry_longest: float = 3600

    # Accept a job only when it is on the disk, so that it survives a power cut too. False is as much as uWSGI does:
    # faster, and enough against crashes of the program.
    spooler_fsync: bool = True

    # Start a spooler when there is work for it, and end it when there was none for a while.
    spooler_cheap: bool = False

    # Caches, which all members share. The first one is used where no name is given.
    caches: Sequence[Cache] = ()

    # The highest user lock; 0 is always there. uWSGI's option of this name counts in the same way.
    locks: int = 0

    # What each alarm does: "log:PREFIX", "cmd:SHELL", "signal:N", "mule:N", "curl:URL", or a function of the message.
    alarms: Mapping[str, str | Callable[[str], object]] = dataclasses.field(default_factory=dict, hash=False)

    # Log lines that raise alarms, as in "name REGEX" or "name,name REGEX".
    alarm_log: Sequence[str] = ()

    # How members are run: "task", in this process; "process", each in one of its own, on Linux. "memory" is a task that
    # is spoken to in bytes, which tests use to keep that path honest.
    placement: Placement = "task"

    # Let each process import the application itself, instead of being forked from one that has: for code that starts
    # threads or opens connections when it is imported. It takes the time and the memory of an import for each. uWSGI's
    # option of this name.
    lazy_apps: bool = False

    # Import the application anew for one worker at a time in a reload: start one, let the old one end, and so on. Where
    # memory has no room for all workers twice. Between the first and the last one both versions serve.
    chain_reload: bool = False

    # ----- the process of a program: `serve` refuses these where it is a part of somebody else's

    # The user and the group to become, names or numbers, when the sockets and the pidfile are there and before the
    # application is imported (by the command line or by members; a script that has the object has imported it before).
    # Without a group it is the user's own; uWSGI keeps root's then.
    uid: str | int | None = None
    gid: str | int | None = None

    # The directory to go to before anything else, so that other paths are seen from there; the mode bits that files do
    # not get, as in 0o027; and what is added to the environment.
    chdir: str | None = None
    umask: int | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    # File with the master's pid, from when the sockets are open until the end. That of a program that runs is refused.
    pidfile: str | None = None

    # Files: when one of them is touched, written or replaced, the application is reloaded. uWSGI's option of this name.
    touch_reload: str | Sequence[str] = ()

    # Reload when a Python file changes below the current directory or beside the application: for developers. It needs
    # the extra `trio-uwsgi[reload]`. Where the system refuses to watch, files are looked at every second. uWSGI's
    # `py-autoreload`.
    reload: bool = False

    # A fifo that is made there, for this user only; each letter that is written into it is an order: q stops, Q stops
    # now, r (also R, w, W) reloads, c reloads one worker at a time, + and - are one worker more or less, p pauses
    # accepting and goes on, s writes statistics to the log. uWSGI's option of this name, and its letters.
    master_fifo: str | None = None

    # ----- limits of workers that are processes; another one starts and follows, without a gap, one worker at a time.
    # The worker looks four times a second, so it may do a little more. 0 is never.

    # Requests that a worker serves. uWSGI's option of this name ends the worker first, and then starts another one.
    max_requests: int = 0

    # Up to so many more, by chance, so that workers which started together are not followed together. uWSGI adds this
    # much times the worker's number.
    max_requests_delta: int = 0

    # Seconds that a worker lives.
    max_worker_lifetime: float = 0

    # Bytes of memory that a worker has, shared ones included. uWSGI's option of this name counts in MB, and so does
    # that of the command line.
    reload_on_rss: int = 0

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

    # Seconds that a request, signal handler or mule message may take before it is cancelled; 0 is no limit. Of a
    # request it counts what comes after the response, too. uWSGI's option of this name takes whole seconds and ends the
    # process.
    harakiri: float = 0

    # The same in mules, where `harakiri` does not count.
    mule_harakiri: float = 0

    # The same for jobs, and signal handlers in spoolers.
    spooler_harakiri: float = 0

    # Seconds that a graceful stop waits for what runs, before it is cancelled; 0 waits for nothing. 30 is what
    # container schedulers give. uWSGI waits 60. What is left of it, but at least a second, is for what keeps Python
    # itself from ending, where the process is ours (a member, or the command line): threads that are no daemons,
    # executors, functions of `atexit`, and children of multiprocessing.
    mercy: float = 30

    # Seconds that importing the application may take, at the start and in each reload, counted from the start of the
    # process that does it; 0 is no limit. Beyond, its stack is printed, and the start, or the reload, has failed. It
    # counts where this package imports: in processes, and on the command line. Lifespans and `post_fork` have no limit,
    # and the log says now and then what a start waits for. uWSGI has no such option.
    import_timeout: float = 0

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
        problems = list(impossible_values(self, _CHOICES))
        for name, read in _READERS.items():
            try:
                object.__setattr__(self, name, read(name, getattr(self, name)))
            except ConfigError as error:
                problems.append(error)
        for group in ("access_rules", "alarm_options", "process_options"):  # refuse what they refuse
            try:
                getattr(self, group)
            except ConfigError as error:
                problems.append(error)
        if problems:
            raise all_of(problems)
        object.__setattr__(self, "farms", farms(self.farms, self.mule_pool.max))
        if problems := list(contradictions(self)):
            raise all_of(problems)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """`http`, parsed: what to listen on, in the order it was given; the default where nothing was."""
        if self.http is None:
            return () if self.socket else (_DEFAULT,)
        return cast("tuple[Address, ...]", self.http)

    @property
    def uwsgi_addresses(self) -> tuple[Address, ...]:
        """`socket`, parsed."""
        return cast("tuple[Address, ...]", self.socket)

    @property
    def mule_pool(self) -> Mules:
        """`mules` as a pool; a number is one that neither grows nor shrinks."""
        return self.mules if isinstance(self.mules, Mules) else Mules(min=self.mules, max=self.mules)

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
    def spooler_options(self) -> SpoolerOptions:
        """What spoolers need."""
        return SpoolerOptions(
            directories=tuple(self.spooler),
            processes=self.spooler_processes,
            frequency=self.spooler_frequency,
            max_tries=self.spooler_max_tries,
            retry=self.spooler_retry,
            retry_longest=self.spooler_retry_longest,
            fsync=self.spooler_fsync,
            cheap=self.spooler_cheap,
            harakiri=self.spooler_harakiri,
        )

    @property
    def recycling_limits(self) -> RecyclingLimits:
        """After how much workers are followed by others."""
        return RecyclingLimits(
            requests=self.max_requests,
            requests_delta=self.max_requests_delta,
            lifetime=self.max_worker_lifetime,
            rss=self.reload_on_rss,
        )

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

    @property
    def process_options(self) -> ProcessOptions:
        """What the process of a program becomes."""
        return ProcessOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(ProcessOptions)})
