"""Scripts that members run: a file, or a function that is named as `module:function`. They are the programs of mules,
and `Config.python` is one that worker 1 runs.

A file runs as with `python FILE`, in a thread of its member, but not in place of the process's `__main__`: members that
are tasks share one process.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi.errors import BootError, UwsgiError

if TYPE_CHECKING:
    from trio_uwsgi._signals.mule_functions import Program

__all__ = ["Script", "found_scripts"]


class ScriptExited(UwsgiError):
    """A script has called `sys.exit` with something that stands for a failure."""


class Script:
    """A script as a program. It may block.

    Args:
        name: the path of a file, or `module:function`.
        before: runs before it. As in uWSGI, the script of a mule waits for what `uwsgidecorators` gives it to run.
    """

    def __init__(self, name: str, before: Program | None = None) -> None:
        self.name = self.__name__ = name
        self._before = before

    def __call__(self) -> None:
        if self._before is not None:
            self._before()
        try:
            self._run()
        except SystemExit as error:
            if isinstance(error.__context__, trio.Cancelled):  # the script exits because its member stops
                raise error.__context__ from None
            if error.code not in (None, 0):
                raise ScriptExited(f"the script {self.name} exited with {error.code!r}") from error

    def _run(self) -> None:
        if (named := _function(self.name)) is not None:
            module, function = named
            getattr(importlib.import_module(module), function)()
            return
        code = compile(Path(self.name).read_bytes(), self.name, "exec")
        exec(code, {"__name__": "__main__", "__file__": self.name, "__builtins__": __builtins__})


def found_scripts(option: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names of an option's scripts with their full paths, as the application may change the directory.

    Raises:
        BootError: there is no such file.
    """
    return tuple(name if _function(name) is not None else _found(option, name) for name in names)


def _function(name: str) -> tuple[str, str] | None:
    module, colon, function = name.rpartition(":")
    return (module, function) if colon and "/" not in name and function.isidentifier() else None


def _found(option: str, name: str) -> str:
    path = os.path.abspath(name)
    if not os.path.isfile(path):
        raise BootError(f"there is no script {path}; write --{option} FILE, or --{option} module:function")
    return path
