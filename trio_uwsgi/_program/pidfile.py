"""The pidfile: a file with the pid of a server, as long as it runs.

The server keeps the file locked. So the lock says whether the server of a pidfile runs, also when its pid was reused by
another process. uWSGI overwrites the pidfile of a running server.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator

from trio_uwsgi.errors import ConfigError

__all__ = ["held_pid", "open_pidfile"]

logger = logging.getLogger("trio_uwsgi")


@contextlib.contextmanager
def open_pidfile(path: str) -> Iterator[None]:
    """Write a file with the pid of this process, and a newline, for the time of the body.

    The file is created atomically. At the end it is removed, if it is still the same file.

    Raises:
        ConfigError: it is the pidfile of a running server; or it cannot be written.
    """
    file = os.path.abspath(path)  # the application may change the current directory
    try:
        _refuse_held(file)
        written = _write(file)
    except OSError as error:
        raise ConfigError(
            f"cannot write the pidfile {file}: {error.strerror}", "use a directory that this user may write to"
        ) from None
    try:
        yield
    finally:
        _remove(file, written)
        os.close(written)


def held_pid(file: str) -> tuple[int, bool]:
    """The pid in a pidfile, and whether the server that wrote it runs.

    Raises:
        ConfigError: it cannot be read, or has no pid.
    """
    try:
        text, held = _look_at(file)
    except OSError as error:
        raise ConfigError(
            f"cannot read the pidfile {file}: {error.strerror}",
            "name the file of the option pidfile of a running server",
        ) from None
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
        raise ConfigError(f"{file} is no pidfile: there is no pid in it", "name the file of the option pidfile")
    return int(text), held


def _look_at(file: str) -> tuple[str, bool]:
    """What is written there, and whether it is locked."""
    # O_NONBLOCK: the open must not wait for a writer if it is a fifo.
    found = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        text = os.read(found, 20).decode("ascii", "replace").strip()
        try:
            fcntl.flock(found, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return text, True
        return text, False
    finally:
        os.close(found)


def _refuse_held(file: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        pid, held = _look_at(file)
        if held:
            raise ConfigError(
                f"the pidfile {file} belongs to running process {pid}", "stop that first, or use another file"
            )


def _write(file: str) -> int:
    """Returns a descriptor that holds the lock."""
    fresh = f"{file}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)  # left by a killed process with the same pid, as is usual in containers
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
        logger.warning("cannot remove the pidfile %s as this user: %s", file, error.strerror)
