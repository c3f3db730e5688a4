"""The functions that an application assigns: `post_fork_hook`, `atexit`, `spooler`, `mule_msg_hook`.

An assignment declares a function at the registry, once; that function calls whatever the attribute is when it runs. So
a later assignment takes effect, as in uWSGI.

Theory. uWSGI calls `post_fork_hook` in a mule before the mule begins to work, and `uwsgidecorators` builds on that: the
functions of `@mule` and its kin are loops inside of the hook, and never return. Here such a hook would keep its mule
from ever being ready. So in mules a chain of `uwsgidecorators` that has such a loop runs as the mule's program, and the
handlers of messages wait until it reads messages itself, begins with `@mule` or `@muleloop`, or has ended. A chain
without loops, and any other hook, runs to its end before the mule works.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat import facts
from trio_uwsgi.compat.calling import current_member
from trio_uwsgi.compat.spooler import job_dict
from trio_uwsgi.errors import RegistrationError
from trio_uwsgi.uwsgi._base import current_registry, on_trios_thread

if TYPE_CHECKING:
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.mule_functions import MuleMessage
    from trio_uwsgi._spool.functions import Job

__all__ = ["HOOKS", "assigned"]

logger = logging.getLogger("trio_uwsgi")

Hook = Callable[..., Any]  # Any: the application's own function, and what it returns


def assigned(module: ModuleType, name: str) -> None:
    """The application has assigned the hook of this name.

    Raises:
        RegistrationError: `trio_uwsgi.uwsgi.spooler` has declared a function for the same jobs.
    """
    declare = _DECLARE[name]
    on_trios_thread(lambda: declare(current_registry(), _Assigned(module, name)))


class _Assigned:
    """The value of one attribute of a module `uwsgi`, when it is needed."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self.module = module
        self.__name__ = name

    @property
    def hook(self) -> Hook | None:
        found = vars(self.module).get(self.__name__)
        return found if callable(found) else None


class _PostFork(_Assigned):
    """Calls `post_fork_hook` when a member starts."""

    def __call__(self) -> None:
        member = current_member()
        if member is not None and member.kind == "mule" and self.runs_as_program(member.number, member.registry):
            return
        hook = self.hook
        if hook is None:
            return
        try:
            hook()
        except Exception:  # uWSGI prints it, and goes on
            logger.error("%s: uwsgi.post_fork_hook failed", member and member.name, exc_info=True)

    def runs_as_program(self, number: int, registry: Registry) -> bool:
        """Is it a chain of `uwsgidecorators` with a loop, in a mule without a program of the application?"""
        hook = self.hook
        chain = sys.modules.get("uwsgidecorators")
        if hook is None or chain is None or hook is not getattr(chain, "postfork_chain_hook", None):
            return False
        return number not in registry.mules.programs and any(
            not isinstance(part, chain.postfork) for part in chain.postfork_chain
        )

    def postfork_chain(self) -> None:
        """The program of each mule that has no other: the chain, if it has a loop."""
        member = current_member()
        if member is None or not self.runs_as_program(member.number, member.registry):
            return
        chain = sys.modules["uwsgidecorators"]
        try:
            for part in chain.postfork_chain:
                is_brain = isinstance(part, chain.mule_brain) and not isinstance(part, chain.mulemsg_loop)
                if is_brain and part.num == member.number:  # it reads no messages, so handlers need not wait for it
                    on_trios_thread(member.inbox.messages.begin_handlers)
                part()
        except SystemExit as error:  # uWSGI's @mule exits after any exception, also when the mule stops
            if isinstance(error.__context__, trio.Cancelled):
                raise error.__context__ from None
            raise


class _AtExit(_Assigned):
    """Calls `atexit` when a member ends."""

    def __call__(self) -> None:
        if self.hook is not None:
            self.hook()


class _Spooler(_Assigned):
    """Runs a job. What it returns decides, and not only exceptions."""

    def __call__(self, job: Job) -> int:
        hook = self.hook
        if hook is None:
            return native.SPOOL_IGNORE
        said = hook(job_dict(job, job.name.rpartition("/")[2]))
        return said if said in (native.SPOOL_OK, native.SPOOL_IGNORE) and said is not False else native.SPOOL_RETRY


class _Message(_Assigned):
    """Handles a message of a mule."""

    def __call__(self, message: MuleMessage) -> None:
        if self.hook is None:
            member = current_member()
            logger.info("%s: a message of %d bytes, and no mule_msg_hook", member and member.name, len(message))
            return
        self.hook(bytes(message))


# ----- declarations; each replaces an earlier one of an earlier module


def _post_fork(registry: Registry, about: _Assigned) -> None:
    hook = _PostFork(about.module, about.__name__)
    _replace(registry.post_fork_hooks, hook)
    registry.mules.other_program = hook.postfork_chain  # the log calls it by this name


def _at_exit(registry: Registry, about: _Assigned) -> None:
    _replace(registry.atexit_hooks, _AtExit(about.module, about.__name__))


def _spooler(registry: Registry, about: _Assigned) -> None:
    known = registry.spool.catch_all
    if known is not None and isinstance(known.func, _Spooler):
        registry.spool.catch_all = None
    elif known is not None:
        raise RegistrationError(
            f"uwsgi.spooler is assigned, and @uwsgi.spooler of trio_uwsgi has declared {known.name}; keep one of them"
        )
    if facts.current().spoolers:  # uwsgidecorators assigns it in any case
        registry.spooler(_Spooler(about.module, about.__name__))


def _message(registry: Registry, about: _Assigned) -> None:
    if facts.current().mules:
        _replace(registry.mules.message_handlers, _Message(about.module, about.__name__))


def _replace(declared: list[Any], hook: Hook) -> None:  # Any: a list of hooks of one kind
    declared[:] = [known for known in declared if not isinstance(known, type(hook))]
    declared.append(hook)


_DECLARE: dict[str, Callable[[Registry, _Assigned], None]] = {
    "post_fork_hook": _post_fork,
    "atexit": _at_exit,
    "spooler": _spooler,
    "mule_msg_hook": _message,
}
HOOKS = frozenset(_DECLARE)
