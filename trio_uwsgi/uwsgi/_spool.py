"""The API of the spooler: durable jobs that run later."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

import trio

from trio_uwsgi._protocol.remote_answers import Failure, SignalAnswer
from trio_uwsgi._protocol.remote_calls import SpoolCall
from trio_uwsgi._spool.functions import SPOOL_IGNORE, SPOOL_OK, SPOOL_RETRY, Job, SpoolMethod
from trio_uwsgi._spool.request import JobVars, SpoolRequest, make_request, named_vars
from trio_uwsgi._spool.scan import job_paths, read_job
from trio_uwsgi.errors import NodeClosed, SpoolRefused
from trio_uwsgi.uwsgi._awaiting import awaited, called_as
from trio_uwsgi.uwsgi._base import (
    as_number,
    as_text,
    ask_node,
    current_registry,
    current_unit,
    declaring,
    on_trios_thread,
    unit_here,
)

if TYPE_CHECKING:
    from trio_uwsgi._spool.directories import Spools
    from trio_uwsgi._spool.directory import Spool
    from trio_uwsgi._spool.files import SpoolFolder

__all__ = [
    "SPOOL_IGNORE",
    "SPOOL_OK",
    "SPOOL_RETRY",
    "Job",
    "i_am_the_spooler",
    "remote_spool",
    "set_spooler_frequency",
    "spool",
    "spool_handler",
    "spooler",
    "spooler_get_task",
    "spooler_jobs",
    "spooler_pid",
    "spooler_pids",
]

J = TypeVar("J", bound=Callable[[Job], object])


class Spooled(Protocol):
    """A function that `uwsgi.spool_handler` has decorated: it can be called as before, and queued as a job."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # Any: the user's own function, whatever it takes

    def spool(self, /, *args: object, **given: object) -> Awaitable[bytes]:
        """Queue a job for this function; `uwsgi.spool_handler` describes the arguments.

        Returns:
            The path of the job's file, once the job is on the disk.
        Raises:
            TypeError, SpoolError, JobTooLarge, NoSpooler, NotServing: as `uwsgi.spool`.
        Checkpoint: always.
        Cancellation: nothing was queued.
        """

    def spool_sync(self, /, *args: object, **given: object) -> bytes:
        """Queue a job for this function from synchronous code; otherwise as `spool`.

        Raises:
            TypeError, SpoolError, JobTooLarge, NoSpooler, NotServing: as `uwsgi.spool`.
        Checkpoint: never; it writes the job's file in the calling thread.
        """


@overload
def spool_handler(func: Callable[..., object], /) -> Spooled: ...
@overload
def spool_handler(
    func: None = None,
    /,
    *,
    name: str | None = None,
    pass_arguments: bool = False,
    pickle: bool = False,
    max_tries: int | None = None,
) -> Callable[[Callable[..., object]], Spooled]: ...
def spool_handler(
    func: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    pass_arguments: bool = False,
    pickle: bool = False,
    max_tries: int | None = None,
) -> Spooled | Callable[[Callable[..., object]], Spooled]:
    """Decorate a function for jobs: the spooler runs it, and its new method `spool()` queues a job for it.

    Synchronous code calls `f.spool_sync()`, which takes the same arguments.

    `await f.spool(number="17", at=tomorrow)` queues a job with these vars; the spooler calls `f` with the `Job`. With
    `pass_arguments=True`, `await f.spool(17, when="now")` makes the spooler call `f(17, when="now")`. In addition,
    `f.spool()` takes these options:

    - `at`: the time before which the job does not run, as seconds since the epoch or a datetime.
    - `priority`: a whole number; 0 runs first, and jobs without a priority run last.
    - `spooler`: the directory, if there are several.
    - `body`: bytes of any size; without `pass_arguments` only.

    The function returns `SPOOL_OK` or None when the job is done, `SPOOL_RETRY` to have it retried after a growing
    pause, or `SPOOL_IGNORE` to leave it for another program that shares the directory. An exception counts as
    `SPOOL_RETRY`. After `max_tries` attempts the spooler moves the job to `dead/` in the directory, with the last
    traceback in a file beside it. A job runs at least once; it may run again if the server crashes before the spooler
    has recorded the end.

    Args:
        func: `async def`, or `def`, which runs in a thread.
        name: the name of the function in its jobs; without it, its own name. Jobs survive restarts, so the name should
            not change.
        pass_arguments: call the function with the arguments that `f.spool()` was given. They are stored as JSON: tuples
            become lists, and keys become str (two keys that become the same str are a `SpoolError`). `at`, `priority`
            and `spooler` are options of `f.spool()`, so the function cannot have parameters of these names, and does
            not get them in its `**kwargs`.
        pickle: with `pass_arguments`, store the arguments with pickle, in at most 64 KiB, as `uwsgidecorators` does. It
            is not the default because anyone who can write into the directory, or may spool jobs from another node
            (`Config.modifiers`), can then run arbitrary code in the server.
        max_tries: the most attempts of a job; 0 for no limit; without it, `Config.spooler_max_tries`.
    Returns:
        The function itself, so decorators stack.
    Raises:
        RegistrationError: the name is taken, an argument is not valid, or a parameter of the function has the name of
            an option of `f.spool()`.
    Checkpoint: never; `f.spool()` always.
    Cancellation: of `f.spool()`, nothing was queued.
    uWSGI: `uwsgidecorators.spool`, `spoolforever` and `spoolraw`. There arguments are stored with pickle, a function
        replaces one of the same name, and a job that fails is retried for ever, whenever another job is queued.
    Example:
        @uwsgi.spool_handler
        async def send_invoice(job):
            print(job["number"], job.tries)
    """

    def register(func: Callable[..., object]) -> Spooled:
        decorate = current_registry().spool_handler(
            name=name, pass_arguments=pass_arguments, pickle=pickle, max_tries=max_tries
        )
        return cast("Spooled", on_trios_thread(lambda: decorate(func)))

    return register if func is None else register(func)


def spooler(func: J) -> J:
    """Decorate a function to run all jobs for which there is no `spool_handler`. There can be one such function.

    Args:
        func: called with the `Job`; it returns what a `spool_handler` returns.
    Raises:
        RegistrationError: there is one already, or `func` is not callable.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.spooler`, where returning None means that the job is retried.
    """

    return declaring(current_registry().spooler)(func)


@awaited
async def spool(
    vars: JobVars | None = None,
    /,
    **more: object,
) -> bytes:
    """Queue a job. When this returns, the job is on the disk, and a spooler will run it at least once.

    Args:
        vars: the names and values of the job, bytes or str (as UTF-8), at most 64 KiB in all. The names `body`,
            `spooler`, `priority` and `at` are options, which `spool_handler` describes. The mapping is not changed.
        more: more names and values; they override those in `vars`.
    Returns:
        The path of the job's file, as bytes.
    Raises:
        TypeError: a value is neither bytes nor str, or an option is of the wrong type.
        SpoolError: an option is not valid, `vars` has a name both as bytes and as str, or the file cannot be written
            because of a full disk, for example. Nothing was queued.
        JobTooLarge: the names and values are too long; use `body` for large data.
        NoSpooler: the runtime has no spooler, or none with this directory.
        NotServing: called neither by a member nor in the application's import; use `Runtime.spool` from outside.
    Checkpoint: always.
    Cancellation: nothing was queued.
    uWSGI: `uwsgi.spool`, `uwsgi.send_to_spooler`, which take bytes only, cut long values, remove `body` from the
        caller's dict, and do not flush the file to the disk.
    Example:
        path = await uwsgi.spool(to="ann@example.com", body=b"Hello Ann")
    """
    return await _submit(make_request(named_vars(vars, more)))


async def _submit(request: SpoolRequest) -> bytes:
    return await directory_for(request).submit(request)


def directory_for(request: SpoolRequest) -> Spool:
    """The directory in which a job is queued."""
    unit = current_unit("spool", "from other code use the spool() of the Runtime that serve() starts")
    return unit.member.services.spools.get(request.spooler)


SpoolMethod.submit = staticmethod(called_as("f.spool", "f.spool_sync", _submit))


@awaited
async def remote_spool(
    node: str, vars: JobVars | None = None, /, *, timeout: float | None = None, **more: object
) -> None:
    """Queue a job at another node, in its first directory. When this returns, the node has stored the job.

    Args:
        node: `host:port`, the path of a unix socket, or `@name`.
        vars: as in `spool`; at most 64 KiB in all including `body`, which is the limit of the uwsgi protocol.
        timeout: seconds, above 0; without it, `Config.node_timeout`.
        more: as in `spool`.
    Raises:
        TypeError, SpoolError, JobTooLarge: as `spool`; nothing was sent.
        SpoolRefused: the node has no spooler, or could not store the job.
        NodeUnreachable: the node cannot be connected to; nothing was sent.
        NodeTimeout, NodeClosed: there was no answer, or not a valid one; the job may or may not be queued.
    Checkpoint: always.
    Cancellation: the job may or may not have been queued.
    uWSGI: no counterpart, but uWSGI accepts these packets, which have modifier 17. A uWSGI node stores `body` as an
        ordinary var.
    """
    request = make_request(named_vars(vars, more))
    pairs = request.pairs if not request.body else (*request.pairs, (b"body", request.body))
    answer = await ask_node(node, SpoolCall(pairs=pairs), timeout)
    if isinstance(answer, Failure):
        raise SpoolRefused(node, f"it did not accept the job: {answer.reason}")
    if not isinstance(answer, SignalAnswer):
        raise NodeClosed(
            node, "it closed the connection without an answer: it accepts no jobs from this address, or has no spooler"
        )
    if not answer.accepted:
        raise SpoolRefused(node, "it did not accept the job: it has no spooler, or could not store it")


def _spools(call: str) -> Spools:
    return current_unit(call, "call it in a request, a handler or a job").member.services.spools


def folder_of_jobs(spooler: str | None) -> SpoolFolder:
    """The directory that `spooler_jobs` lists."""
    if spooler is not None:
        as_text("a spooler's directory", spooler)
    return _spools("spooler_jobs").get(spooler).folder


def folder_of_job(path: str | bytes) -> SpoolFolder:
    """The directory of the job that `spooler_get_task` reads."""
    if not isinstance(path, str | bytes):
        raise TypeError(f"the path of a job's file is str or bytes, not {path!r}")
    return _spools("spooler_get_task").of_path(os.fsdecode(path)).folder


@awaited
async def spooler_jobs(spooler: str | None = None) -> list[bytes]:
    """List the paths of all jobs in a spooler's directory, running ones too, in the order in which they will run.

    Args:
        spooler: the directory; None for the first one.
    Raises:
        NoSpooler: the runtime has no spooler, or none with this directory.
        SpoolError: the directory cannot be read.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: always. A thread reads the directory. For millions of jobs use the command `trio-uwsgi spool ls`, which
        lists them page by page.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.spooler_jobs`, which lists the first directory only, without jobs that have a priority.
    """
    return await trio.to_thread.run_sync(job_paths, folder_of_jobs(spooler))


@awaited
async def spooler_get_task(path: str | bytes) -> Job | None:
    """Read a job without running it.

    Args:
        path: the path of its file, as `spool` and `spooler_jobs` return it.
    Returns:
        The job, also if it is running; None if it does not exist or cannot be read.
    Raises:
        TypeError: the path is neither str nor bytes.
        NoSpooler: the runtime has no spooler, or the path is in none of its directories.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: always.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.spooler_get_task`, which returns None for a job that is running, and reads any file.
    """
    return await trio.to_thread.run_sync(read_job, folder_of_job(path), os.fsdecode(path))


def set_spooler_frequency(seconds: float) -> None:
    """Set the interval at which all spoolers scan their directories; see `Config.spooler_frequency`.

    Args:
        seconds: above 0, and at most a year.
    Raises:
        TypeError: `seconds` is not a number.
        ValueError: `seconds` is out of range.
        NoSpooler: the runtime has no spooler.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.set_spooler_frequency`. There it is also the delay before a job runs; here new jobs are noticed at
        once.
    """
    if not 0 < as_number("a frequency in seconds", seconds) <= 365 * 86400:
        raise ValueError(f"a frequency is more than 0 seconds and at most a year, not {seconds!r}")
    spools = _spools("set_spooler_frequency")
    on_trios_thread(lambda: spools.set_frequency(seconds))


def i_am_the_spooler() -> bool:
    """Return whether a spooler runs the calling code.

    Checkpoint: never.
    uWSGI: `uwsgi.i_am_the_spooler`, which returns True or None.
    """
    unit = unit_here()
    return unit is not None and unit.member.kind == "spooler"


def spooler_pid() -> int:
    """Return the process id of the first spooler; 0 if there is none.

    Where members are tasks, this is the process id of the server.

    Raises:
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never.
    uWSGI: `uwsgi.spooler_pid`.
    """
    return next(iter(spooler_pids()), 0)


def spooler_pids() -> list[int]:
    """Return the process ids of the spoolers, one for each; as `spooler_pid`.

    Raises:
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never.
    uWSGI: `uwsgi.spooler_pids`.
    """
    return _spools("spooler_pids").pids()
