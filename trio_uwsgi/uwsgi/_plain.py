"""The functions of the API that wait, for synchronous code. Those of caches are in `_plain_caches.py`.

Most wait for their async function with `wait` of `_waiting.py`. What needs only a file does not: the spooler's
functions read and write in the calling thread, or for a view on Trio's own one in another.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import os
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from trio_uwsgi._apps.async_cores import current_waits
from trio_uwsgi._spool.functions import SpoolMethod
from trio_uwsgi._spool.request import make_request, named_vars
from trio_uwsgi._spool.scan import job_paths, read_job
from trio_uwsgi.uwsgi import _cores, _farms, _hooks, _locks, _mules, _rpc, _shared_areas, _signals, _spool
from trio_uwsgi.uwsgi._base import on_trios_thread
from trio_uwsgi.uwsgi._waiting import off_trios_thread, wait_as

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from trio_uwsgi._apps.async_cores import Wait
    from trio_uwsgi._signals.mule_functions import MuleMessage
    from trio_uwsgi._spool.functions import Job
    from trio_uwsgi._spool.request import JobVars, SpoolRequest

__all__ = [
    "async_connect",
    "async_sleep",
    "call",
    "farm_get_msg",
    "lock",
    "locked",
    "mule_get_msg",
    "recv",
    "remote_signal",
    "remote_spool",
    "rpc",
    "send",
    "sharedarea_wait",
    "signal_wait",
    "spool",
    "spooler_get_task",
    "spooler_jobs",
    "suspend",
    "wait_fd_read",
    "wait_fd_write",
    "wait_stopping",
]

P = ParamSpec("P")
T = TypeVar("T")


def _plain(func: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """A function that waits for this one of `uwsgi`, with the same arguments."""
    name = func.__name__

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return wait_as(f"sync.{name}()", functools.partial(func, *args, **kwargs))

    del call.__wrapped__  # it is async, and this is not
    call.__signature__ = inspect.signature(func)  # type: ignore[attr-defined]
    first = (func.__doc__ or "").partition("\n")[0].rstrip(".")
    call.__doc__ = f"{first}; as `uwsgi.{name}`."
    return call


_call = _plain(_rpc.call)


@functools.wraps(_call)
def call(name: str | bytes, *args: str | bytes) -> bytes:
    result = _rpc.call_plainly(name, *args)
    return _call(name, *args) if result is None else result


rpc = _plain(_rpc.rpc)
remote_signal = _plain(_rpc.remote_signal)
remote_spool = _plain(_spool.remote_spool)
farm_get_msg = _plain(_farms.farm_get_msg)
async_connect = _plain(_cores.async_connect)
send = _plain(_cores.send)
recv = _plain(_cores.recv)
wait_stopping = _plain(_hooks.wait_stopping)
lock = _plain(_locks.lock)


def mule_get_msg(*, farms: bool = True, timeout: float = math.inf) -> MuleMessage | None:
    """Wait for the next message to this mule; as `uwsgi.mule_get_msg`. A thread takes one that waits already itself."""
    message = _mules.waiting_message(farms=farms, timeout=timeout)
    if message is not None:
        return message
    return wait_as("sync.mule_get_msg()", functools.partial(_mules.mule_get_msg, farms=farms, timeout=timeout))


class locked(contextlib.ContextDecorator):  # used like a function
    """Hold a user lock in the body of a `with` block, or in calls of a function that it decorates; as `uwsgi.locked`.

    Args:
        num: the number of the lock, 0 to `Config.locks`.
    Raises:
        LockError, NotServing, CannotWait: when the block is entered, as `lock`.
    Checkpoint: only when contended, on entry as `lock`; never on exit.
    Cancellation: on entry, the code does not hold the lock; in the body, the lock is released.
    uWSGI: `uwsgidecorators.lock`, a decorator, which holds lock 0 while its function runs.
    Example:
        with sync.locked(1):
            print("no other member is here")
    """

    def __init__(self, num: int = 0) -> None:
        self._num = num

    def __enter__(self) -> None:
        lock(self._num)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _locks.unlock(self._num)


def signal_wait(signum: int | None = None) -> int:
    """Wait until this member has run the handler of a signal; as `uwsgi.signal_wait`."""
    number = wait_as("sync.signal_wait()", _signals.signal_wait, signum)
    _signals.note_received(number)  # the async function has noted it in a copy of this code's context
    return number


# ----- shared areas


def sharedarea_wait(id: int, seen: int | None = None) -> int:
    """Wait until a shared area is changed; as `uwsgi.sharedarea_wait`."""
    return wait_as("sync.sharedarea_wait()", _shared_areas.sharedarea_wait, id, seen)


# ----- the spooler


def spool(vars: JobVars | None = None, /, **more: object) -> bytes:
    """Queue a job; as `uwsgi.spool`. The calling thread writes the job's file."""
    return _submit(make_request(named_vars(vars, more)))


def _submit(request: SpoolRequest) -> bytes:
    directory = _spool.directory_for(request)
    path = off_trios_thread(directory.write, request)
    if directory.unwatched:
        on_trios_thread(directory.written, path)
    return path


SpoolMethod.submit_sync = staticmethod(_submit)


def spooler_jobs(spooler: str | None = None) -> list[bytes]:
    """List the paths of all jobs in a spooler's directory; as `uwsgi.spooler_jobs`. The calling thread reads it."""
    return off_trios_thread(job_paths, _spool.folder_of_jobs(spooler))


def spooler_get_task(path: str | bytes) -> Job | None:
    """Read a job without running it; as `uwsgi.spooler_get_task`. The calling thread reads it."""
    return off_trios_thread(read_job, _spool.folder_of_job(path), os.fsdecode(path))


# ----- async cores


def async_sleep(secs: float) -> None:
    """Wait for a time; as `await uwsgi.async_sleep(...)`."""
    _commit("async_sleep", _cores.async_sleep(secs))


def wait_fd_read(fd: int, timeout: float = 0) -> None:
    """Wait until a descriptor can be read; as `await uwsgi.wait_fd_read(...)`."""
    _commit("wait_fd_read", _cores.wait_fd_read(fd, timeout))


def wait_fd_write(fd: int, timeout: float = 0) -> None:
    """Wait until a descriptor can be written to; as `await uwsgi.wait_fd_write(...)`."""
    _commit("wait_fd_write", _cores.wait_fd_write(fd, timeout))


def suspend() -> None:
    """Wait for the first of the waits that were registered with functions of `uwsgi`; as `uwsgi.suspend`."""
    wait_as("sync.suspend()", current_waits().commit)


def _commit(name: str, wait: Wait) -> None:
    wait.waits.withdraw(wait)
    wait_as(f"sync.{name}()", wait.waits.first_of, [wait])
