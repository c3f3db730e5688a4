"""The options of the command line: one row for each field of `Config`.

A row says how the option's value is parsed and what `--help` prints. The parser is in `command_line.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from trio_uwsgi._program.option_values import (
    area,
    checked,
    expiry,
    farm,
    joined,
    megabytes,
    name_or_number,
    octal,
    one_of,
    pair,
    parsed,
    seconds,
    sources,
    whole,
    words,
)
from trio_uwsgi.config.clock import CronCommand, SignalTimer
from trio_uwsgi.config.config import Interface, Lifespan
from trio_uwsgi.config.daemons import Daemon
from trio_uwsgi.config.metrics import Metric
from trio_uwsgi.config.options import Cache, Mules
from trio_uwsgi.config.tls import Tls

__all__ = ["OPTIONS", "Option", "flag_of"]


class Option(NamedTuple):
    """How one field of `Config` is written on the command line. `metavar` is None for a switch.

    `collect` builds the field's value from all values of a repeatable option. `flag` is the option's name where it
    differs from the field's.
    """

    field: str
    group: str
    metavar: str | None
    read: Callable[[str], object]
    help: str
    aliases: tuple[str, ...] = ()
    collect: Callable[[list[Any]], object] | None = None
    flag: str = ""


def flag_of(option: Option) -> str:
    """The long name of an option."""
    return option.flag or "--" + option.field.replace("_", "-")


OPTIONS = (
    Option(
        "interface",
        "application",
        "KIND",
        one_of(*get_args(Interface)),
        "interface of the application: auto, wsgi or asgi",
    ),
    Option("lifespan", "application", "MODE", one_of(*get_args(Lifespan)), "ASGI lifespan: auto, on or off"),
    Option(
        "root_path",
        "application",
        "/PREFIX",
        str,
        "prefix of the path for clients, which a proxy in front removes, or leaves with --manage-script-name",
    ),
    Option(
        "manage_script_name",
        "application",
        None,
        str,
        "take --root-path, or the prefix that a proxy names, off the path of requests",
    ),
    Option("early_hints", "application", None, str, "offer early hints (103) to the application"),
    Option("catch_exceptions", "application", None, str, "show tracebacks to clients, for development"),
    Option("cancel_on_disconnect", "application", None, str, "cancel a waiting request when its client disconnects"),
    Option(
        "http",
        "listeners",
        "ADDR",
        str,
        "serve HTTP on host:port, [v6]:port (IPv6 only), :port (IPv4 and IPv6), /path, @name or fd://N; repeatable "
        "[127.0.0.1:8000]",
        collect=list,
    ),
    Option(
        "https",
        "listeners",
        "ADDR,CERT,KEY[,CIPHERS[,CA]]",
        parsed(Tls.parse),
        "serve HTTPS; clients have to show a certificate if CA begins with !; repeatable; without --http, HTTP is not "
        "served",
        collect=list,
    ),
    Option(
        "socket",
        "listeners",
        "ADDR",
        str,
        "serve the uwsgi protocol, same forms of address; repeatable; without --http, HTTP is not served",
        ("-s", "--uwsgi-socket"),
        list,
    ),
    Option(
        "stats",
        "listeners",
        "ADDR",
        str,
        "send statistics as uWSGI's JSON to whoever connects, as uwsgitop does, same forms of address; repeatable",
        ("--stats-server",),
        list,
    ),
    Option("stats_http", "listeners", None, str, "send the statistics as an HTTP response"),
    Option(
        "modifiers",
        "listeners",
        "NAME=SOURCE,...",
        sources,
        "sources that may use rpc, signal, cache, spool or ping: unix, loopback, any, 10.0.0.0/8, ADDR; repeatable "
        "[unix,loopback]",
        collect=dict,
        flag="--modifier",
    ),
    Option(
        "forwarded_allow",
        "listeners",
        "SOURCE,...",
        words,
        "proxies whose X-Forwarded headers are believed: unix, loopback, 10.0.0.1, 10.0.0.0/8, ADDR; repeatable [none]",
        collect=joined,
    ),
    Option(
        "forwarded_headers",
        "listeners",
        "NAME,...",
        words,
        "headers of those proxies that are read",
    ),
    Option(
        "proxy_protocol",
        "listeners",
        "SOURCE,...",
        words,
        "connections begin with a PROXY header: from these sources, on these ADDRs; repeatable [none]",
        collect=joined,
    ),
    Option("listen", "listeners", "N", whole, "listen backlog: connections that wait to be accepted"),
    Option("chmod_socket", "listeners", "MODE", octal, "mode of unix socket files (octal)"),
    Option(
        "static_map",
        "static files",
        "PREFIX=DIR",
        pair("=", "/PREFIX=DIR"),
        "serve files of a folder, or one file, for paths below a prefix; repeatable",
        (),
        dict,
    ),
    Option("check_static", "static files", "DIR", str, "look for a file in this folder first; repeatable", (), list),
    Option(
        "static_index", "static files", "NAME", str, "file that answers for a folder: index.html; repeatable", (), list
    ),
    Option(
        "static_expires",
        "static files",
        "'REGEX SEC'",
        expiry,
        "seconds for which clients may keep files whose path matches; repeatable",
        (),
        dict,
    ),
    Option(
        "static_safe",
        "static files",
        "DIR",
        str,
        "folder to which symbolic links in these folders may lead; repeatable",
        (),
        list,
    ),
    Option("workers", "members", "N", whole, "number of workers, which serve requests"),
    Option("placement", "members", "KIND", one_of("task", "process"), "run each member as a task or as a process"),
    Option("lazy_apps", "members", None, str, "import the application in each process, not once before forking"),
    Option(
        "compat",
        "members",
        None,
        str,
        "do not make the modules uwsgi and uwsgidecorators importable",
        flag="--no-uwsgi-module",
    ),
    Option(
        "threads",
        "members",
        "N",
        whole,
        "WSGI requests that a worker runs at once, each in a thread [1; with --processes one without a thread]",
    ),
    Option(
        "mules",
        "members",
        "N",
        parsed(Mules.parse),
        "number of mules, which run signal handlers, messages and mule functions; 1-4: autoscale",
    ),
    Option(
        "mule",
        "members",
        "SCRIPT",
        str,
        "one mule more, which runs this file or module:function; it may block; repeatable",
        (),
        list,
    ),
    Option("farms", "members", "NAME:N,...", farm, "name a group of mules; repeatable", (), dict, "--farm"),
    Option(
        "timer",
        "members",
        "'SIGNUM SEC'",
        checked(SignalTimer.parse),
        "raise this signal every SEC seconds; repeatable",
        ("--signal-timer",),
        list,
    ),
    Option("signal_queue", "members", "N", whole, "signals that may be queued per member"),
    Option("message_queue", "members", "N", whole, "messages that may be queued per mule"),
    Option(
        "spooler",
        "spooler",
        "DIR",
        str,
        "spool directory, created if missing; repeatable",
        ("-Q",),
        list,
    ),
    Option("spooler_processes", "spooler", "N", whole, "spoolers per directory; each runs one job at a time"),
    Option("spooler_frequency", "spooler", "SEC", seconds, "seconds between two scans of a directory"),
    Option("spooler_max_tries", "spooler", "N", whole, "attempts of a job before it is moved to dead/; 0 is unlimited"),
    Option(
        "spooler_retry", "spooler", "SEC", seconds, "delay before a failed job is retried; doubled after each attempt"
    ),
    Option("spooler_retry_longest", "spooler", "SEC", seconds, "longest delay before a retry"),
    Option(
        "spooler_fsync",
        "spooler",
        None,
        str,
        "accept jobs before they are written to the disk",
        flag="--spooler-no-fsync",
    ),
    Option("spooler_cheap", "spooler", None, str, "start spoolers only when there are jobs"),
    Option("uid", "process", "USER", name_or_number, "switch to this user (name or number) after opening the sockets"),
    Option("gid", "process", "GROUP", name_or_number, "switch to this group [the user's own]"),
    # Absolute, because the process changes to it twice: here, to find the application, and in `serve`.
    Option("chdir", "process", "DIR", os.path.abspath, "change to this directory first"),
    Option("umask", "process", "MODE", octal, "file mode creation mask (octal)"),
    Option(
        "env", "process", "NAME=VALUE", pair("=", "NAME=VALUE"), "set an environment variable; repeatable", (), dict
    ),
    Option("pidfile", "process", "FILE", str, "write the pid of the master to this file"),
    Option(
        "attach_daemon",
        "process",
        "COMMAND",
        parsed(Daemon),
        "run this program beside the server, and again when it ends; repeatable",
        (),
        list,
    ),
    Option(
        "attach_daemon",
        "process",
        "KEY=VALUE,...",
        parsed(Daemon.parse),
        "the same with cmd=, pidfile=, control=, touch=, stopsignal=, reloadsignal=, uid=, gid=; repeatable",
        (),
        list,
        "--attach-daemon2",
    ),
    Option(
        "attach_daemon",
        "process",
        "'PIDFILE COMMAND'",
        parsed(Daemon.smart),
        "the same, unless the process in PIDFILE runs; it outlives the server; repeatable",
        (),
        list,
        "--smart-attach-daemon",
    ),
    Option(
        "cron",
        "process",
        "'M H D MO W COMMAND'",
        checked(CronCommand.parse),
        "run this command at these times, of a crontab or in uWSGI's numbers; repeatable",
        ("--cron2",),
        list,
    ),
    Option("locks", "members", "N", whole, "highest user lock number"),
    Option("sharedarea", "members", "PAGES", area, "a shared area of this size, or size=BYTES; repeatable", (), list),
    Option(
        "caches",
        "members",
        "KEY=VALUE,...",
        parsed(Cache.parse),
        "define a cache: name=, items=, ...; repeatable",
        (),
        list,
        "--cache2",
    ),
    Option("queue", "members", "N", whole, "slots of the shared queue; 0: there is none"),
    Option("queue_blocksize", "members", "BYTES", whole, "longest message of the shared queue"),
    Option("queue_store", "members", "FILE", str, "keep the messages of the shared queue in this file"),
    Option("queue_store_sync", "members", "SEC", seconds, "flush that file to the disk every SEC seconds; 0: never"),
    Option(
        "metrics",
        "members",
        "KEY=VALUE,...",
        parsed(Metric.parse),
        "define a metric: name=, type=, initial_value=; repeatable",
        (),
        list,
        "--metric",
    ),
    Option(
        "alarms",
        "alarms",
        "'NAME ACTION'",
        pair(" ", "'NAME KIND:ARGUMENT'"),
        "define an alarm: log:PREFIX, cmd:SHELL, signal:N, mule:N or curl:URL; repeatable",
        (),
        dict,
        "--alarm",
    ),
    Option(
        "alarm_log",
        "alarms",
        "'NAME REGEX'",
        str,
        "raise an alarm for log lines that match; repeatable",
        ("--log-alarm",),
        list,
    ),
    Option("alarm_freq", "alarms", "SEC", seconds, "do not repeat an alarm with the same message for SEC seconds"),
    Option("max_requests", "limits", "N", whole, "recycle a worker after N requests; 0 disables"),
    Option("max_requests_delta", "limits", "N", whole, "random extra requests per worker (jitter), up to N"),
    Option("max_worker_lifetime", "limits", "SEC", seconds, "recycle a worker after SEC seconds; 0 disables"),
    Option("reload_on_rss", "limits", "MB", megabytes, "recycle a worker that uses this much memory; 0 disables"),
    Option("chain_reload", "members", None, str, "reload one worker at a time (needs less memory)"),
    Option("touch_reload", "members", "FILE", str, "reload when this file is touched; repeatable", (), list),
    Option("reload", "members", None, str, "reload when Python code changes (for development; implies processes)"),
    Option("master_fifo", "members", "FILE", str, "create a fifo for uWSGI's commands: q Q r R w W c + - p s"),
    Option("max_header_size", "limits", "BYTES", whole, "maximum size of a request head"),
    Option("max_headers", "limits", "N", whole, "maximum number of header fields of a request"),
    Option("max_body", "limits", "BYTES", whole, "maximum size of a request body; 0 is no limit"),
    Option("max_connections", "limits", "N", whole, "connections of a worker at a time; 0 is no limit"),
    Option(
        "max_concurrent_requests",
        "limits",
        "N",
        whole,
        "requests of a worker at a time; beyond, the answer is 503; 0 is no limit",
    ),
    Option("max_websocket_message", "limits", "BYTES", whole, "maximum size of a WebSocket message; 0 is no limit"),
    Option(
        "websocket_deflate", "limits", None, str, "do not compress WebSocket messages", flag="--websocket-no-deflate"
    ),
    Option("harakiri", "time", "SEC", seconds, "time limit of a request, signal handler or message; 0 is no limit"),
    Option("mule_harakiri", "time", "SEC", seconds, "the same limit in mules"),
    Option("spooler_harakiri", "time", "SEC", seconds, "the same limit for a job"),
    Option("cron_harakiri", "time", "SEC", seconds, "the same limit for commands of --cron"),
    Option("mercy", "time", "SEC", seconds, "graceful shutdown timeout"),
    Option("drain_delay", "time", "SEC", seconds, "serve for SEC seconds after SIGTERM, and then begin the mercy"),
    Option(
        "stop_streams",
        "time",
        "SEC",
        seconds,
        "tell streams to end SEC seconds after the mercy of a stop or a reload began [WebSockets 0, others half of it]",
    ),
    Option("import_timeout", "time", "SEC", seconds, "time limit for importing the application; 0 is no limit"),
    Option("header_timeout", "time", "SEC", seconds, "time limit for receiving a request head"),
    Option("keep_alive_timeout", "time", "SEC", seconds, "close a connection that is idle between requests"),
    Option("socket_timeout", "time", "SEC", seconds, "close a connection whose client stalls within a body"),
    Option("websocket_ping_interval", "time", "SEC", seconds, "ping WebSocket clients; 0 disables"),
    Option("websocket_ping_timeout", "time", "SEC", seconds, "close a WebSocket whose client does not answer pings"),
    Option("node_timeout", "time", "SEC", seconds, "time limit of a call to another node"),
    Option("timezone", "time", "NAME", str, "time zone of cron signals, as in Europe/Rome [the system's]"),
    Option("disable_logging", "logging", None, str, "disable the access log"),
    Option("log_format", "logging", "FORMAT", str, "format of the access log, in uWSGI's form", ("--logformat",)),
)
