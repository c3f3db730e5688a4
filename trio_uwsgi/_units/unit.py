"""One unit of work while it runs.

Theory. A *unit* of work is one request, one run of a signal handler, one mule message, one job, one run of a mule's
program. It has one cancel scope, which implements its time limit (harakiri): the option deadline (`Config.harakiri`,
from the start of the unit) and the user deadline (`set_user_harakiri`, from the call) are both kept, and the scope's
deadline is the earlier one. A `ContextVar` has the current unit, so its child tasks and threads find it too.

Units are run by `calls.py`; for requests see `_http/exchange.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import trio
from mypy_extensions import mypyc_attr

from trio_uwsgi.errors import NotServing

if TYPE_CHECKING:
    from trio_uwsgi._units.member import Member

__all__ = ["UNIT", "Unit"]


@mypyc_attr(allow_interpreted_subclasses=True)
class Unit:
    """One unit of work while it runs, with its deadlines. The caller that makes the unit enters the scope and sets its
    deadline. `where` is the await at which the unit was cancelled.
    """

    __slots__ = (
        "_limits",
        "_name",
        "ends",
        "kind",
        "member",
        "option_deadline",
        "scope",
        "started",
        "user_deadline",
        "where",
    )

    _limits: list[float]

    def __init__(self, member: Member, kind: str, name: str, scope: trio.CancelScope, limit: float) -> None:
        self.member = member
        self.kind = kind
        self._name = name
        self.scope = scope
        self.started = trio.current_time()
        self.option_deadline = self.started + limit if limit else math.inf
        self.user_deadline = math.inf
        self.ends: list[Callable[[], None]] | None = None  # `_ENDED` afterwards
        self.where = "?"

    @property
    def name(self) -> str:
        """What runs, among those of its kind."""
        return self._name

    @property
    def what(self) -> str:
        """The unit for logs, as in `signal 17`."""
        return f"{self.kind} {self.name}" if self.name else self.kind

    @property
    def ended(self) -> bool:
        """Has its code ended?"""
        return self.ends is _ENDED

    def at_end(self, release: Callable[[], None]) -> None:
        """Call `release` when this unit ends, also after a failure; the last one given is called first.

        It must not wait or raise.

        Raises:
            NotServing: the unit has ended; a task that outlived it makes this call.
        """
        if self.ends is None:
            self.ends = [release]
        elif self.ends is _ENDED:
            raise NotServing(
                "a function of the API",
                "call it before the request or handler returns",
                f"by a task that outlived its {self.what}",
            )
        else:
            self.ends.append(release)

    def end(self) -> None:
        """Its code has ended: release what it holds."""
        ends, self.ends = self.ends, _ENDED
        if ends:
            for release in reversed(ends):
                release()

    def set_user_deadline(self, deadline: float) -> None:
        """Set the user's own deadline; `inf` clears it. The option's deadline stays in force, as in uWSGI.

        Ignored after the end of the unit, because another unit may use the scope by then.
        """
        if self.ends is not _ENDED:
            self.user_deadline = deadline
            self.scope.deadline = min(self.option_deadline, deadline)

    def limit(self, deadline: float) -> None:
        """Replace the deadline that the unit's code set outside of blocks; `inf` removes it."""
        limits = self._own_limits()
        limits[0] = deadline
        self._set_own_deadline(min(limits))

    def enter_block(self, deadline: float) -> None:
        """A block with its own deadline begins."""
        limits = self._own_limits()
        limits.append(deadline)
        self._set_own_deadline(min(limits))

    def leave_block(self, deadline: float) -> None:
        """The block ends. If it is late, because it blocked the event loop, its deadline stays and cancels the unit."""
        if trio.current_time() <= deadline:
            limits = self._own_limits()
            del limits[limits.index(deadline, 1)]
            self._set_own_deadline(min(limits))

    def _set_own_deadline(self, deadline: float) -> None:
        self.set_user_deadline(deadline)
        if (heartbeat := self.member.heartbeat) is not None and self.ends is not _ENDED:
            heartbeat.set_deadline(self, deadline)

    def _own_limits(self) -> list[float]:
        """The deadline outside of blocks, then one for each block. Made on demand, because few units need it.

        Several tasks of one unit may be in blocks at once, so a block cannot simply restore the previous deadline.
        """
        try:
            return self._limits
        except AttributeError:
            self._limits = [math.inf]
            return self._limits


_ENDED: Final[list[Callable[[], None]]] = []

UNIT: Final[ContextVar[Unit]] = ContextVar("trio_uwsgi_unit")
