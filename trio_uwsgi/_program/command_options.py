"""The options of the command line: one row for each field of `Config`.

A row says how the option's value is parsed and what `--help` prints. The parser is in `command_line.py`.
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from trio_uwsgi.config.config import Interface, Lifespan
from trio_uwsgi.config.options import Cache, Mules
from trio_uwsgi.config.tls import Tls
from trio_uwsgi.errors import ConfigError

__all__ = ["OPTIONS", "Option", "did_you_mean", "flag_of", "one_of", "whole"]

T = TypeVar("T")


def whole(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None


def _megabytes(text: str) -> int:
    return whole(text) * 1024**2


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an octal number, as in 660") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _joined(lists: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(word for words in lists for word in words)


def _pair(separator: str, form: str) -> Callable[[str], tuple[str, str]]:
    """A parser of one entry of a mapping."""

    def read(text: str) -> tuple[str, str]:
        name, found, value = text.partition(separator)
        if not found:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {form}")
        return name, value

    return read


def _sources(text: str) -> tuple[str, list[str]]:
    name, sources = _pair("=", "NAME=SOURCE,SOURCE")(text)
    return name, [source for source in sources.split(",") if source]


def _parsed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Turn the `ConfigError` of a parsing function into an error of argparse."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _expiry(text: str) -> tuple[str, int]:
    pattern, found, seconds = text.rpartition(" ")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 'REGEX SEC'")
    return pattern, whole(seconds)


def _farm(text: str) -> tuple[str, list[int]]:
    name, mules = _pair(":", "NAME:MULE,MULE")(text)
    return name, [whole(mule) for mule in mules.split(",")]


def _name_or_number(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(choices)}{did_you_mean(text, choices)}")
        return text

    return read


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
        _parsed(Tls.parse),
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
        "modifiers",
        "listeners",
        "NAME=SOURCE,...",
        _sources,
        "sources that may use rpc, signal, cache, spool or ping: unix, loopback, any, 10.0.0.0/8, ADDR; repeatable "
        "[unix,loopback]",
        collect=dict,
        flag="--modifier",
    ),
    Option(
        "forwarded_allow",
        "listeners",
        "SOURCE,...",
        _words,
        "proxies whose X-Forwarded headers are believed: unix, loopback, 10.0.0.1, 10.0.0.0/8, ADDR; repeatable [none]",
        collect=_joined,
    ),
    Option(
        "forwarded_headers",
        "listeners",
        "NAME,...",
        _words,
        "headers of those proxies that are read [x-forwarded-for,x-forwarded-proto]",
    ),
    Option(
        "proxy_protocol",
        "listeners",
        "SOURCE,...",
        _words,
        "connections begin with a PROXY header: from these sources, on these ADDRs; repeatable [none]",
        collect=_joined,
    ),
    Option("listen", "listeners", "N", whole, "listen backlog: connections that wait to be accepted"),
    Option("chmod_socket", "listeners", "MODE", _octal, "mode of unix socket files (octal)"),
    Option(
        "static_map",
        "static files",
        "PREFIX=DIR",
        _pair("=", "/PREFIX=DIR"),
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
        _expiry,
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
        _parsed(Mules.parse),
        "number of mules, which run signal handlers, messages and mule functions; 1-4: autoscale",
    ),
    Option("farms", "members", "NAME:N,...", _farm, "name a group of mules; repeatable", (), dict, "--farm"),
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
    Option("spooler_frequency", "spooler", "SEC", _seconds, "seconds between two scans of a directory"),
    Option("spooler_max_tries", "spooler", "N", whole, "attempts of a job before it is moved to dead/; 0 is unlimited"),
    Option(
        "spooler_retry", "spooler", "SEC", _seconds, "delay before a failed job is retried; doubled after each attempt"
    ),
    Option("spooler_retry_longest", "spooler", "SEC", _seconds, "longest delay before a retry"),
    Option(
        "spooler_fsync",
        "spooler",
        None,
        str,
        "accept jobs before they are written to the disk",
        flag="--spooler-no-fsync",
    ),
    Option("spooler_cheap", "spooler", None, str, "start spoolers only when there are jobs"),
    Option("uid", "process", "USER", _name_or_number, "switch to this user (name or number) after opening the sockets"),
    Option("gid", "process", "GROUP", _name_or_number, "switch to this group [the user's own]"),
    # Absolute, because the process changes to it twice: here, to find the application, and in `serve`.
    Option("chdir", "process", "DIR", os.path.abspath, "change to this directory first"),
    Option("umask", "process", "MODE", _octal, "file mode creation mask (octal)"),
    Option(
        "env", "process", "NAME=VALUE", _pair("=", "NAME=VALUE"), "set an environment variable; repeatable", (), dict
    ),
    Option("pidfile", "process", "FILE", str, "write the pid of the master to this file"),
    Option(
        "attach_daemon",
        "process",
        "COMMAND",
        str,
        "run this program beside the server, and again when it ends; repeatable",
        (),
        list,
    ),
    Option("locks", "members", "N", whole, "highest user lock number"),
    Option(
        "caches",
        "members",
        "KEY=VALUE,...",
        _parsed(Cache.parse),
        "define a cache: name=, items=, ...; repeatable",
        (),
        list,
        "--cache2",
    ),
    Option(
        "alarms",
        "alarms",
        "'NAME ACTION'",
        _pair(" ", "'NAME KIND:ARGUMENT'"),
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
    Option("alarm_freq", "alarms", "SEC", _seconds, "do not repeat an alarm with the same message for SEC seconds"),
    Option("max_requests", "limits", "N", whole, "recycle a worker after N requests; 0 disables"),
    Option("max_requests_delta", "limits", "N", whole, "random extra requests per worker (jitter), up to N"),
    Option("max_worker_lifetime", "limits", "SEC", _seconds, "recycle a worker after SEC seconds; 0 disables"),
    Option("reload_on_rss", "limits", "MB", _megabytes, "recycle a worker that uses this much memory; 0 disables"),
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
    Option("harakiri", "time", "SEC", _seconds, "time limit of a request, signal handler or message; 0 is no limit"),
    Option("mule_harakiri", "time", "SEC", _seconds, "the same limit in mules"),
    Option("spooler_harakiri", "time", "SEC", _seconds, "the same limit for a job"),
    Option("mercy", "time", "SEC", _seconds, "graceful shutdown timeout"),
    Option("drain_delay", "time", "SEC", _seconds, "serve for SEC seconds after SIGTERM, and then begin the mercy"),
    Option(
        "stop_streams",
        "time",
        "SEC",
        _seconds,
        "tell streams to end SEC seconds after the mercy of a stop or a reload began [WebSockets 0, others half of it]",
    ),
    Option("import_timeout", "time", "SEC", _seconds, "time limit for importing the application; 0 is no limit"),
    Option("header_timeout", "time", "SEC", _seconds, "time limit for receiving a request head"),
    Option("keep_alive_timeout", "time", "SEC", _seconds, "close a connection that is idle between requests"),
    Option("socket_timeout", "time", "SEC", _seconds, "close a connection whose client stalls within a body"),
    Option("websocket_ping_interval", "time", "SEC", _seconds, "ping WebSocket clients; 0 disables"),
    Option("websocket_ping_timeout", "time", "SEC", _seconds, "close a WebSocket whose client does not answer pings"),
    Option("node_timeout", "time", "SEC", _seconds, "time limit of a call to another node"),
    Option("timezone", "time", "NAME", str, "time zone of cron signals, as in Europe/Rome [the system's]"),
    Option("disable_logging", "logging", None, str, "disable the access log"),
)


def did_you_mean(text: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
