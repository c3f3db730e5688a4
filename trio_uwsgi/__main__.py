"""The command line: `trio-uwsgi APP [options]`, or `python -m trio_uwsgi APP [options]`.

`trio-uwsgi spool` is a separate command, in `_spool/command.py`.

Every option is a field of `Config`, under uWSGI's name; `_program/command_options.py` says how its value is parsed.
`Config` validates the values. This module turns a refusal into lines on standard error, in the words of
`_program/command_hints.py`, and into an exit code.

Exit codes: 0 after a graceful stop; 1 when the runtime itself failed, with a traceback; 2 for invalid options; 3 when
listening on an address fails; 4 when the application cannot be imported or does not start; 130, 131 or 143 when
SIGQUIT, or a second SIGINT or SIGTERM, stopped the server immediately. SIGINT or SIGTERM before anything is served,
for example during an import, exits with 0 at once. The code is the same where the interpreter's own shutdown has to be
cut short. `trio-uwsgi spool`: 0 when all was done; 1 when a job was not found or could not be changed; 2 for invalid
options and for a path that is not a directory.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib.metadata
import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import trio

from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._process.loader import load_beside
from trio_uwsgi._program import app_import as own_import
from trio_uwsgi._program.command_hints import FOREIGN_OPTIONS, in_options, shortened
from trio_uwsgi._program.command_options import OPTIONS, UWSGI_OPTIONS, Option, flag_of, one_of, whole
from trio_uwsgi._program.module_config import config_in, config_read_elsewhere, may_have_config
from trio_uwsgi._program.process_one import prepare_command
from trio_uwsgi._program.process_setup import set_up_process
from trio_uwsgi._program.program import install_stop_handlers
from trio_uwsgi._spool.command import main as spool_command
from trio_uwsgi._system.interpreter_exit import AT_LEAST, end_process, exit_code, mark_started, seconds_left, set_mercy
from trio_uwsgi._units.journal import only_error
from trio_uwsgi.config import Config
from trio_uwsgi.config.options import ProcessOptions
from trio_uwsgi.errors import BootError, ConfigError, ListenError, RegistrationError
from trio_uwsgi.serve import serve

__all__ = ["main"]

FAILED = 1
BAD_OPTIONS = 2
CANNOT_LISTEN = 3
CANNOT_START = own_import.CANNOT_START
SIGNAL_BASE = 128  # plus the number of a posix signal, as in a shell
INTERRUPTED = SIGNAL_BASE + 2  # SIGINT

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_DEFAULTS = Config()
_FIRST = ("chdir", "umask", "env")  # before the application is looked for

logger = logging.getLogger("trio_uwsgi")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors as lines."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError([message])


class _UsageError(Exception):
    """The command line is invalid; `lines` say why."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class _Unreadable(str):
    """Stands for a value that cannot be parsed, so that the other values are parsed too. Its text is the error."""

    __slots__ = ()


def main(argv: Sequence[str] | None = None, serve: Callable[..., Any] = serve) -> int:
    """Run the command line, and give back its exit code (see the top of this module).

    Args:
        argv: the arguments without the program's name. None takes those of the process, and then ends the process with
            the exit code, within a time limit: see `_system/interpreter_exit.py`.
        serve: what `trio.run` is given; tests pass something else.
    Raises:
        SystemExit: after `--help` and `--version`, and when a second posix signal ended the runtime.
    """
    if argv is not None:
        return _run(argv, serve, own_process=False)
    prepare_command()
    code = FAILED
    try:
        code = _run(sys.argv[1:], serve, own_process=True)
    except SystemExit as error:
        code = exit_code(error)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:  # nothing unwinds any further: the interpreter's own shutdown has no time limit
        mark_started()
        end_process(code, AT_LEAST if code > SIGNAL_BASE else seconds_left())


def _run(words: Sequence[str], serve: Callable[..., Any], *, own_process: bool) -> int:
    if words and words[0] == "spool":
        return spool_command(words[1:])
    try:
        arguments = _parse(words)
        start = _Invocation(arguments.app, arguments.factory, _fields(arguments))
        start.set_up_process()
    except (_UsageError, ConfigError) as error:
        return _complain(error, BAD_OPTIONS)
    logging.basicConfig(level=arguments.log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    if own_process:
        set_mercy(start.alone.mercy)
        install_stop_handlers()
    try:
        app, config = start.load()
        if own_process:
            set_mercy(config.mercy)
        trio.run(serve, app, config)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _explain(only_error(error) if isinstance(error, BaseExceptionGroup) else error, error)
    except BaseExceptionGroup as group:
        leaf = only_error(group)
        if isinstance(leaf, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(leaf, SystemExit):
            raise leaf from None
        raise
    return 0


class _Invocation:
    """The application and the `Config` that the options describe. `alone` is the `Config` from the options only.

    Args:
        name: the application's name.
        factory: whether that is a function that makes the application.
        fields: fields of `Config` that the command line sets.
    """

    def __init__(self, name: str, factory: bool, fields: Mapping[str, Any]) -> None:
        self._reference = AppReference("name", name, factory=factory)
        self._fields = fields
        self._refused: ConfigError | None = None
        self.alone = Config()
        try:
            self.alone = Config(**fields)
        except ConfigError as error:
            self._refused = error

    def set_up_process(self) -> None:
        """Change to the application's directory and set its environment.

        Raises:
            ConfigError: that is not possible; or the options are invalid, and the application's module has no `config`
                that could change that.
        """
        set_up_process(ProcessOptions(**{name: self._fields[name] for name in _FIRST if name in self._fields}))
        self._may_have_config = may_have_config(self._reference.target)
        if self._refused is not None and not self._may_have_config:
            raise self._refused

    def load(self) -> tuple[object, Config]:
        """The application, or its name where other processes import it; and the `Config`, from the options and from the
        `config` in the application's module.

        Raises:
            BootError: it cannot be imported.
            ConfigError: the options do not fit each other.
        """
        given = self._fields
        app: object = self._reference
        if given.get("placement") == "process" or given.get("uid") is not None or given.get("gid") is not None:
            # The processes import it (here it would only take memory), or `serve` does, as the user that it runs as.
            beside = None
            if self._may_have_config:
                beside = config_read_elsewhere(self._reference.target, given.get("uid"), given.get("gid"))
        else:
            with own_import.in_time(self._reference.target, self.alone.import_timeout):
                app, module = load_beside(self._reference.target, factory=self._reference.factory)
            beside = config_in(module)
        if beside is None:
            if self._refused is not None:
                raise self._refused
            return app, self.alone
        logger.info("using the config in %s; options on the command line override it", self._reference.target)
        config = dataclasses.replace(beside, **given)
        return self._reference if config.placement == "process" else app, config


def _fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Config` that the command line sets; Any: each field has its own type."""
    given = vars(arguments)
    fields = {
        option.field: option.collect(given[option.field]) if option.collect else given[option.field]
        for option in OPTIONS
        if option.field in given
    }
    if arguments.processes is not None:
        if "workers" in fields:
            raise _UsageError(["--processes and --workers both set the number of workers; use one of them"])
        fields |= {"workers": arguments.processes, "placement": "process"}
    if fields.get("reload"):
        fields.setdefault("placement", "process")
    return fields


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        _UsageError: with all the errors that were found.
    """
    parser = _parser()
    words, wrong = _without_incomplete(argv)
    arguments, unknown = parser.parse_known_args(words)
    unknown_options = [text for text in unknown if text.startswith("-")]
    wrong += map(_unknown_option, unknown_options)
    wrong += _unreadable(arguments)
    # The value of an unknown option would be taken for the application.
    if not unknown_options and arguments.app is None:
        wrong.append("no application; write trio-uwsgi module:app, or trio-uwsgi path/to/file.py")
    if not unknown_options and unknown:
        wrong.append(f"only one application can be served; {unknown[0]!r} is unexpected")
    if wrong:
        raise _UsageError(wrong)
    return arguments


def _without_incomplete(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without those options whose value is missing or unexpected; and an error for each of these."""
    takes = {name: option.metavar is not None for option in OPTIONS for name in (flag_of(option), *option.aliases)}
    takes |= {"-p": True, "--processes": True, "--log-level": True}
    takes |= {"--factory": False, "--help": False, "-h": False, "--version": False}
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
        usage="trio-uwsgi APP [options]\n       trio-uwsgi spool ls|show|retry|purge DIR [options]",
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
    groups["members"].add_argument(
        "-p",
        "--processes",
        metavar="N",
        type=_lenient("--processes", whole),
        help="number of workers; one process per worker, mule and spooler",
    )
    for option in OPTIONS:
        _add_option(groups[option.group], option)
    level = f"{', '.join(LOG_LEVELS)} [info]"
    read = _lenient("--log-level", one_of(*LOG_LEVELS))
    groups["logging"].add_argument("--log-level", metavar="LEVEL", type=read, default="info", help=level)
    groups["others"].add_argument("-h", "--help", action="help", help="show this help and exit")
    groups["others"].add_argument("--version", action="version", version=_version(), help="show the version and exit")
    return parser


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    names = [*option.aliases, flag_of(option)]
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
        type=_lenient(flag_of(option), option.read),
        metavar=option.metavar,
        help=f"{option.help} [{shown}]" if shown not in (None, "", {}) else option.help,
    )


def _version() -> str:
    try:
        return f"trio-uwsgi {importlib.metadata.version('trio-uwsgi')}"
    except importlib.metadata.PackageNotFoundError:
        return "trio-uwsgi (not installed)"


def _unknown_option(text: str) -> str:
    name = text.partition("=")[0]
    if not name.startswith("--"):
        name = name[:2]  # as in -b:80
    bare = name.lstrip("-").replace("_", "-")
    known = [name.lstrip("-") for option in OPTIONS for name in (flag_of(option), *option.aliases)]
    known += ["processes", "factory", "log-level", "help", "version"]
    if bare in known:
        return f"there is no option {name}; did you mean --{bare}?"
    hint = UWSGI_OPTIONS.get(bare) or FOREIGN_OPTIONS.get(bare)
    if hint:
        whose = "uWSGI's option" if bare in UWSGI_OPTIONS else "another server's option"
        return f"{whose} {name} does not exist here; {hint}"
    if bare in UWSGI_OPTIONS:
        return f"uWSGI's option {name} is not supported"
    close = difflib.get_close_matches(bare, known, n=1, cutoff=0.7)
    return f"there is no option {name}; {f'did you mean --{close[0]}?' if close else 'see trio-uwsgi --help'}"


def _explain(error: BaseException, whole: Exception) -> int:
    """Print an error that the user can repair as one line, and return the exit code; raise any other."""
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
    if isinstance(error, _UsageError):
        lines = error.lines
    elif isinstance(error, ConfigError):
        lines = [in_options(line) for line in str(error).splitlines()]
    else:
        lines = [shortened(str(error))]
    sys.stderr.writelines(f"trio-uwsgi: {' '.join(line.split())}\n" for line in lines)
    return code


if __name__ == "__main__":
    sys.exit(main())
