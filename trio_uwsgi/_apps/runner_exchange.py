"""An exchange that a runner runs (`runners.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from trio_uwsgi._http.exchange import Exchange

if TYPE_CHECKING:
    from trio_uwsgi._apps.runners import Runner

__all__ = ["RunnerExchange"]


@mypyc_attr(allow_interpreted_subclasses=True)
class RunnerExchange(Exchange):
    """An exchange that a runner runs."""

    __slots__ = ("runner",)

    runner: Runner  # which runs it, or ran it and may now run another exchange

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`; the option's deadline is in the service's table. Does nothing after the end.

        A task of the application that outlives its request still has it as its unit, and must not set a deadline for
        the exchange that the runner runs now.
        """
        if self.runner.exchange is self:
            self.user_deadline = deadline
            self.runner.used = True
            self.runner.scope.deadline = deadline
