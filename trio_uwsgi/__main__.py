"""The command line: `trio-uwsgi APP [options]`, or `python -m trio_uwsgi APP [options]`.

`trio-uwsgi spool` is a separate command, in `_spool/command.py`, and so are `trio-uwsgi check` and `trio-uwsgi --stop
PIDFILE` in `_program/check_command.py` and `_program/pidfile_command.py`.
A command line of uWSGI, after `trio-uwsgi uwsgi` or one that names a configuration file, is translated first.

The words are parsed in `_program/command_line.py`, and `Config` validates the values. This module serves, and turns a
refusal into lines on standard error, in the words of `_program/command_hints.py`, and into an exit code.

Exit codes: 0 after a graceful stop; 1 when the runtime itself failed, with a traceback; 2 for invalid options; 3 when
listening on an address fails; 4 when the application cannot be imported or does not start; 130, 131 or 143 when
SIGQUIT, or a second SIGINT or SIGTERM, stopped the server immediately. SIGINT or SIGTERM before anything is served,
for example during an import, exits with 0 at once. The code is the same where the interpreter's own shutdown has to be
cut short. `trio-uwsgi spool`: 0 when all was done; 1 when a job was not found or could not be changed; 2 for invalid
options and for a path that is not a directory. `trio-uwsgi check`: 0 when the server would start, 1 when it would not,
2 for a configuration that cannot be read. `trio-uwsgi --stop` and the like: 0 when the server was signalled, 1 when it
does not run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import trio

from trio_uwsgi import _member_entry, uwsgi
from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._process.loader import load_beside
from trio_uwsgi._process.member_process import CANNOT_START
from trio_uwsgi._process.zygote_control import RemoteTraceback
from trio_uwsgi._program.app_import import Importing, in_time, rehearsing
from trio_uwsgi._program.check_command import main as check_command
from trio_uwsgi._program.check_command import mistakes, with_impossible_values
from trio_uwsgi._program.command_hints import in_options, shortened
from trio_uwsgi._program.command_line import NO_APPLICATION, UsageError, parse
from trio_uwsgi._program.config_sources import (
    Given,
    from_command_line,
    from_environment,
    from_file,
    shown,
    together,
)
from trio_uwsgi._program.module_config import config_in, config_read_elsewhere, may_have_config
from trio_uwsgi._program.pidfile_command import asked as pidfile_command_in
from trio_uwsgi._program.pidfile_command import main as signal_server
from trio_uwsgi._program.process_one import prepare_command
from trio_uwsgi._program.process_setup import log_to, set_up_process
from trio_uwsgi._program.program import install_stop_handlers
from trio_uwsgi._program.python_setup import PythonSetup, set_up_python
from trio_uwsgi._program.uwsgi_files import is_for_uwsgi, translated
from trio_uwsgi._runtime.opt import write_options
from trio_uwsgi._spool.command import main as spool_command
from trio_uwsgi._system.interpreter_exit import AT_LEAST, end_process, exit_code, mark_started, seconds_left, set_mercy
from trio_uwsgi._system.standard_streams import standard_error
from trio_uwsgi._units.journal import only_error
from trio_uwsgi._units.log_handler import set_up_logging
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.compat.importing import entered_with
from trio_uwsgi.config import Config
from trio_uwsgi.config.options import ProcessOptions
from trio_uwsgi.errors import BootError, ConfigError, ListenError, RegistrationError
from trio_uwsgi.serve import serve

__all__ = ["main"]

FAILED = 1
BAD_OPTIONS = 2
CANNOT_LISTEN = 3
SIGNAL_BASE = 128  # plus the number of a posix signal, as in a shell
INTERRUPTED = SIGNAL_BASE + 2  # SIGINT

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_FIRST = ("chdir", "umask", "env")  # before the application is looked for

logger = logging.getLogger("trio_uwsgi")


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
    if words and words[0] == "check":
        return check_command(words[1:])
    if pidfile_command := pidfile_command_in(words):
        return signal_server(*pidfile_command)
    if words and words[0] == "print-path":
        print(os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin"))
        return 0
    try:
        given, printing = _options(words)
        start = _Invocation(_reference(given.others), given.fields)
        if "logto" in given.others and not printing:
            log_to(given.others["logto"])
        start.set_up_process(_python_setup(given.others))
    except (UsageError, ConfigError) as error:
        return _complain(error, BAD_OPTIONS)
    level = "warning" if printing else given.others.get("log_level", "info")
    set_up_logging(level.upper(), LOG_FORMAT, standard_error() if own_process else sys.stderr)
    if own_process:
        set_mercy(start.alone.mercy)
        install_stop_handlers()
    try:
        with contextlib.ExitStack() as modules:
            modules.enter_context(entered_with(start.facts))
            app, config = start.load(printing=printing)
            if printing:
                print(*shown(given, config, f"the config in {given.others['app']}"), sep="\n")
                return 0
            if not config.compat or config.placement == "process":  # not in the master
                modules.close()
            if own_process:
                set_mercy(config.mercy)
            with start.handed_on():
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


def _options(words: Sequence[str]) -> tuple[Given, bool]:
    """What all sources give together, and whether it is only to be printed.

    Raises:
        ConfigError: a file cannot be read.
        UsageError: an option is wrong, or no application is named.
    """
    write_options({})
    if words[:1] == ["uwsgi"] or is_for_uwsgi(words):
        arguments = parse(_of_uwsgi([word for word in words if word != "--print-config"]))
        return from_command_line(arguments, "uWSGI's configuration"), "--print-config" in words
    arguments = parse(words, needs_app=False)
    sources = [from_file(arguments.config), from_environment(os.environ), from_command_line(arguments)]
    given = together(sources)
    if "app" not in given.others:
        raise UsageError([NO_APPLICATION])
    return given, arguments.print_config


def _reference(others: Mapping[str, Any]) -> AppReference:
    mounts, imports = tuple(others.get("mount", ())), tuple(others.get("imports", ()))
    return AppReference("name", others["app"], factory=others.get("factory", False), mounts=mounts, imports=imports)


def _python_setup(others: Mapping[str, Any]) -> PythonSetup:
    return PythonSetup(
        pythonpath=tuple(others.get("pythonpath", ())),
        virtualenv=others.get("virtualenv"),
        pyargv=others.get("pyargv"),
    )


def _of_uwsgi(words: Sequence[str]) -> Sequence[str]:
    """A command line of uWSGI in our words.

    Raises:
        ConfigError: a file cannot be read.
        UsageError: an option is refused, or unknown, or has an impossible value.
    """
    given = words[1:] if words[:1] == ["uwsgi"] else words
    if {"--help", "--version"} & {*given}:
        return [word for word in given if word in ("--help", "--version")]
    translation = with_impossible_values(translated(given))
    if wrong := mistakes(translation):
        raise UsageError(wrong)
    write_options(translation.options)
    return translation.words


class _Invocation:
    """The application and the `Config` that the options describe. `alone` is the `Config` from the options only.

    Args:
        reference: the application.
        fields: fields of `Config` that the command line sets.
    """

    def __init__(self, reference: AppReference, fields: Mapping[str, Any]) -> None:
        self._reference = reference
        self._fields = fields
        self._refused: ConfigError | None = None
        self._importing: Importing | None = None
        self.alone = Config()
        try:
            self.alone = Config(**fields)
        except ConfigError as error:
            self._refused = error

    def set_up_process(self, python: PythonSetup) -> None:
        """Change to the application's directory, and set its environment and what Python is told.

        Raises:
            ConfigError: that is not possible; or the options are invalid, and the application's module has no `config`
                that could change that.
        """
        set_up_process(ProcessOptions(**{name: self._fields[name] for name in _FIRST if name in self._fields}))
        set_up_python(python)
        self._may_have_config = may_have_config(self._reference.target)
        if self._refused is not None and not self._may_have_config:
            raise self._refused

    @property
    def _is_imported_elsewhere(self) -> bool:
        """Do processes import the application (here it would only take memory), or `serve`, as the user that it runs
        as, and after its hooks?
        """
        given = self._fields
        another_user = given.get("uid") is not None or given.get("gid") is not None
        return given.get("placement") == "process" or another_user or bool(given.get("hooks"))

    @property
    def _facts(self) -> Facts | None:
        """What the module `uwsgi` says while the application is imported; None without the module."""
        compatible = self._fields.get("compat", True)
        return Facts.of(self.alone, os.getpid(), time.time()) if compatible else None

    @property
    def facts(self) -> Facts | None:
        """As `_facts`, for an import in this process."""
        return None if self._is_imported_elsewhere else self._facts

    def handed_on(self) -> AbstractContextManager[None]:
        """In the body, `serve` continues with what the import has stored and sent."""
        return contextlib.nullcontext() if self._importing is None else self._importing.handed_on()

    def load(self, *, printing: bool) -> tuple[object, Config]:
        """The application, or its name where other processes import it; and the `Config`, from the options and from the
        `config` in the application's module. `printing`: only that is wanted.

        Raises:
            BootError: it cannot be imported.
            ConfigError: the options do not fit each other.
        """
        given = self._fields
        app: object = self._reference
        if self._is_imported_elsewhere:
            beside = None
            if self._may_have_config:
                prepare, setup = f"{_member_entry.__name__}:prepare", _member_entry.setup_of(self._facts)
                beside = config_read_elsewhere(
                    self._reference.target,
                    given.get("uid"),
                    given.get("gid"),
                    prepare,
                    setup,
                    f"{_member_entry.__name__}:rehearsing",
                    self.alone,
                )
        else:
            importing: AbstractContextManager[object] = rehearsing(self.alone, uwsgi.registry)
            if not printing:
                importing = self._importing = Importing(self.alone, uwsgi.registry)
            with importing, in_time(self._reference.target, self.alone.import_timeout):
                self._reference.import_first()
                alone, module = load_beside(self._reference.target, factory=self._reference.factory)
                app = self._reference.with_mounts(alone)
            beside = config_in(module)
        if beside is None:
            if self._refused is not None:
                raise self._refused
            return app, self.alone
        logger.info("using the config in %s; options on the command line override it", self._reference.target)
        config = dataclasses.replace(beside, **given)
        return self._reference if config.placement == "process" else app, config


def _explain(error: BaseException, whole: Exception) -> int:
    """Print an error that the user can repair as one line, and return the exit code; raise any other."""
    if isinstance(error, ListenError):
        return _complain(error, CANNOT_LISTEN)
    if isinstance(error, ConfigError):
        return _complain(error, BAD_OPTIONS)
    if isinstance(error, RegistrationError):
        return _complain(error, CANNOT_START)
    if isinstance(error, BootError):
        if isinstance(error.__cause__, RemoteTraceback):
            sys.stderr.write(error.__cause__.args[0])
        elif error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return _complain(error, CANNOT_START)
    raise whole


def _complain(error: BaseException, code: int) -> int:
    if isinstance(error, UsageError):
        lines = error.lines
    elif isinstance(error, ConfigError):
        lines = [in_options(line) for line in str(error).splitlines()]
    else:
        lines = [shortened(str(error))]
    sys.stderr.writelines(f"trio-uwsgi: {' '.join(line.split())}\n" for line in lines)
    return code


if __name__ == "__main__":
    sys.exit(main())
