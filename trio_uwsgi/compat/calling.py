"""How functions of the module `uwsgi` reach the runtime: from its threads, from Trio's own, and from the application's.

Plain functions of `trio_uwsgi.uwsgi` do that themselves; `uwsgi._waiting` is the way in for those that wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from trio_uwsgi._apps.wsgi_exchange import WsgiExchange
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import NotServing
from trio_uwsgi.uwsgi._base import current_unit, unit_here
from trio_uwsgi.uwsgi._waiting import wait_as

if TYPE_CHECKING:
    from trio_uwsgi._units.member import Member

__all__ = ["current_exchange", "current_member", "serving_member", "waiting"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def waiting(func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Await a function of the API in synchronous code, and return its result.

    Raises:
        CannotWait: an async function calls this, or what it calls.
    """
    return wait_as(f"uwsgi.{getattr(func, '__name__', '')}()", func, *args)


def current_member() -> Member | None:
    """The member that runs the calling code; None in the application's import and outside of members."""
    unit = unit_here()
    return None if unit is None or unit.member.importing else unit.member


def current_exchange(call: str) -> WsgiExchange:
    """The exchange of the request whose code calls.

    Raises:
        NotServing: it is not the code of a WSGI request.
    """
    unit = UNIT.get(None)
    if not isinstance(unit, WsgiExchange):
        where = "outside of a request" if unit is None else f"in a {unit.kind}"
        raise NotServing(f"uwsgi.{call}()", "call it in the code of a WSGI request", where)
    return unit


def serving_member(call: str) -> Member:
    """The member that the calling code belongs to, also in the application's import.

    Raises:
        NotServing: there is none.
    """
    return current_unit(call, "call it in a request, a handler, a job or a mule's program").member
