"""The options of the command line: one row for each field of `Config`.

The parser that they are given to is in `__main__.py`. What is written here is how a field is read, what `--help` tells
of it, and what people are told who type an option of uWSGI's that does not exist here.
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from trio_uwsgi.config.config import Interface, Lifespan
from trio_uwsgi.config.options import Cache, Mules
from trio_uwsgi.errors import ConfigError

__all__ = ["OPTIONS", "UWSGI_OPTIONS", "Option", "did_you_mean", "flag_of", "one_of", "whole"]

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


def _pair(separator: str, form: str) -> Callable[[str], tuple[str, str]]:
    """Reads one entry of a mapping."""

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
    """Reads with a function that refuses as `Config` does."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


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

    `collect` makes the field's value of all that were given, where it may be repeated. `flag` is the option's name
    where it is not the field's.
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
    """Its long name."""
    return option.flag or "--" + option.field.replace("_", "-")


OPTIONS = (
    Option("interface", "application", "KIND", one_of(*get_args(Interface)), "how it is called: auto, wsgi or asgi"),
    Option("lifespan", "application", "MODE", one_of(*get_args(Lifespan)), "ASGI's lifespan: auto, on or off"),
    Option("cancel_on_disconnect", "application", None, str, "cancel what waits when its client goes away"),
    Option(
        "http",
        "listeners",
        "ADDR",
        str,
        "serve HTTP at host:port, [v6]:port (IPv6 only), :port (both), /path, @name, fd://N; repeatable "
        "[127.0.0.1:8000]",
        collect=list,
    ),
    Option(
        "socket",
        "listeners",
        "ADDR",
        str,
        "serve the uwsgi protocol, in the same forms; repeatable; without --http, no HTTP",
        ("-s", "--uwsgi-socket"),
        list,
    ),
    Option(
        "modifiers",
        "listeners",
        "NAME=SOURCE,...",
        _sources,
        "who may use rpc, signal, cache, spool or ping: unix, loopback, any, 10.0.0.0/8, ADDR; repeatable "
        "[unix,loopback]",
        collect=dict,
        flag="--modifier",
    ),
    Option("listen", "listeners", "N", whole, "connections that may wait to be accepted"),
    Option("chmod_socket", "listeners", "MODE", _octal, "mode of unix socket files, in octal"),
    Option("workers", "members", "N", whole, "members that serve requests"),
    Option("placement", "members", "KIND", one_of("task", "process"), "where members live: task or process"),
    Option(
        "lazy_apps", "members", None, str, "each process imports the application itself, and is not forked from one"
    ),
    Option(
        "threads",
        "members",
        "N",
        whole,
        "WSGI requests at once in each worker [one: in a thread, or, with processes, without]",
    ),
    Option(
        "mules",
        "members",
        "N",
        _parsed(Mules.parse),
        "members that run signals, messages and programs, but serve no requests; 1-4 is as many as there is work for",
    ),
    Option("farms", "members", "NAME:N,...", _farm, "a name for several mules; repeatable", (), dict, "--farm"),
    Option("signal_queue", "members", "N", whole, "signals that may wait at a member"),
    Option("message_queue", "members", "N", whole, "messages that may wait at a mule"),
    Option(
        "spooler",
        "spooler",
        "DIR",
        str,
        "a directory of jobs, made if it is not there; repeatable",
        ("-Q",),
        list,
    ),
    Option("spooler_processes", "spooler", "N", whole, "spoolers of each directory; each runs one job at a time"),
    Option("spooler_frequency", "spooler", "SEC", _seconds, "after which a directory is looked through again"),
    Option("spooler_max_tries", "spooler", "N", whole, "tries of a job before it goes to dead/; 0 is for ever"),
    Option("spooler_retry", "spooler", "SEC", _seconds, "until a job that failed is tried again; then twice that, ..."),
    Option("spooler_retry_longest", "spooler", "SEC", _seconds, "but no more than that"),
    Option("spooler_fsync", "spooler", None, str, "accept jobs before they are on the disk", flag="--spooler-no-fsync"),
    Option("spooler_cheap", "spooler", None, str, "start spoolers when there is work for them"),
    Option("uid", "process", "USER", _name_or_number, "become this user when the sockets are open, name or number"),
    Option("gid", "process", "GROUP", _name_or_number, "become this group likewise [the user's own]"),
    # Absolute, because it is gone to twice: here, for the application, and by `serve`.
    Option("chdir", "process", "DIR", os.path.abspath, "go to this directory first"),
    Option("umask", "process", "MODE", _octal, "mode bits that new files do not get, in octal"),
    Option(
        "env", "process", "NAME=VALUE", _pair("=", "NAME=VALUE"), "a variable for the application; repeatable", (), dict
    ),
    Option("pidfile", "process", "FILE", str, "file with the pid of the master, while it serves"),
    Option("locks", "members", "N", whole, "highest number of the user locks"),
    Option(
        "caches",
        "members",
        "KEY=VALUE,...",
        _parsed(Cache.parse),
        "a cache: name=, items=, ...; repeatable",
        (),
        list,
        "--cache2",
    ),
    Option(
        "alarms",
        "alarms",
        "'NAME ACTION'",
        _pair(" ", "'NAME KIND:ARGUMENT'"),
        "what an alarm does: log:PREFIX, cmd:SHELL, signal:N, mule:N, curl:URL; repeatable",
        (),
        dict,
        "--alarm",
    ),
    Option(
        "alarm_log", "alarms", "'NAME REGEX'", str, "log lines that raise alarms; repeatable", ("--log-alarm",), list
    ),
    Option("alarm_freq", "alarms", "SEC", _seconds, "in which an alarm with the same message is not repeated"),
    Option("max_requests", "limits", "N", whole, "requests after which another worker follows; 0 is no limit"),
    Option("max_requests_delta", "limits", "N", whole, "up to so many more, by chance, so that workers differ"),
    Option("max_worker_lifetime", "limits", "SEC", _seconds, "after which another worker follows; 0 is no limit"),
    Option("reload_on_rss", "limits", "MB", _megabytes, "memory at which another worker follows; 0 is no limit"),
    Option("chain_reload", "members", None, str, "reload one worker at a time, where memory is short"),
    Option("touch_reload", "members", "FILE", str, "reload when this file is touched; repeatable", (), list),
    Option("reload", "members", None, str, "reload when Python code changes, for developers; members are processes"),
    Option("master_fifo", "members", "FILE", str, "a fifo that takes uWSGI's letters: q Q r R w W c + - p s"),
    Option("max_header_size", "limits", "BYTES", whole, "largest request head"),
    Option("max_headers", "limits", "N", whole, "most header fields of a request"),
    Option("max_body", "limits", "BYTES", whole, "largest request body; 0 is no limit"),
    Option("harakiri", "time", "SEC", _seconds, "cancel a request, handler or message after that long; 0 is never"),
    Option("mule_harakiri", "time", "SEC", _seconds, "the same, in mules"),
    Option("spooler_harakiri", "time", "SEC", _seconds, "the same, in spoolers"),
    Option("mercy", "time", "SEC", _seconds, "what a graceful stop waits for requests to end"),
    Option("import_timeout", "time", "SEC", _seconds, "that importing the application may take; 0 is no limit"),
    Option("header_timeout", "time", "SEC", _seconds, "for a request head to arrive"),
    Option("keep_alive_timeout", "time", "SEC", _seconds, "that a connection may idle between requests"),
    Option("socket_timeout", "time", "SEC", _seconds, "that a client may stall in a body, either way"),
    Option("node_timeout", "time", "SEC", _seconds, "for a call to another node, from the connection to its answer"),
    Option("timezone", "time", "NAME", str, "time zone of crons, as in Europe/Rome; else the system's"),
    Option("disable_logging", "logging", None, str, "no access log"),
)

# What people who come from uWSGI are likely to type, beyond the options above; a hint where there is one to give.
UWSGI_OPTIONS = {
    "http-socket": "write --http, which serves HTTP from the workers",
    "http11-socket": "write --http, which serves HTTP from the workers",
    "module": "name the application as the first argument",
    "wsgi": "name the application as the first argument",
    "wsgi-file": "name the file as the first argument",
    "file": "name the file as the first argument",
    "callable": "name it after the application's module or file, as in module:callable",
    "lazy": "write --lazy-apps",
    "master": "leave it out, there always is a master",
    "enable-threads": "leave it out, threads are always enabled",
    "vacuum": "leave it out, socket files, the pidfile and the fifo are always removed at the end",
    "safe-pidfile": "write --pidfile",
    "pidfile2": "write --pidfile, which is written when the sockets are open",
    "chown-socket": "leave it out, socket files are given to --uid and --gid",
    "daemonize": "leave it out, and let systemd or another supervisor run it",
    "chdir2": "write --chdir",
    "die-on-term": "leave it out, SIGTERM always stops",
    "need-app": "leave it out, nothing is served without an application",
    "limit-post": "write --max-body",
    "buffer-size": "write --max-header-size",
    "max-vars": "write --max-headers",
    "reload-mercy": "write --mercy",
    "worker-reload-mercy": "write --mercy",
    "cache": "write --cache2 name=default,items=N",
    "py-autoreload": "write --reload",
    "python-autoreload": "write --reload",
    "touch-chain-reload": "write --touch-reload FILE --chain-reload",
    "touch-workers-reload": "write --touch-reload",
    "allowed-modifiers": "write --modifier",
    "http-timeout": "write --socket-timeout",
    "http-keepalive": "leave it out, connections are kept alive; see --keep-alive-timeout",
    "max-fd": "leave it out; `ulimit -n` or systemd's LimitNOFILE= says how many descriptors there may be",
    "cheaper": "SIGTTIN and SIGTTOU are one worker more or less; --mules 1-4 is a pool of mules",
    "threads-stacksize": "leave it out",
    "mule": "write --mules N, and declare programs with @uwsgi.mule(1)",
    "cron": "declare it with @uwsgi.cron",
    "timer": "declare it with @uwsgi.timer",
    "import": "import it in the application",
    "stats": "SIGUSR1 writes statistics to the log; in Python it is Runtime.statistics()",
    "stats-server": "SIGUSR1 writes statistics to the log; in Python it is Runtime.statistics()",
    "external-spooler": "write --spooler; directories may be shared with other servers",
    "spooler-ordered": "leave it out, jobs with a priority always come first",
    "log-x-forwarded-for": "over --socket the access log has the client that the proxy names",
    "py-auto-reload": "write --reload",
    "harakiri-verbose": "leave it out, the log always names the line",
    "reload-on-as": "write --reload-on-rss",
    "min-worker-lifetime": "leave it out",
    "wsgi-disable-file-wrapper": "leave it out",
    **dict.fromkeys(("virtualenv", "venv", "home", "H"), "leave it out, and run the trio-uwsgi of that environment"),
    **dict.fromkeys(
        ("pythonpath", "python-path", "pp"), "leave it out for the application's own folder, or set PYTHONPATH"
    ),
    **dict.fromkeys(
        ("auto-procname", "procname", "procname-prefix"), "leave it out; the extra trio-uwsgi[procname] does it"
    ),
    **dict.fromkeys(("ini", "yaml", "json", "xml"), "write its options here, or as a Config beside the application"),
    **dict.fromkeys(
        ("logto", "logto2", "logger", "req-logger"), "redirect standard error, or configure Python's logging"
    ),
    **dict.fromkeys(("log-format", "logformat", "log-date", "log-master"), "leave it out; Python's logging says it"),
    **dict.fromkeys(("static-map", "check-static"), "let the proxy in front serve static files"),
    **dict.fromkeys(
        (  # noqa: SIM905 - so many pairs of quotes would make it no clearer
            "thunder-lock single-interpreter post-buffering strict ignore-sigpipe ignore-write-errors "
            "disable-write-exception memory-report close-on-exec no-orphans offload-threads reuse-port "
        ).split(),
        "leave it out",
    ),
    **dict.fromkeys(
        (  # noqa: SIM905
            "https queue async gevent asyncio daemonize2 mount manage-script-name attach-daemon smart-attach-daemon "
            "emperor plugin plugins route sharedarea websockets"
        ).split(),
        "",
    ),
}


def did_you_mean(text: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
