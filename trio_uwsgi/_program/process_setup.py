"""What a process becomes that is there for the runtime and for nothing else.

In two steps: `set_up_process` before anything, and `finish_process_setup` when the sockets are open, which may need
rights that the application is not to have.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

from trio_uwsgi._program.pidfile import open_pidfile
from trio_uwsgi._system.privileges import become, identity_of, out_of_reach, user_name
from trio_uwsgi.errors import BootError, ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi.config.options import ProcessOptions

__all__ = ["FinishSetup", "finish_process_setup", "refuse_process_options", "set_up_process"]

# Members are started and modules imported as another user; what is out of reach would be found out piece by piece.
_PROGRAM = ((sys.executable, os.X_OK), (__file__, os.R_OK))

FinishSetup: TypeAlias = Callable[[Sequence["Listener"]], AbstractContextManager[None]]


def set_up_process(options: ProcessOptions) -> None:
    """Go to the directory, and set umask and environment.

    Raises:
        ConfigError: there is no such directory.
    """
    if options.chdir is not None:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise ConfigError(
                f"cannot go to the directory {options.chdir}: {error.strerror}", "use one that is there"
            ) from None
    if options.umask is not None:
        os.umask(options.umask)
    os.environ.update(options.env)


def refuse_process_options(options: ProcessOptions) -> None:
    """What is asked for where the process is somebody else's.

    Raises:
        ConfigError: anything is.
    """
    if options.given:
        raise ConfigError(
            f"{' and '.join(options.given)}: for a process that is the runtime's own, and this one is not",
            "leave it out and do it in your program, or let serve be the program: trio.run(trio_uwsgi.serve, app)",
        )


@contextlib.contextmanager
def finish_process_setup(options: ProcessOptions, listeners: Sequence[Listener]) -> Iterator[None]:
    """Have a pidfile while the body runs, and be who the options say from now on; socket files are that user's, too.

    Raises:
        ConfigError: there is no such user or group, or it cannot be become; or the pidfile cannot be written.
        BootError: that user cannot read what the program is made of.
    """
    someone = options.uid is not None or options.gid is not None
    identity = identity_of(options.uid, options.gid) if someone else None
    if identity is not None and (file := out_of_reach(identity, _PROGRAM)) is not None:
        raise BootError(f"{user_name(identity.uid)} has no access to {file}; install it where that user may read")
    with contextlib.nullcontext() if options.pidfile is None else open_pidfile(options.pidfile):
        if identity is not None:
            for listener in listeners:
                listener.give_to(identity.uid, identity.gid)
            become(identity)
        yield
