"""Set up the process of a standalone server: directory, umask, environment, pidfile, user and group.

There are two steps: `set_up_process` before anything else, and `finish_process_setup` when the sockets are open, which
may need rights that the application is not to have.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeAlias

from trio_uwsgi._program.pidfile import open_pidfile
from trio_uwsgi._system.privileges import become, identity_of, out_of_reach, user_name
from trio_uwsgi.errors import BootError, ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._program.hooks import Hooks
    from trio_uwsgi.config.options import ProcessOptions

__all__ = [
    "FinishSetup",
    "finish_process_setup",
    "finish_with_hooks",
    "log_to",
    "refuse_process_options",
    "set_up_process",
]

# Files that the other user needs for starting members and importing modules; checked once, for one clear error.
_PROGRAM = ((sys.executable, os.X_OK), (__file__, os.R_OK))

FinishSetup: TypeAlias = Callable[[Sequence["Listener"]], AbstractAsyncContextManager[None]]


def set_up_process(options: ProcessOptions) -> None:
    """Change the directory, and set umask and environment.

    Raises:
        ConfigError: the directory cannot be entered.
    """
    if options.chdir is not None:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise ConfigError(
                f"cannot change to the directory {options.chdir}: {error.strerror}", "use an existing one"
            ) from None
    if options.umask is not None:
        os.umask(options.umask)
    os.environ.update(options.env)


def log_to(path: str) -> None:
    """Let standard output and standard error, which members inherit, go to the end of a file.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigError(f"cannot write to the log file {path}: {error.strerror}", "name another file") from None
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def refuse_process_options(options: ProcessOptions) -> None:
    """Refuse options of the process in an embedded server, whose process belongs to the embedder.

    Raises:
        ConfigError: such an option is set.
    """
    if options.given:
        raise ConfigError(
            f"{' and '.join(options.given)}: only for a standalone server, and this one is embedded",
            "leave it out and do it in your program, or run it as the main program: trio.run(trio_uwsgi.serve, app)",
        )


@contextlib.contextmanager
def finish_process_setup(options: ProcessOptions, listeners: Sequence[Listener]) -> Iterator[None]:
    """Write the pidfile for the time of the body, and switch to the user and group, who then own the socket files, too.

    Raises:
        ConfigError: there is no such user or group, or switching to it fails; or the pidfile cannot be written.
        BootError: that user cannot read this package or run Python.
    """
    someone = options.uid is not None or options.gid is not None
    identity = identity_of(options.uid, options.gid) if someone else None
    if identity is not None and (file := out_of_reach(identity, _PROGRAM)) is not None:
        raise BootError(f"{user_name(identity.uid)} has no access to {file}; install it where that user can read it")
    with contextlib.nullcontext() if options.pidfile is None else open_pidfile(options.pidfile):
        if identity is not None:
            for listener in listeners:
                listener.give_to(identity.uid, identity.gid)
            become(identity)
        yield


@contextlib.asynccontextmanager
async def finish_with_hooks(
    options: ProcessOptions, hooks: Hooks, listeners: Sequence[Listener]
) -> AsyncIterator[None]:
    """As `finish_process_setup`, with the hooks before and after it.

    Raises:
        BootError: a hook failed.
    """
    await hooks.run("as-root")
    with finish_process_setup(options, listeners):
        await hooks.run("as-user")
        await hooks.run("pre-app")
        yield
