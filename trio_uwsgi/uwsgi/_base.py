"""What the modules of the API share: the default registry, the running unit of work, and calls on Trio's thread."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

from trio_uwsgi._nodes.client import Nodes
from trio_uwsgi._units.app_threads import (
    app_thread,
    import_on_trios_thread,
    is_trios_thread,
    is_uncancelled_trios_thread,
)
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.config import Config
from trio_uwsgi.errors import NotServing

__all__ = [
    "as_number",
    "as_text",
    "ask_node",
    "current_registry",
    "current_unit",
    "declaring",
    "default_registry",
    "on_trios_thread",
    "registering",
    "running_unit",
    "send_to_master",
    "unit_here",
]

if TYPE_CHECKING:
    from trio_uwsgi._link.frames import Frame
    from trio_uwsgi._protocol.remote_answers import Answer
    from trio_uwsgi._protocol.remote_calls import CacheCall, RpcCall, SignalCall, SpoolCall
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.handlers import Registering, SignalHandler
    from trio_uwsgi._units.member import Member

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NODE_TIMEOUT = Config().node_timeout  # for code outside of members


def default_registry() -> Registry:
    """The current `uwsgi.registry`, which tests may replace."""
    from trio_uwsgi import uwsgi

    return uwsgi.registry


def current_registry() -> Registry:
    """The registry for declarations that the calling code makes."""
    unit = unit_here()
    return default_registry() if unit is None else unit.member.registry


def unit_here() -> Unit | None:
    """The unit of work that the calling code belongs to; None outside of members. The application's import is one."""
    unit = UNIT.get(None)
    if unit is None and not trio.lowlevel.in_trio_run() and not is_trios_thread():
        return app_thread()
    return unit


def current_unit(call: str, remedy: str) -> Unit:
    """The unit of work that the calling code belongs to.

    Raises:
        NotServing: there is none; the text says where `uwsgi.<call>()` works.
    """
    unit = UNIT.get(None) or unit_here()
    if unit is None:
        raise NotServing(f"uwsgi.{call}()", remedy)
    return unit


def running_unit(call: str, remedy: str) -> Unit:
    """As `current_unit`, for what only a running member has.

    Raises:
        NotServing: likewise, and in the application's import.
    """
    unit = current_unit(call, remedy)
    if unit.member.importing:
        raise NotServing(f"uwsgi.{call}()", remedy, "while the application is imported")
    return unit


def as_number(what: str, value: float) -> float:
    """Check that an argument is a number, and return it.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, Real):
        raise TypeError(f"{what} is a number, not {value!r}")
    return value


def as_text(what: str, value: str) -> str:
    """Check that an argument is a str, and return it.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {value!r}")
    return value


def on_trios_thread(func: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function on Trio's thread, which owns the members and the tasks that wait.

    Called in a thread of a member, this switches to Trio's own thread and back. Outside of members, and where Trio does
    not run, as in most imports of an application, it calls the function directly.
    """
    if trio.lowlevel.in_trio_run():
        if (thread := import_on_trios_thread()) is None:
            return func(*args)
    elif is_trios_thread():
        return trio.from_thread.run_sync(func, *args)
    else:
        thread = app_thread()
    if thread is None or not thread.has_trio:
        return func(*args)

    async def call() -> T:
        return func(*args)

    return thread.run("a function of uwsgi", call)


def send_to_master(member: Member, frame: Frame) -> None:
    """Send a frame of a member, on Trio's thread, or in a thread of a member whose link can do that.

    Raises:
        SignalQueueFull, MessageQueueFull, MuleError: as `Link.send`.
    """
    link = member.link
    if trio.lowlevel.in_trio_run() or not is_uncancelled_trios_thread() or not link.send_from_thread(frame):
        on_trios_thread(link.send, frame)


def declaring(decorator: Callable[[T], T]) -> Callable[[T], T]:
    """The registry's decorator, made callable from any of the runtime's threads."""
    return lambda declared: on_trios_thread(lambda: decorator(declared))


def registering(decorator: Registering) -> Registering:
    """As `declaring`, for decorators of signal handlers."""

    def register(handler: Callable[[int], T], /) -> SignalHandler[T]:
        return on_trios_thread(lambda: decorator(handler))

    return register


async def ask_node(
    node: str, call: RpcCall | SignalCall | SpoolCall | CacheCall, timeout: float | None
) -> Answer | None:
    """Ask another node, as `Nodes.ask`. In a member the connection is kept for the next call."""
    if timeout is not None:
        as_number("the timeout of a remote call", timeout)
    unit = UNIT.get(None)
    if unit is not None:
        return await unit.member.services.nodes.ask(node, call, timeout)
    nodes = Nodes(NODE_TIMEOUT)
    try:
        return await nodes.ask(node, call, timeout)
    finally:
        nodes.close()
