"""The API of the spooler: durable work that is done later."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from trio_uwsgi._protocol.remote_answers import Failure, SignalAnswer
from trio_uwsgi._protocol.remote_calls import SpoolCall
from trio_uwsgi._spool.functions import SPOOL_IGNORE, SPOOL_OK, SPOOL_RETRY, Job, SpoolMethod
from trio_uwsgi._spool.request import JobVars, SpoolRequest, make_request, named_vars
from trio_uwsgi._units.unit import UNIT
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
)

if TYPE_CHECKING:
    from trio_uwsgi._spool.directories import Spools

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
    """A function whose calls can be queued."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # Any: the user's own function, whatever it takes

    def spool(self, /, *args: object, **given: object) -> Awaitable[bytes]:
        """Queue a job for it; gives the path of its file."""


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
    """Decorate a function to be run by the spooler, and give it `spool`, which queues a run.

    `await f.spool(number="17", at=tomorrow)` queues a job with these vars, and the function is called with the `Job`.
    With `pass_arguments`, `await f.spool(17, when="now")` is the call `f(17, when="now")`, later. Beside its own,
    `spool` takes `at` (seconds since the epoch, or a datetime), `priority` (0 is first; jobs without one are last),
    `spooler` (the directory, if there are several) and, without `pass_arguments`, `body` (bytes, any size). It returns
    the path of the job's file once the job is on the disk, and raises what `uwsgi.spool` raises.

    The function returns `SPOOL_OK` or nothing when the job is done, `SPOOL_RETRY` to have it tried again after a pause
    that grows, `SPOOL_IGNORE` to leave it for another program that shares the directory. Raising is as `SPOOL_RETRY`.
    After `max_tries` the job goes to the directory's `dead/`, with the last traceback beside it. A job is run at least
    once: what it does must bear being done twice, because a crash may come after it and before it is crossed off.

    Args:
        func: `async def`, or `def`, which runs in a thread.
        name: what its jobs call it by; without it, its own name. Jobs outlive the program, so it should not change.
        pass_arguments: call the function with the arguments that `spool` was given, as JSON has them: tuples become
            lists, and keys texts (if two become one, that is a SpoolError). The function may not have parameters
            called `at`, `priority` or `spooler`, which are for `spool`; neither do they arrive in its `**kwargs`.
        pickle: with `pass_arguments`, any Python objects, in at most 64 KiB, as `uwsgidecorators` does. Whoever can
            write into the directory, or may spool from another node (`Config.modifiers`), can then run any code here,
            which is why it is not the default.
        max_tries: tries of its jobs; 0 is for ever; without it, `Config.spooler_max_tries`.
    Returns:
        The function itself, so decorators stack.
    Raises:
        RegistrationError: the name is taken, one of these is not valid, or the function has a parameter of `spool`.
    Checkpoint: never; `spool` always does.
    Cancellation: of `spool`: nothing was queued.
    uWSGI: `uwsgidecorators.spool`, `spoolforever` and `spoolraw`; there a job that fails is tried again for ever, and
        whenever another one is queued.
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
    """Decorate a function to be run for all jobs that no `spool_handler` is for; there can be one.

    Args:
        func: called with the `Job`; answers as a `spool_handler` does.
    Raises:
        RegistrationError: there is one, or it cannot be called.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.spooler`, where returning nothing means: try again.
    """

    return declaring(current_registry().spooler)(func)


@awaited
async def spool(
    vars: JobVars | None = None,
    /,
    **more: object,
) -> bytes:
    """Queue a job: when this returns, it is on the disk, and will be run at least once.

    Args:
        vars: names and values, bytes or str (as UTF-8), at most 64 KiB in all. Special ones, which `spool_handler`
            describes: `body`, `spooler`, `priority`, `at`. It is not changed.
        more: the same by name; of a name that is in both, this is what counts.
    Returns:
        The path of the job's file, as bytes.
    Raises:
        TypeError: a value is of another type.
        SpoolError: a special one makes no sense, `vars` has a name as bytes and as a text, or the file cannot be
            written (says why, a full disk for example); nothing was queued.
        JobTooLarge: the vars are too long; put what is long into `body`.
        NoSpooler: the runtime has no spooler, or not this one.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: nothing was queued.
    uWSGI: `uwsgi.spool`, `uwsgi.send_to_spooler`; they take bytes only, cut long values, and take `body` out of the
        caller's dict.
    """
    return await _submit(make_request(named_vars(vars, more)))


async def _submit(request: SpoolRequest) -> bytes:
    unit = current_unit("spool", "from other code use the spool() of the Runtime that serve() starts")
    return await unit.member.services.spools.get(request.spooler).submit(request)


SpoolMethod.submit = staticmethod(called_as("f.spool", _submit))


@awaited
async def remote_spool(
    node: str, vars: JobVars | None = None, /, *, timeout: float | None = None, **more: object
) -> None:
    """Queue a job at another node, in its first spooler: when this returns, it has the job.

    Args:
        node: `host:port`, the path of a unix socket, or `@name`.
        vars: as in `spool`, with at most 64 KiB in all, `body` too: the uwsgi protocol has no more.
        timeout: seconds, more than 0; without it, `Config.node_timeout`.
        more: the same by name.
    Raises:
        TypeError, SpoolError, JobTooLarge: as `spool`; nothing was sent.
        SpoolRefused: the node has no spooler, or could not store the job.
        NodeUnreachable: there is no connection; nothing was sent.
        NodeTimeout, NodeClosed: there was no answer, or none that makes sense; the job may be queued there or not.
    Checkpoint: always.
    Cancellation: the job may have been queued or not.
    uWSGI: a packet with modifier 17, which there has no call of its own. A uWSGI keeps `body` as a var.
    """
    request = make_request(named_vars(vars, more))
    pairs = request.pairs if not request.body else (*request.pairs, (b"body", request.body))
    answer = await ask_node(node, SpoolCall(pairs=pairs), timeout)
    if isinstance(answer, Failure):
        raise SpoolRefused(node, f"it did not take the job: {answer.reason}")
    if not isinstance(answer, SignalAnswer):
        raise NodeClosed(
            node, "it closed the connection without an answer: it takes no jobs from us, or has no spooler"
        )
    if not answer.accepted:
        raise SpoolRefused(node, "it did not take the job: it has no spooler, or could not store it")


def _spools(call: str) -> Spools:
    return current_unit(
        call, "the spooler belongs to a runtime; call it in a request, a handler or a job"
    ).member.services.spools


@awaited
async def spooler_jobs(spooler: str | None = None) -> list[bytes]:
    """The paths of all jobs of a spooler's directory, in the order in which they would be run; running ones too.

    Args:
        spooler: the directory; None is the first one.
    Raises:
        NoSpooler: there is none, or not this one.
        SpoolError: the directory cannot be read.
        NotServing: not called by a running member.
    Checkpoint: always. The directory is read in a thread; `trio-uwsgi spool ls` shows millions page by page.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.spooler_jobs`: the first directory only, and without jobs that have a priority.
    """
    if spooler is not None:
        as_text("a spooler's directory", spooler)
    return await _spools("spooler_jobs").get(spooler).jobs()


@awaited
async def spooler_get_task(path: str | bytes) -> Job | None:
    """Read a job without running it.

    Args:
        path: of its file, as `spool` and `spooler_jobs` give it.
    Returns:
        The job; None if it does not exist or cannot be read. (One that is being run is shown, too.)
    Raises:
        NoSpooler: there is none, or the path is not in one of its directories.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.spooler_get_task`, which gives None for a job that is being run, and reads any file.
    """
    if not isinstance(path, str | bytes):
        raise TypeError(f"the path of a job's file is str or bytes, not {path!r}")
    text = os.fsdecode(path)
    return await _spools("spooler_get_task").of_path(text).read(text)


def set_spooler_frequency(seconds: float) -> None:
    """Say how often all spoolers look through their directories again; see `Config.spooler_frequency`.

    Args:
        seconds: more than 0, and at most a year.
    Raises:
        ValueError: it is not.
        NoSpooler: there is none.
        NotServing: not called by a running member.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.set_spooler_frequency`.
    """
    if not 0 < as_number("a frequency in seconds", seconds) <= 365 * 86400:
        raise ValueError(f"a frequency is more than 0 seconds and at most a year, not {seconds!r}")
    spools = _spools("set_spooler_frequency")
    on_trios_thread(lambda: spools.set_frequency(seconds))


def i_am_the_spooler() -> bool:
    """Is this code run by a spooler?

    Checkpoint: never.
    uWSGI: `uwsgi.i_am_the_spooler`, which answers True or None.
    """
    unit = UNIT.get(None)
    return unit is not None and unit.member.kind == "spooler"


def spooler_pid() -> int:
    """The process of the first spooler; 0 if there is none.

    Checkpoint: never.
    uWSGI: `uwsgi.spooler_pid`.
    """
    return next(iter(spooler_pids()), 0)


def spooler_pids() -> list[int]:
    """The processes of the spoolers, one entry for each.

    Raises:
        NotServing: not called by a running member.
    Checkpoint: never.
    uWSGI: `uwsgi.spooler_pids`.
    """
    return _spools("spooler_pids").pids()
