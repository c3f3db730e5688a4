"""Parse the command line: words into fields of `Config`, with all errors at once.

The options are rows of `command_options.py`; `command_hints.py` knows those of other servers. `Config` validates the
values, and `__main__.py` runs what was parsed.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from trio_uwsgi._program.command_hints import FOREIGN_OPTIONS
from trio_uwsgi._program.command_options import OPTIONS, Option, flag_of
from trio_uwsgi._program.option_values import one_of, whole
from trio_uwsgi._system.build import how_built
from trio_uwsgi._uwsgi_config.table import OPTIONS as UWSGI_OPTIONS
from trio_uwsgi._uwsgi_config.table import hint_for
from trio_uwsgi.config import Config

__all__ = ["NO_APPLICATION", "UsageError", "fields_of", "parse", "takes_value", "unknown_option"]

NO_APPLICATION = "no application; write trio-uwsgi module:app, or trio-uwsgi path/to/file.py"
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_DEFAULTS = Config()
# Options that set no field of `Config`: do they take a value?
_OTHERS = {
    "--mount": True,
    "--config": True,
    "--print-config": False,
    "--factory": False,
    "--pythonpath": True,
    "--virtualenv": True,
    "--pyargv": True,
    "--pp": True,
    "--venv": True,
    "--home": True,
    "-H": True,
    "--import": True,
    "--logto": True,
    "-p": True,
    "--processes": True,
    "--log-level": True,
    "--help": False,
    "-h": False,
    "--version": False,
}


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors as lines."""

    def error(self, message: str) -> NoReturn:
        raise UsageError([message])


class UsageError(Exception):
    """The command line is invalid; `lines` say why."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class _Unreadable(str):
    """Stands for a value that cannot be parsed, so that the other values are parsed too. Its text is the error."""

    __slots__ = ()


def fields_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Config` that the command line sets; Any: each field has its own type."""
    given = vars(arguments)
    fields = {
        option.field: option.collect(given[option.field]) if option.collect else given[option.field]
        for option in OPTIONS
        if option.field in given
    }
    if arguments.processes is not None:
        if "workers" in fields:
            raise UsageError(["--processes and --workers both set the number of workers; use one of them"])
        fields |= {"workers": arguments.processes, "placement": "process"}
    if fields.get("reload"):
        fields.setdefault("placement", "process")
    return fields


def takes_value(name: str) -> bool | None:
    """Does the option with this long name take a value? None if there is no such option."""
    return _all_options().get(f"--{name}")


def _all_options() -> dict[str, bool]:
    names = {name: option.metavar is not None for option in OPTIONS for name in (flag_of(option), *option.aliases)}
    return names | _OTHERS


def parse(argv: Sequence[str], *, needs_app: bool = True) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: its words.
        needs_app: an application has to be named.
    Raises:
        UsageError: with all the errors that were found.
    """
    parser = _parser()
    words, wrong = _without_incomplete(argv)
    arguments, unknown = parser.parse_known_args(words)
    unknown_options = [text for text in unknown if text.startswith("-")]
    wrong += map(unknown_option, unknown_options)
    wrong += _unreadable(arguments)
    # The value of an unknown option would be taken for the application.
    if needs_app and not unknown_options and arguments.app is None:
        wrong.append(NO_APPLICATION)
    if not unknown_options and unknown:
        wrong.append(f"only one application can be served; {unknown[0]!r} is unexpected")
    if wrong:
        raise UsageError(wrong)
    return arguments


def _mount(text: str) -> tuple[str, str]:
    prefix, found, name = text.partition("=")
    if not found or not name or not prefix.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form /PREFIX=APP, as in /shop=shop:app")
    return prefix.rstrip("/"), name


def _without_incomplete(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without those options whose value is missing or unexpected; and an error for each of these."""
    takes = _all_options()
    left = list(reversed(argv))
    words: list[str] = []
    wrong = []
    while left:
        word = left.pop()
        name, equals, _ = word.partition("=")
        if equals and takes.get(name) is False:
            wrong.append(f"{name} takes no value")
        elif takes.get(word) and (not left or _is_option(left[-1])):
            wrong.append(f"{word} needs a value")
        else:
            words += [word, left.pop()] if takes.get(word) else [word]
    return words, wrong


def _is_option(word: str) -> bool:
    """Whether argparse takes this word for an option, and not for a value."""
    return word.startswith("-") and " " not in word and not re.fullmatch(r"-\d+|-\d*\.\d+", word)


def _unreadable(arguments: argparse.Namespace) -> list[str]:
    found: list[str] = []
    for given in vars(arguments).values():
        found += [value for value in (given if isinstance(given, list) else [given]) if isinstance(value, _Unreadable)]
    return found


def _lenient(option: str, read: Callable[[str], object]) -> Callable[[str], object]:
    """Wrap a parsing function so that parsing continues after an error."""

    def lenient(text: str) -> object:
        try:
            return read(text)
        except argparse.ArgumentTypeError as error:
            return _Unreadable(f"{option}: {str(error).removeprefix(option.strip('-') + ': ')}")

    return lenient


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="trio-uwsgi",
        usage="trio-uwsgi APP [options]\n       trio-uwsgi --ini FILE [options of uWSGI]\n"
        "       trio-uwsgi check [--format text|json] FILE\n"
        "       trio-uwsgi --stop|--reload|--pause PIDFILE\n"
        "       trio-uwsgi spool ls|show|retry|purge DIR [options]",
        description="Serve a WSGI or ASGI application, with signals, timers, cron, mules and time limits, on Trio.",
        epilog="Option names are uWSGI's. SIGINT and SIGTERM stop gracefully; a second one stops immediately, as does "
        "SIGQUIT. SIGHUP reloads. SIGTTIN and SIGTTOU add and remove a worker. SIGTSTP pauses and resumes accepting. "
        "SIGUSR1 logs statistics; SIGUSR2 prints stacks.",
        allow_abbrev=False,
        add_help=False,
    )
    names = (
        "application",
        "listeners",
        "static files",
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
    add("--factory", action="store_true", help="the attribute is a function that returns the application")
    add(
        "--mount",
        action="append",
        type=_lenient("--mount", _mount),
        default=[],
        metavar="/PREFIX=APP",
        help="another application, for paths below the prefix; repeatable",
    )
    _add_python_options(groups["application"])
    groups["members"].add_argument(
        "-p",
        "--processes",
        metavar="N",
        type=_lenient("--processes", whole),
        help="number of workers; one process per worker, mule and spooler",
    )
    for option in OPTIONS:
        _add_option(groups[option.group], option)
    level = f"lowest level of lines in the log: {', '.join(LOG_LEVELS)} [info]"
    read = _lenient("--log-level", one_of(*LOG_LEVELS))
    groups["logging"].add_argument("--logto", metavar="FILE", help="append the log, and all output, to this file")
    groups["logging"].add_argument("--log-level", metavar="LEVEL", type=read, default="info", help=level)
    text = "read options from this TOML file, or its table [tool.trio_uwsgi] [pyproject.toml]"
    groups["others"].add_argument("--config", metavar="FILE", help=text)
    text = "print all options that differ from the defaults, with the place of each, and exit"
    groups["others"].add_argument("--print-config", action="store_true", help=text)
    groups["others"].add_argument("-h", "--help", action="help", help="show this help and exit")
    groups["others"].add_argument("--version", action="version", version=_version(), help="show the version and exit")
    return parser


def _add_python_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--pythonpath", "--pp", action="append", default=[], metavar="DIR", help="look for modules here; repeatable")
    add("--virtualenv", "-H", "--venv", "--home", metavar="DIR", help="use the packages of this virtual environment")
    add("--pyargv", metavar="ARGUMENTS", help="sys.argv of the application, behind its first item, as one word")
    text = "import this module before the application; repeatable"
    add("--import", action="append", default=[], dest="imports", metavar="MODULE", help=text)


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    names = [*option.aliases, flag_of(option)]
    if option.metavar is None:
        turned = not getattr(_DEFAULTS, option.field)
        group.add_argument(
            *names, dest=option.field, action="store_const", const=turned, default=argparse.SUPPRESS, help=option.help
        )
        return
    value = getattr(_DEFAULTS, option.field)
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
    group.add_argument(
        *names,
        dest=option.field,
        action="append" if option.collect else "store",
        default=argparse.SUPPRESS,  # so that only Config knows the defaults
        type=_lenient(flag_of(option), option.read),
        metavar=option.metavar,
        help=f"{option.help} [{shown}]" if shown not in (None, "", {}) else option.help,
    )


def _version() -> str:
    try:
        return f"trio-uwsgi {importlib.metadata.version('trio-uwsgi')} ({how_built()})"
    except importlib.metadata.PackageNotFoundError:
        return "trio-uwsgi (not installed)"


def unknown_option(text: str) -> str:
    """What is said of an option that does not exist."""
    name = text.partition("=")[0]
    if not name.startswith("--"):
        name = name[:2]  # as in -b:80
    bare = name.lstrip("-").replace("_", "-")
    known = [name.lstrip("-") for name in _all_options()]
    if bare in known:
        return f"there is no option {name}; did you mean --{bare}?"
    if bare == "compat":
        return "--compat is for a configuration of uWSGI, as in trio-uwsgi --ini uwsgi.ini --compat"
    if bare in FOREIGN_OPTIONS and bare not in UWSGI_OPTIONS:
        return f"another server's option {name} does not exist here; {FOREIGN_OPTIONS[bare]}"
    if hint := hint_for(bare):
        return f"uWSGI's option {name} does not exist here; {hint}"
    close = difflib.get_close_matches(bare, known, n=1, cutoff=0.7)
    return f"there is no option {name}; {f'did you mean --{close[0]}?' if close else 'see trio-uwsgi --help'}"
