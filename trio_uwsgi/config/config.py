"""The options of a runtime. Pure.

The comments of the fields are the text of docs/reference/options.md. Lower layers do not get the whole `Config`: the
properties at its end make the small groups that they get.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast, get_args

from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.checks import all_of, contradictions, impossible_values
from trio_uwsgi.config.connections import (
    HttpLimits,
    HttpTimeouts,
    LoadLimits,
    SocketOptions,
    StreamEnds,
    WebSocketOptions,
)
from trio_uwsgi.config.daemons import Daemon  # noqa: TC001  # get_type_hints(Config) needs it
from trio_uwsgi.config.metrics import Metric  # noqa: TC001  # likewise
from trio_uwsgi.config.mules import farms
from trio_uwsgi.config.options import (
    AccessRules,
    AlarmOptions,
    Cache,
    Mules,
    ProcessOptions,
    RecyclingLimits,
    SpoolerOptions,
)
from trio_uwsgi.config.queues import QueueOptions
from trio_uwsgi.config.static import StaticOptions, expiries
from trio_uwsgi.config.tls import Tls  # noqa: TC001  # likewise
from trio_uwsgi.config.values import READERS
from trio_uwsgi.errors import ConfigError

__all__ = ["Config", "Interface", "Lifespan"]

Interface = Literal["auto", "wsgi", "asgi"]
Lifespan = Literal["auto", "on", "off"]
Placement = Literal["task", "memory", "process"]
_DEFAULT = Address.tcp("127.0.0.1", 8000)
_CHOICES = {"interface": get_args(Interface), "lifespan": get_args(Lifespan), "placement": get_args(Placement)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All options of a runtime. Names are uWSGI's, with underscores; times are in seconds, sizes in bytes.

    Each option is described, with its unit, default and reason, on the page Options of the documentation and in the
    comment above its field (`inspect.getsource(Config)`); `trio-uwsgi --help` has a short form. A `Config` is
    immutable; `dataclasses.replace(config, mules=2)` makes a changed copy.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or two values contradict each other.
    Example:
        config = Config(http=["127.0.0.1:8000", "/run/app.sock"], chmod_socket=0o660, mules=1, harakiri=30)
    """

    # ----- listeners

    # Where HTTP is served: one address or several; `Address.parse` has the forms. An empty sequence opens no socket,
    # for tests. Default: the sockets that systemd passes to the process; without these, 127.0.0.1:8000, which only this
    # machine can reach, unless `socket` or `https` is given. uWSGI's `http` starts a router process in front of the
    # workers; here the workers serve the sockets themselves. `Config.addresses` has the parsed values.
    http: str | Address | Sequence[str | Address] | None = None

    # Where HTTPS is served, in uWSGI's form "ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]", one or several; `Tls` has
    # more. TLS 1.2 and 1.3. Certificates are read again at each reload. A handshake counts for `header_timeout`. With
    # `https` alone, HTTP is not served. uWSGI's option of this name. `Config.tls` has the parsed values.
    https: str | Tls | Sequence[str | Tls] = ()

    # Where the uwsgi protocol is served, in the forms of `http`: for nginx's `uwsgi_pass`, and for the RPC, signal,
    # cache and spooler requests of other servers. `Config.uwsgi_addresses` has the parsed values.
    socket: str | Address | Sequence[str | Address] = ()

    # Where the stats server sends its JSON, in the forms of `http`: to whoever connects, with no question asked. Use a
    # loopback address or a unix socket, as the JSON has addresses of clients and headers of requests that run, with
    # cookies. `uwsgitop` reads it. uWSGI's option of this name. `Config.stats_addresses` has the parsed values.
    stats: str | Address | Sequence[str | Address] = ()

    # The stats server sends the head of an HTTP response before its JSON. uWSGI's option of this name.
    stats_http: bool = False

    # Which clients may use the uwsgi protocol for anything but the application: names of modifiers ("rpc", "signal",
    # "cache", "spool", "ping"), each with one source or several: "unix", "loopback", "any", a network as in
    # "10.0.0.0/8", or the address of a listener. Modifiers that are not named accept unix sockets and loopback only.
    # uWSGI accepts every modifier from every client. `Config.access_rules` has the parsed values.
    modifiers: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict, hash=False)

    # Proxies in front of `http` and `https` that are believed: "unix" (whoever connects to a unix socket), "loopback",
    # an address as in "10.0.0.1", a network as in "10.0.0.0/8", or the address of a listener; one or several. A warning
    # at the start says so if no listener can have such clients. By default nobody is: the headers below are passed on
    # to the application and change nothing else. uWSGI believes X-Forwarded-Proto of everybody.
    forwarded_allow: str | Sequence[str] = ()

    # The headers of those proxies that are read: of "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    # "x-forwarded-port" and "x-forwarded-prefix", or "forwarded" (RFC 7239) alone. Name only those that the proxy sets:
    # it passes on any other as the client has sent it. Lists are read from the right, as far as proxies are trusted.
    forwarded_headers: str | Sequence[str] = ("x-forwarded-for", "x-forwarded-proto")

    # Load balancers that speak the PROXY protocol, version 1 or 2: each connection to `http` and `https` begins with a
    # header that names the client, before TLS if there is TLS, and any other is closed. Sources in the same forms:
    # addresses of listeners say where that holds (without any, everywhere), the others who may connect (without any,
    # everybody).
    proxy_protocol: str | Sequence[str] = ()

    # Backlog of the listening sockets: connections that the kernel queues until a worker accepts them. The kernel
    # silently limits it to /proc/sys/net/core/somaxconn, 4096 on current systems. uWSGI's default is 100, gunicorn's
    # and uvicorn's 2048; Trio's is as many as possible.
    listen: int = 1024

    # Mode of unix socket files, as in `0o660`; octal on the command line. None leaves it to the umask; the usual one
    # makes it `0o755`, so that only the owner can connect.
    chmod_socket: int | None = None

    # ----- application

    # How the application is called. "auto" inspects it; if that does not decide, the start fails with an error.
    interface: Interface = "auto"

    # ASGI's lifespan protocol. If the application raises when it gets a lifespan scope, "auto" serves it without
    # lifespan, and "on" fails the start.
    lifespan: Lifespan = "auto"

    # Cancel a request, ASGI or WSGI, when its client disconnects. The cancellation arrives wherever the request's code
    # waits for Trio, then or later; code that does not wait keeps running. Off by default, because work that a request
    # began (a payment, a job) should usually be finished. A client that closed only its sending side (`nc -N`) counts
    # as disconnected, as for ASGI's `http.disconnect`: the two cannot be distinguished.
    cancel_on_disconnect: bool = False

    # Prefix of the path under which clients reach the application, as in "/shop", behind a proxy that forwards only
    # what is below it, and removes it. Applications get it as SCRIPT_NAME or `root_path`, so that `url_for` is right.
    # What a request says counts more: SCRIPT_NAME over the uwsgi protocol, X-Forwarded-Prefix of a trusted proxy.
    # uvicorn's option of this name.
    root_path: str = ""

    # The proxy does not remove the prefix from the path: take `root_path`, or the prefix that the request names, off
    # the path. A path without it stays as it is, so both kinds of proxies work; but an application that has paths which
    # begin with its own prefix must leave this out, if the proxy removes it. For one request over the uwsgi protocol
    # modifier 30 says the same. uWSGI's option of this name is for `--mount`, which needs no option here.
    manage_script_name: bool = False

    # Answer a request whose application raised with its traceback, as plain text, instead of "Internal Server Error".
    # For development: a traceback tells strangers much. uWSGI's option of this name.
    catch_exceptions: bool = False

    # Offer early hints (103, RFC 8297) to the application: ASGI's extension `http.response.early_hint`, and
    # `environ["wsgi.early_hints"]`. They go to HTTP/1.1 clients over HTTP. Off by default, because nginx before 1.29
    # with `proxy_http_version 1.1` takes a 103 for the whole response, and breaks the page.
    early_hints: bool = False

    # ----- static files, answered to GET and HEAD before the application is asked

    # Prefixes of paths and the folders (or single files) for them, as in {"/static": "/srv/static"}. What is not there
    # goes to the application. A file with `.br` or `.gz` after its name, beside the file and not older, is sent to
    # clients that prefer this encoding. uWSGI's option of this name also matches in the middle of a name.
    static_map: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    # Folders in which a file is looked for by every path. uWSGI's option of this name.
    check_static: str | Sequence[str] = ()

    # Names of the files that answer for a folder, as in "index.html". By default none: a folder's path goes to the
    # application. A path without a slash at its end is redirected. uWSGI's option of this name does not redirect.
    static_index: str | Sequence[str] = ()

    # Seconds for which clients may keep files whose path below their folder matches a regular expression, as in
    # {r"\.(css|js)$": 3600}; the first that matches counts. Sent as `Cache-Control: max-age`. uWSGI's option of this
    # name sends `Expires`. Without it a client asks again, and gets a 304.
    static_expires: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)

    # Folders outside of those above to which symbolic links in them may lead. A link that leads anywhere else is
    # answered with 404. uWSGI's option of this name.
    static_safe: str | Sequence[str] = ()

    # ----- workers, mules and their queues

    # Number of workers. All serve the same sockets.
    workers: int = 1

    # Threads for WSGI requests in each worker, one per concurrent request. None serves one WSGI request at a time, as
    # in uWSGI, so applications need not be thread-safe. Workers that are tasks use one thread for that. Workers that
    # are processes use none: that is faster, and the master kills a worker whose request blocks past its time limit.
    threads: int | None = None

    # Number of mules: members that serve no requests, but run programs, signal handlers and message handlers.
    # `Mules(min=1, max=4)` is a pool that scales with the work that waits. `Config.mule_pool` has the parsed value.
    mules: int | Mules = 0

    # Scripts that mules run as their programs: files, as in "brain.py", or "module:function". Each has a mule of its
    # own, from mule 1 on; `mules` counts those after them. A script may block, as on `mule_get_msg()`. After an
    # exception it is run again; when it has ended, its mule stays for messages. uWSGI's option of this name.
    mule: str | Sequence[str] = ()

    # A script that worker 1 runs when the server serves: a file, or "module:function". Its code may call the API, as
    # that of a mule's script. When it has ended, the server stops; the exit code is 0, as with uWSGI's option of this
    # name. The worker that replaces worker 1 in a reload runs the script again, beside one that does not end then.
    python: str | None = None

    # Farms: named groups of mules, as in `{"images": [1, 2]}`. Messages and signals to a farm are distributed
    # round-robin among its mules.
    farms: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict, hash=False)

    # Signals that are raised at intervals, as in "17 60": signal 17 each minute, for which the application has a
    # handler. uWSGI's option of this name.
    timer: str | Sequence[str] = ()

    # Signals queued per member at most; beyond, `SignalQueueFull` is raised. uWSGI's queue is a socket buffer of some
    # hundred signals; it drops what does not fit.
    signal_queue: int = 10_000

    # Messages queued per mule at most; beyond, `MessageQueueFull` is raised.
    message_queue: int = 10_000

    # ----- the spooler

    # Directories of the spooler. Jobs wait there as files, so they survive restarts and crashes. Empty: no spooler. A
    # directory is created if it does not exist. uWSGI may use the same directory at the same time.
    spooler: str | Sequence[str] = ()

    # Spoolers per directory. Each runs one job at a time.
    spooler_processes: int = 1

    # Seconds between two scans of a directory. New jobs are noticed at once; scans find what the system does not report
    # (on a network file system) and jobs that were left there, such as those of another program. In uWSGI this is also
    # the delay before a failed job is retried.
    spooler_frequency: float = 30

    # Attempts before a failing job is moved to `dead/` in its directory; 0 retries for ever, as uWSGI does.
    spooler_max_tries: int = 10

    # Seconds before a failed job is retried, doubled after each further attempt. A random extra of up to a quarter
    # spreads jobs that failed together.
    spooler_retry: float = 5

    # The longest pause in seconds before a failed job is retried, without the random extra.
    spooler_retry_longest: float = 3600

    # Accept a job only after it has been written to the disk (fsync), so that it survives a power cut. False is faster;
    # jobs then survive a crash of the server, as with uWSGI, but not of the machine.
    spooler_fsync: bool = True

    # Start a spooler when there is work for it, and stop it after 10 seconds without work.
    spooler_cheap: bool = False

    # ----- caches, the shared queue, metrics, locks and alarms

    # Caches, shared by all members. The first one is the default where a call names none.
    caches: Sequence[Cache] = ()

    # Slots of the shared queue of `uwsgi.queue_push`, each for one message; 0: there is no such queue. If all slots
    # are taken, a new message overwrites the oldest one. uWSGI's option of this name.
    queue: int = 0

    # The longest message of the shared queue, in bytes. uWSGI's option of this name, which has 16 bytes less for a
    # message, and has to make the queue a multiple of the size of a page of memory.
    queue_blocksize: int = 8192

    # A file that keeps the messages of the shared queue across restarts; it is created if it does not exist. Once a
    # call has returned, what it changed survives `kill -9`. uWSGI's option of this name has another format.
    queue_store: str | None = None

    # Seconds between two flushes of `queue_store` to the disk, so that older changes also survive a crash of the
    # machine; 0 leaves flushing to the system. uWSGI's option of this name.
    queue_store_sync: float = 0

    # Counters and gauges of the application, which all members share, as in [Metric("orders")]. `Runtime.statistics`
    # lists them. uWSGI's option `metric`, without `enable-metrics`.
    metrics: Sequence[Metric] = ()

    # The highest number of a user lock. Lock 0 always exists. uWSGI's option of this name counts in the same way.
    locks: int = 0

    # Shared areas: the size of each in bytes, as in [4096, 65536]. All members read and write them by position, with
    # `uwsgi.sharedarea_read` and others. uWSGI's `sharedarea` counts in pages of 4,096 bytes, as the command line does:
    # `--sharedarea 16`, or `--sharedarea size=100`. Default: none.
    sharedarea: Sequence[int] = ()

    # Alarms and what each does: "log:PREFIX", "cmd:SHELL", "signal:N", "mule:N", "curl:URL", or a function that is
    # called with the message.
    alarms: Mapping[str, str | Callable[[str], object]] = dataclasses.field(default_factory=dict, hash=False)

    # Log lines that raise alarms, as in "name REGEX" or "name,name REGEX".
    alarm_log: Sequence[str] = ()

    # ----- placement and reloads

    # How members run: "task", as Trio tasks of this process; "process", each in its own process, on Linux. "memory" is
    # for tests of this package: tasks whose messages are encoded as if they were processes.
    placement: Placement = "task"

    # Import the application in each process, instead of forking members from a process that has imported it: for code
    # that starts threads or opens connections when it is imported. Each member takes the time and memory of an import.
    lazy_apps: bool = False

    # Have the modules `uwsgi` and `uwsgidecorators` in the processes that import the application and run members, for
    # code that was written for uWSGI. Libraries that can import `uwsgi` take that as proof that they run under uWSGI.
    # The default is True, so that such an application needs no option.
    compat: bool = True

    # Reload one worker at a time: start a new one, stop the old one, then go on to the next. For machines without
    # memory for all workers twice. Until the reload has finished, both versions of the application serve requests.
    chain_reload: bool = False

    # ----- the process of a standalone server; `serve` refuses these options when it is embedded

    # The user to change to, a name or a number. The change comes after the sockets and the pidfile are opened, and
    # before the command line or the members import the application. (A script that passes the application object has
    # imported it already.)
    uid: str | int | None = None

    # The group to change to, a name or a number. The default is the own group of `uid`; uWSGI keeps root's.
    gid: str | int | None = None

    # The working directory, entered first, so that other paths are relative to it.
    chdir: str | None = None

    # The umask, as in `0o027`. On the command line it is octal.
    umask: int | None = None

    # Environment variables to set, as in `{"NAME": "value"}`.
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    # File for the master's pid, written once the sockets are open, removed at the end. The start fails if the file
    # belongs to a server that is running.
    pidfile: str | None = None

    # Files that trigger a reload when they are touched, written or replaced. uWSGI's option of this name.
    touch_reload: str | Sequence[str] = ()

    # Reload when a Python file below the current directory or beside the application changes; for development. Needs
    # the extra `trio-uwsgi[reload]`. Where the system cannot watch files, they are checked every second. uWSGI's
    # `py-autoreload`.
    reload: bool = False

    # Path of a FIFO that is created for commands, writable by this user only. Each letter is one command: q stops
    # gracefully, Q stops immediately, r (also R, w, W) reloads, c reloads one worker at a time, + and - add and remove
    # a worker, p pauses and resumes accepting, s logs statistics. uWSGI's option of this name, and its letters.
    master_fifo: str | None = None

    # Programs that run beside the server: shell commands, as in "celery -A shop worker", or `Daemon`, which has more.
    # They are started when the server serves, as its user and in its directory, and again when they end, after pauses
    # of 1 to 60 seconds if that is soon. What they print is logged. They get SIGTERM after the members have ended, and
    # SIGKILL 3 seconds later; also if the master was killed. A reload ends them and starts them again, when the members
    # with the new code serve. uWSGI's option of this name ends them before the reload, and does not notice its own
    # death. `Config.daemons` has the parsed values.
    attach_daemon: str | Daemon | Sequence[str | Daemon] = ()

    # Shell commands that run at given times, as in "0 3 * * 1 python manage.py clearsessions": the five fields of a
    # crontab, or uWSGI's five numbers ("-1" is each, "-5" each fifth), or uWSGI's keys: "hour=3,minute=0,unique=1
    # COMMAND", where `unique=1` leaves out a run while the one before it runs, and `harakiri=SEC` is a time limit. They
    # run beside the server, as `attach_daemon`, one for the whole server, at second 0, in the `timezone`. What they
    # print is logged. A stop ends them; a reload does not. uWSGI's options `cron`, `cron2` and `unique-cron`, which
    # also run a command at once if the minute of the start matches.
    cron: str | Sequence[str] = ()

    # Time limit of those commands in seconds; they get SIGTERM, and SIGKILL 3 seconds later. 0 is no limit. uWSGI's
    # option of this name.
    cron_harakiri: float = 0

    # What is done at points of the start and the end, as in "pre-app exec:python manage.py migrate". The points: `asap`
    # (first, in `chdir`), `as-root` (the sockets are open), `as-user` (after the change to `uid`), `pre-app` (before
    # the command line or the members import the application), `post-app` and `master-start` (when the members serve),
    # `as-user-atexit` (when they have ended, after a graceful stop). The actions: exec:COMMAND, safeexec:COMMAND (which
    # may fail), print:TEXT, write:FILE TEXT, append:FILE TEXT, create:FILE, unlink:FILE, mkdir:DIR, chmod:FILE MODE,
    # chdir:DIR and putenv:NAME=VALUE. Each is done once, by the main process, in the given order; the start fails if
    # one does. uWSGI's options `hook-...` and `exec-...`, which also do them again in a reload.
    hooks: str | Sequence[str] = ()

    # ----- recycling of workers that are processes: a worker that reached a limit is replaced, one worker at a time;
    # the replacement starts before the old worker stops. Limits are checked four times a second, so a worker may exceed
    # them slightly. 0 is no limit.

    # Requests after which a worker is replaced. uWSGI's option of this name stops the worker before it starts the next.
    max_requests: int = 0

    # Random extra requests per worker (jitter), so that workers that started together are not replaced together. uWSGI
    # adds this value times the worker's number.
    max_requests_delta: int = 0

    # Seconds after which a worker is replaced, counted from its start.
    max_worker_lifetime: float = 0

    # Bytes of resident memory, shared included, above which a worker is replaced; on the command line and in uWSGI, MB.
    reload_on_rss: int = 0

    # ----- limits of requests

    # Bytes of the request line and the headers together; a request with more is answered with 431. One cookie may have
    # 4 KiB, a single sign-on token 16 KiB. uWSGI's limit is 4 KiB (`buffer-size`), uvicorn's 64 KiB.
    max_header_size: int = 32_768

    # Header fields of a request; one with more is answered with 431. Browsers behind two proxies send about 40.
    max_headers: int = 100

    # Bytes of a request body; a larger one is answered with 413. 0 is no limit: bodies are streamed and need no memory.
    max_body: int = 0

    # Connections of one worker at a time; 0 is no limit but that of file descriptors. At the limit the worker stops
    # accepting: new connections wait in the kernel's queue (see `listen`), from which other workers take them, and are
    # served when one ends. They are not refused, because a connection may be idle, and the wait for one that ends is
    # usually short. Idle clients count, so allow more than there are at `keep_alive_timeout`. What is in the queue when
    # the server stops is reset beyond the limit. gunicorn's `worker_connections`.
    max_connections: int = 0

    # Requests of the application that run or wait in one worker at a time; 0 is no limit. Beyond, the answer is 503
    # with `Retry-After: 1`, at once and without the application: the request has been read, so it cannot be left to
    # another worker, and a client or a proxy that is answered at once can try another server. WebSockets and streams
    # count while they last. uvicorn's `limit_concurrency` counts idle connections, too.
    max_concurrent_requests: int = 0

    # Bytes of a WebSocket message, inflated; beyond, the connection is closed with code 1009. 0 is no limit. A message
    # is in memory as a whole. uWSGI's `websocket-max-size` is in KB, with the same default; uvicorn's limit is 16 MiB.
    max_websocket_message: int = 1_048_576

    # Compress WebSocket messages (permessage-deflate) for clients that offer it. A connection then needs some 60 KiB.
    websocket_deflate: bool = True

    # ----- time limits and timeouts

    # Time limit of a request, signal handler or mule message in seconds (harakiri is uWSGI's word for it); past it the
    # code is cancelled. 0 is no limit. For a request, code that runs after the response counts too. uWSGI takes whole
    # seconds and kills the process.
    harakiri: float = 0

    # Time limit of a signal handler or message in mules, in seconds; 0 is no limit. `harakiri` does not apply there. A
    # program is limited while it handles a message that it has read with `mule_get_msg`, not while it waits for one.
    mule_harakiri: float = 0

    # Time limit of a job, and of a signal handler in spoolers, in seconds; 0 is no limit.
    spooler_harakiri: float = 0

    # Graceful shutdown timeout in seconds (mercy is uWSGI's word for it): running requests, handlers and jobs may
    # finish, then they are cancelled. 0 cancels them at once. The default is what container schedulers grant; uWSGI's
    # is 60. In a standalone server and in member processes the rest of it, at least 1 second, is for the exit of Python
    # itself: non-daemon threads, executors, `atexit` functions and children of multiprocessing.
    mercy: float = 30

    # Seconds between SIGTERM, or `Runtime.stop`, and the beginning of the graceful stop. Meanwhile everything is served
    # as before, new connections too, but `uwsgi.stopping()` is true: the application's health check answers 503, and
    # load balancers, which notice that late, send their clients elsewhere. `mercy` is counted from the end of it. Give
    # it a little more than a load balancer takes to notice; a service manager has to wait for the sum of both.
    drain_delay: float = 0

    # Seconds until an application that streams is told to end, counted as the `mercy`: from the end of `drain_delay` at
    # a stop, and from the replacement of its worker in a reload. ASGI's `receive()` returns `http.disconnect`, and a
    # WebSocket is closed, with code 1001 at a stop and 1012 at a reload. None: at once for WebSockets, whose clients
    # connect again to where others serve; after half the `mercy` for responses that have begun without a
    # Content-Length, because many of these end by themselves. Nothing is cut: an application that goes on has the rest
    # of the `mercy`. The end of an event stream is sent by the server, if the application returns without it. WSGI
    # applications ask `uwsgi.stopping()`, which is true from SIGTERM on. uWSGI does not tell applications.
    stop_streams: float | None = None

    # Time limit of importing the application in seconds, at the start and in each reload, counted from the start of the
    # importing process; 0 is no limit. Past it the stack of the import is printed, and the start or the reload fails.
    # Applies where this package does the import: in member processes and on the command line. Lifespan startup and
    # `post_fork` hooks have no limit; while a start waits for them, the log says so. uWSGI has no such option.
    import_timeout: float = 0

    # Seconds for a complete request head, from its first byte or, for the first request, from the connection, with the
    # TLS handshake if there is one. Browsers send it at once; 15 is enough for a bad mobile network and short enough
    # against slow-request attacks.
    header_timeout: float = 15

    # Seconds that a connection may be idle between two requests. The default is longer than the usual 60 of load
    # balancers, so that they close first and do not send a request while this side closes.
    keep_alive_timeout: float = 75

    # Seconds without progress in a body: the client neither sends nor takes a byte. Long transfers that make progress
    # are not limited.
    socket_timeout: float = 60

    # Seconds between two pings of a WebSocket, which keep it open in proxies and find clients that are gone. 0: none.
    # uWSGI's `websocket-ping-freq` is 30.
    websocket_ping_interval: float = 20

    # Seconds for the answer to a ping; then the connection is closed. 0 is no limit. uWSGI's `websocket-pong-tolerance`
    # is 3, uvicorn's timeout 20.
    websocket_ping_timeout: float = 20

    # Seconds for a call to another node (RPC, signal, cache), from connecting to the last byte of the answer. uWSGI
    # allows 4 for each step (`socket-timeout`).
    node_timeout: float = 10

    # Seconds during which an alarm with an unchanged message is not repeated. uWSGI's option of this name.
    alarm_freq: float = 3

    # Time zone of crons, as in "Europe/Rome"; None is the system's.
    timezone: str | None = None

    # ----- logging

    # Disable the access log, as uWSGI's option of this name. Warnings, errors and start-up messages are still logged.
    # A request that calls `uwsgi.log_this_request()` is logged all the same.
    disable_logging: bool = False

    # Format of the lines of the access log, as in "%(addr) %(method) %(uri) %(status) %(msecs)"; None is the usual one,
    # and "uwsgi" the one of uWSGI. `%(name)` is one of uWSGI's variables, `%(var.NAME)` one of the WSGI environ,
    # `%(metric.NAME)` a metric, and any other name a log variable, which the application sets with `uwsgi.set_logvar`.
    # What has no value is shown as `-`. uWSGI's variables are addr, cl, core, ctime, epoch, ftime, headers, host,
    # hsize, ioerr, ltime, method, micros, modifier1, modifier2, msecs, pid, pktsize, proto, referer, rerr, rsize, rss,
    # rssM, secs, size, status, switches, time, tmicros, tmsecs, uagent, uri, user, vars, vsz, vszM, werr and wid.
    log_format: str | None = None

    def __post_init__(self) -> None:
        problems = list(impossible_values(self, _CHOICES))
        for name, read in READERS.items():
            try:
                object.__setattr__(self, name, read(name, getattr(self, name)))
            except ConfigError as error:
                problems.append(error)
        for group in ("access_rules", "alarm_options", "process_options"):  # made for their checks only
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
        """The parsed value of `http`, in the given order; the default address if none was given."""
        if self.http is None:
            return () if self.socket or self.https else (_DEFAULT,)
        return cast("tuple[Address, ...]", self.http)

    @property
    def tls(self) -> tuple[Tls, ...]:
        """`https`, parsed."""
        return cast("tuple[Tls, ...]", self.https)

    @property
    def uwsgi_addresses(self) -> tuple[Address, ...]:
        """The parsed value of `socket`, in the given order."""
        return cast("tuple[Address, ...]", self.socket)

    @property
    def stats_addresses(self) -> tuple[Address, ...]:
        """The parsed value of `stats`, in the given order."""
        return cast("tuple[Address, ...]", self.stats)

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """`attach_daemon`, parsed."""
        return cast("tuple[Daemon, ...]", self.attach_daemon)

    @property
    def mule_pool(self) -> Mules:
        """The value of `mules` as a pool, with the mules of scripts; a number is a pool of constant size."""
        pool = self.mules if isinstance(self.mules, Mules) else Mules(min=self.mules, max=self.mules)
        return dataclasses.replace(pool, min=pool.min + len(self.mule), max=pool.max + len(self.mule))

    @property
    def access_rules(self) -> AccessRules:
        """The parsed value of `modifiers`."""
        return AccessRules.parse(self.modifiers)

    @property
    def alarm_options(self) -> AlarmOptions:
        """What the alarms need."""
        return AlarmOptions.parse(self.alarms, self.alarm_log, self.alarm_freq)

    @property
    def spooler_options(self) -> SpoolerOptions:
        """What spoolers need."""
        names = [field.name for field in dataclasses.fields(SpoolerOptions) if field.name != "directories"]
        return SpoolerOptions(
            directories=tuple(self.spooler), **{name: getattr(self, f"spooler_{name}") for name in names}
        )

    @property
    def queue_options(self) -> QueueOptions:
        """What the shared queue needs."""
        return QueueOptions(self.queue, self.queue_blocksize, self.queue_store, self.queue_store_sync)

    @property
    def recycling_limits(self) -> RecyclingLimits:
        """The limits at which workers are replaced."""
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
    def websocket_options(self) -> WebSocketOptions:
        """What WebSockets need."""
        return WebSocketOptions(
            ping_interval=self.websocket_ping_interval,
            ping_timeout=self.websocket_ping_timeout,
            max_message=self.max_websocket_message,
            deflate=self.websocket_deflate,
        )

    @property
    def load_limits(self) -> LoadLimits:
        """What one worker takes on."""
        return LoadLimits(connections=self.max_connections, requests=self.max_concurrent_requests)

    @property
    def stream_ends(self) -> StreamEnds:
        """When streams are told to end."""
        return StreamEnds.within(self.mercy, self.stop_streams)

    @property
    def static_options(self) -> StaticOptions:
        """Where static files are."""
        return StaticOptions(
            maps=tuple(self.static_map.items()),
            check=tuple(self.check_static),
            safe=tuple(self.static_safe),
            index=tuple(self.static_index),
            expires=expiries(self.static_expires),
        )

    @property
    def socket_options(self) -> SocketOptions:
        """What listening sockets need."""
        return SocketOptions(backlog=self.listen, mode=self.chmod_socket)

    @property
    def process_options(self) -> ProcessOptions:
        """The settings of a standalone server's process."""
        return ProcessOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(ProcessOptions)})
