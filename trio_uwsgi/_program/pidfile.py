"""A file that tells the pid of a program while it runs.

Who has written it keeps it locked, so it is known of any pidfile whether its program runs, and a pid that the system
has given to another program since misleads nobody. uWSGI overwrites the file of a server that runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator

from trio_uwsgi.errors import ConfigError

__all__ = ["open_pidfile"]

logger = logging.getLogger("trio_uwsgi")


@contextlib.contextmanager
def open_pidfile(path: str) -> Iterator[None]:
    """Have a file with the pid of this process, and a newline, while the body runs.

    It is there at once or not at all. At the end it is removed, if it is still ours.

    Raises:
        ConfigError: a program that runs has it; or it cannot be written.
    """
    file = os.path.abspath(path)  # the application may change the directory
    try:
        _refuse_held(file)
        written = _write(file)
    except OSError as error:
        raise ConfigError(
            f"the pidfile {file} cannot be written: {error.strerror}", "use a directory in which this user may write"
        ) from None
    try:
        yield
    finally:
        _remove(file, written)
        os.close(written)


def _refuse_held(file: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        # Not to wait for somebody to write, should it be a pipe.
        former = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(former, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(former, 20).decode("ascii", "replace").strip()
            raise ConfigError(
                f"the pidfile {file} is that of process {pid}, which runs", "stop it first, or use another file"
            ) from None
        finally:
            os.close(former)


def _write(file: str) -> int:
    """The descriptor has the lock."""
    fresh = f"{file}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)  # of a process with this pid that was killed; in a container all have the same
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, b"%d\n" % os.getpid())
        os.rename(fresh, file)
    except BaseException:
        os.unlink(fresh)
        os.close(descriptor)
        raise
    return descriptor


def _remove(file: str, written: int) -> None:
    try:
        if os.path.samestat(os.stat(file), os.fstat(written)):
            os.unlink(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("the pidfile %s stays, this user may not remove it: %s", file, error.strerror)
