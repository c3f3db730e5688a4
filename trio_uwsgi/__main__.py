"""The command line: `trio-uwsgi APP [options]`, or `python -m trio_uwsgi APP [options]`. Floor 4.

`trio-uwsgi spool` is a command of its own, in `_spool_command.py`.

Every option is a field of `Config`, under uWSGI's name; `_command_options.py` says how it is read.
What a value may be is not decided here: `Config` refuses what is impossible, and this module makes one line and an
exit code of it.

Exit codes: 0 after a graceful stop; 1 when the runtime itself failed, with a traceback; 2 for options; 3 when an
address cannot be listened on; 4 when the application cannot be imported or does not start; 130, 131 or 143 when
SIGQUIT, or a second SIGINT or SIGTERM, cut off what ran. `trio-uwsgi spool`: 0 when all was done; 1 when a job was not
found, or could not be changed; 2 for options, and for a directory that is none.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import trio

from trio_uwsgi._command_options import OPTIONS, UWSGI_OPTIONS, Option, one_of, whole
from trio_uwsgi._runtime.app_name import AppReference
from trio_uwsgi._runtime.loader import load_app
from trio_uwsgi._runtime.own_process import move_in
from trio_uwsgi._runtime.process_one import begin_program
from trio_uwsgi._spool_command import main as spool_command
from trio_uwsgi._tasks.journal import sole
from trio_uwsgi.config import Config
from trio_uwsgi.errors import BootError, ConfigError, ListenError, RegistrationError
from trio_uwsgi.serve import serve

__all__ = ["main"]

BAD_OPTIONS = 2
CANNOT_LISTEN = 3
CANNOT_START = 4
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_DEFAULTS = Config()
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


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
    if argv is None:
        begin_program()
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] == "spool":
        return spool_command(words[1:])
    try:
        arguments = _parse(words)
        config = Config(**_fields(arguments))
        move_in(config.process_options)
    except (_UsageError, ConfigError) as error:
        return _complain(error, BAD_OPTIONS)
    logging.basicConfig(level=arguments.log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    try:
        if config.placement == "process" or config.uid is not None or config.gid is not None:
            # Imported by the processes, as here it would only take memory; or by `serve`, as the user it is to run as.
            app: object = AppReference("name", arguments.app, factory=arguments.factory)
        else:
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
    fields = {
        option.field: option.collect(given[option.field]) if option.collect else given[option.field]
        for option in OPTIONS
        if option.field in given
    }
    if arguments.processes is not None:
        if "workers" in fields:
            raise _UsageError("--processes and --workers both say how many workers there are; use one of them")
        fields |= {"workers": arguments.processes, "placement": "process"}
    if fields.get("reload"):
        fields.setdefault("placement", "process")
    return fields


def _parse(argv: Sequence[str]) -> argparse.Namespace:
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
        usage="trio-uwsgi APP [options]\n       trio-uwsgi spool ls|show|retry|purge DIR [options]",
        description="Serve a WSGI or ASGI application, with signals, timers, cron, mules and time limits, on Trio.",
        epilog="Option names are uWSGI's. SIGINT and SIGTERM stop gracefully; a second one at once; SIGHUP reloads.\n"
        "SIGTTIN and SIGTTOU: one worker more or less; SIGTSTP pauses; SIGUSR1 logs statistics, SIGUSR2 prints stacks.",
        allow_abbrev=False,
        add_help=False,
    )
    names = (
        "application",
        "listeners",
        "members",
        "process",
        "spooler",
        "alarms",
        "limits",
        "time",
        "logging",
        "others",
    )
    groups = {name: parser.add_argument_group(name) for name in names}
    add = groups["application"].add_argument
    add("app", metavar="APP", nargs="?", help="module:attribute, module, or path/to/file.py[:attribute]")
    add("--factory", action="store_true", help="the attribute is a function that makes the application")
    groups["members"].add_argument(
        "-p", "--processes", metavar="N", type=whole, help="as many workers, and each member in a process of its own"
    )
    for option in OPTIONS:
        _add_option(groups[option.group], option)
    level = f"{', '.join(LOG_LEVELS)} [info]"
    groups["logging"].add_argument("--log-level", metavar="LEVEL", type=one_of(*LOG_LEVELS), default="info", help=level)
    groups["others"].add_argument("-h", "--help", action="help", help="show this and exit")
    groups["others"].add_argument("--version", action="version", version=_version(), help="show the version and exit")
    return parser


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    names = [*option.aliases, _flag(option)]
    if option.metavar is None:
        turned = not getattr(_DEFAULTS, option.field)
        group.add_argument(
            *names, dest=option.field, action="store_const", const=turned, default=argparse.SUPPRESS, help=option.help
        )
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
    known += ["processes", "factory", "log-level", "help", "version"]
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
