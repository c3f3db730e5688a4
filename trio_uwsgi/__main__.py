"""The command line: `trio-uwsgi APP [options]`, or `python -m trio_uwsgi APP [options]`. Floor 4.

Every option is a field of `Config`, under uWSGI's name; the table below says how it is read and what `--help` tells.
What a value may be is not decided here: `Config` refuses what is impossible, and this module makes one line and an
exit code of it.

Exit codes: 0 after a graceful stop; 1 when the runtime itself failed, with a traceback; 2 for options; 3 when an
address cannot be listened on; 4 when the application cannot be imported or does not start; 130 or 143 when a second
SIGINT or SIGTERM cut a graceful stop short.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, get_args

import trio

from trio_uwsgi._runtime.loader import load_app
from trio_uwsgi._tasks.journal import sole
from trio_uwsgi.config import Config, Interface, Lifespan
from trio_uwsgi.errors import BootError, ConfigError, ListenError, RegistrationError
from trio_uwsgi.options import Cache
from trio_uwsgi.serve import serve

__all__ = ["main"]

BAD_OPTIONS = 2
CANNOT_LISTEN = 3
CANNOT_START = 4
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_DEFAULTS = Config()
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None


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


def _cache(text: str) -> Cache:
    try:
        return Cache.parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(choices)}{_did_you_mean(text, choices)}")
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


OPTIONS = (
    Option("interface", "application", "KIND", _one_of(*get_args(Interface)), "how it is called: auto, wsgi or asgi"),
    Option("lifespan", "application", "MODE", _one_of(*get_args(Lifespan)), "ASGI's lifespan: auto, on or off"),
    Option("cancel_on_disconnect", "application", None, str, "cancel a request when its client goes away"),
    Option(
        "http",
        "listeners",
        "ADDR",
        str,
        "serve HTTP at host:port, [v6]:port, :port, /path, @name, fd://N; repeatable",
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
        "who may use rpc, signal, cache or ping of it: unix, loopback, any, 10.0.0.0/8, ADDR; repeatable "
        "[unix,loopback]",
        collect=dict,
        flag="--modifier",
    ),
    Option("listen", "listeners", "N", _whole, "connections that may wait to be accepted"),
    Option("chmod_socket", "listeners", "MODE", _octal, "mode of unix socket files, in octal"),
    Option("workers", "members", "N", _whole, "members that serve requests", ("-p", "--processes")),
    Option("threads", "members", "N", _whole, "WSGI requests at once in each worker"),
    Option("mules", "members", "N", _whole, "members that run signals, messages and programs, but serve no requests"),
    Option("signal_queue", "members", "N", _whole, "signals that may wait at a member"),
    Option("message_queue", "members", "N", _whole, "messages that may wait at a mule"),
    Option("locks", "members", "N", _whole, "highest number of the user locks"),
    Option(
        "caches", "members", "KEY=VALUE,...", _cache, "a cache: name=, items=, ...; repeatable", (), list, "--cache2"
    ),
    Option(
        "alarms",
        "alarms",
        "NAME ACTION",
        _pair(" ", "'NAME KIND:ARGUMENT'"),
        "what an alarm does: log:PREFIX, cmd:SHELL, signal:N, mule:N, curl:URL; repeatable",
        (),
        dict,
        "--alarm",
    ),
    Option("alarm_log", "alarms", "NAME REGEX", str, "log lines that raise alarms; repeatable", ("--log-alarm",), list),
    Option("alarm_freq", "alarms", "SEC", _seconds, "in which an alarm with the same message is not repeated"),
    Option("max_header_size", "limits", "BYTES", _whole, "largest request head"),
    Option("max_headers", "limits", "N", _whole, "most header fields of a request"),
    Option("max_body", "limits", "BYTES", _whole, "largest request body; 0 is no limit"),
    Option("harakiri", "time", "SEC", _seconds, "cancel a request, handler or message after that long; 0 is never"),
    Option("mule_harakiri", "time", "SEC", _seconds, "the same, in mules"),
    Option("mercy", "time", "SEC", _seconds, "what a graceful stop waits for requests to end"),
    Option("header_timeout", "time", "SEC", _seconds, "for a request head to arrive"),
    Option("keep_alive_timeout", "time", "SEC", _seconds, "that a connection may idle between requests"),
    Option("socket_timeout", "time", "SEC", _seconds, "that a client may stall in a body, either way"),
    Option("node_timeout", "time", "SEC", _seconds, "for a call to another node, from the connection to its answer"),
    Option("timezone", "time", "NAME", str, "time zone of crons, as in Europe/Rome; else the system's"),
    Option("disable_logging", "logging", None, str, "no access log"),
)

# Fields that are not options: "memory" members are for tests, and there is no other placement to choose yet.
NOT_OPTIONS = ("placement",)

# What people who come from uWSGI are likely to type, beyond the options above; a hint where there is one to give.
UWSGI_OPTIONS = {
    "http-socket": "write --http, which serves HTTP from the workers",
    "http11-socket": "write --http, which serves HTTP from the workers",
    "module": "name the application as the first argument",
    "wsgi": "name the application as the first argument",
    "wsgi-file": "name the file as the first argument",
    "file": "name the file as the first argument",
    "callable": "name it after the application's module or file, as in module:callable",
    "master": "leave it out, there always is a master",
    "enable-threads": "leave it out, threads are always enabled",
    "vacuum": "leave it out, socket files are always removed at the end",
    "die-on-term": "leave it out, SIGTERM always stops",
    "need-app": "leave it out, nothing is served without an application",
    "limit-post": "write --max-body",
    "buffer-size": "write --max-header-size",
    "max-vars": "write --max-headers",
    "reload-mercy": "write --mercy",
    "worker-reload-mercy": "write --mercy",
    "cache": "write --cache2 name=default,items=N",
    "allowed-modifiers": "write --modifier",
    "http-timeout": "write --socket-timeout",
    "http-keepalive": "leave it out, connections are kept alive; see --keep-alive-timeout",
    **dict.fromkeys(
        (  # noqa: SIM905 - seventy pairs of quotes would make it no clearer
            "https ini yaml json xml spooler spooler-processes spooler-harakiri farm "
            "queue stats stats-server touch-reload py-autoreload lazy-apps lazy async gevent asyncio cheaper "
            "max-requests max-worker-lifetime single-interpreter pythonpath virtualenv home pidfile daemonize logto "
            "daemonize2 log-format req-logger logger uid gid chown-socket env static-map check-static mount cron timer "
            "manage-script-name attach-daemon smart-attach-daemon master-fifo emperor plugin plugins route mule import "
            "procname-prefix auto-procname thunder-lock reuse-port post-buffering offload-threads memory-report "
            "log-master sharedarea websockets"
        ).split(),
        "",
    ),
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


class _UsageError(Exception):
    """The command line makes no sense; the text says why."""


def main(argv: Sequence[str] | None = None, serve: Callable[..., Any] = serve) -> int:
    """Run the command line, and give back its exit code (see the top of this module).

    Args:
        argv: the arguments without the program's name; None takes those of the process.
        serve: what `trio.run` is given; tests put something else here.
    Raises:
        SystemExit: after `--help` and `--version`, and when a second posix signal ended the runtime.
    """
    try:
        arguments = _parse(argv)
        if arguments.chdir is not None:
            _change_directory(arguments.chdir)
        config = Config(**_fields(arguments))
    except (_UsageError, ConfigError) as error:
        return _complain(error, BAD_OPTIONS)
    logging.basicConfig(level=arguments.log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    try:
        app = load_app(arguments.app, factory=arguments.factory)
        trio.run(serve, app, config)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _explain(sole(error) if isinstance(error, BaseExceptionGroup) else error, error)
    except BaseExceptionGroup as group:
        leaf = sole(group)
        if isinstance(leaf, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(leaf, SystemExit):
            raise leaf from None
        raise
    return 0


def _fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says about `Config`; Any: each field has its own type."""
    given = vars(arguments)
    return {
        option.field: option.collect(given[option.field]) if option.collect else given[option.field]
        for option in OPTIONS
        if option.field in given
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, unknown = _parser().parse_known_args(argv)
    for text in unknown:
        if text.startswith("-"):
            raise _UsageError(_unknown_option(text))
    if arguments.app is None:
        raise _UsageError("no application; write trio-uwsgi module:app, or trio-uwsgi path/to/file.py")
    if unknown:
        raise _UsageError(f"one application is served, and {unknown[0]!r} is one too many")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="trio-uwsgi",
        usage="trio-uwsgi APP [options]",
        description="Serve a WSGI or ASGI application, with signals, timers, cron, mules and time limits, on Trio.",
        epilog="Option names are uWSGI's. SIGINT and SIGTERM stop gracefully; a second one stops at once.",
        allow_abbrev=False,
        add_help=False,
    )
    names = ("application", "listeners", "members", "alarms", "limits", "time", "logging", "others")
    groups = {name: parser.add_argument_group(name) for name in names}
    add = groups["application"].add_argument
    add("app", metavar="APP", nargs="?", help="module:attribute, module, or path/to/file.py[:attribute]")
    add("--factory", action="store_true", help="the attribute is a function that makes the application")
    add("--chdir", metavar="DIR", help="go to this directory first")
    for option in OPTIONS:
        _add_option(groups[option.group], option)
    level = f"{', '.join(LOG_LEVELS)} [info]"
    groups["logging"].add_argument(
        "--log-level", metavar="LEVEL", type=_one_of(*LOG_LEVELS), default="info", help=level
    )
    groups["others"].add_argument("-h", "--help", action="help", help="show this and exit")
    groups["others"].add_argument("--version", action="version", version=_version(), help="show the version and exit")
    return parser


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    names = [*option.aliases, _flag(option)]
    if option.metavar is None:
        group.add_argument(*names, dest=option.field, action="store_true", default=argparse.SUPPRESS, help=option.help)
        return
    value = getattr(_DEFAULTS, option.field)
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    group.add_argument(
        *names,
        dest=option.field,
        action="append" if option.collect else "store",
        default=argparse.SUPPRESS,  # so that only Config knows the defaults
        type=option.read,
        metavar=option.metavar,
        help=f"{option.help} [{shown}]" if shown not in (None, "", {}) else option.help,
    )


def _flag(option: Option) -> str:
    return option.flag or "--" + option.field.replace("_", "-")


def _version() -> str:
    try:
        return f"trio-uwsgi {importlib.metadata.version('trio-uwsgi')}"
    except importlib.metadata.PackageNotFoundError:
        return "trio-uwsgi, not installed"


def _unknown_option(text: str) -> str:
    name = text.partition("=")[0]
    bare = name.lstrip("-").replace("_", "-")
    known = [name.lstrip("-") for option in OPTIONS for name in (_flag(option), *option.aliases)]
    known += ["processes", "factory", "chdir", "log-level", "help", "version"]
    if bare in known:
        return f"there is no option {name}; did you mean --{bare}?"
    if bare in UWSGI_OPTIONS:
        hint = UWSGI_OPTIONS[bare]
        if hint:
            return f"uWSGI's option {name} does not exist here; {hint}"
        close = difflib.get_close_matches(bare, known, n=1, cutoff=0.75)
        return f"uWSGI's option {name} is not supported{f'; did you mean --{close[0]}?' if close else ''}"
    close = difflib.get_close_matches(bare, known, n=1)
    return f"there is no option {name}; {f'did you mean --{close[0]}?' if close else 'see trio-uwsgi --help'}"


def _did_you_mean(text: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _change_directory(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise _UsageError(f"--chdir {folder}: {error.strerror}") from None


def _explain(error: BaseException, whole: Exception) -> int:
    """Turn what the user can repair into one line and an exit code; the rest leaves with its traceback."""
    if isinstance(error, ListenError):
        return _complain(error, CANNOT_LISTEN)
    if isinstance(error, ConfigError):
        return _complain(error, BAD_OPTIONS)
    if isinstance(error, RegistrationError):
        return _complain(error, CANNOT_START)
    if isinstance(error, BootError):
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return _complain(error, CANNOT_START)
    raise whole


def _complain(error: BaseException, code: int) -> int:
    sys.stderr.write(f"trio-uwsgi: {' '.join(str(error).split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
