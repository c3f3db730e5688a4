"""The names of uWSGI's module that are not here, each with the reason: one table. Pure.

A name that uWSGI has only with an option raises AttributeError where the option is not set, as there. A name that
uWSGI always has, and that cannot exist outside of it, is a function that raises `NotSupported` when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from trio_uwsgi.errors import UwsgiError

__all__ = ["NEVER", "WITHOUT", "NotSupported", "refusals", "why_missing"]


class NotSupported(UwsgiError, NotImplementedError):
    """A call that exists in uWSGI, and cannot exist here.

    Args:
        call: the call.
        reason: why, and what to use instead.
    """

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(f"{call} is not supported: {reason}")


_SYMBOLS = "it imports Python code that was linked into uWSGI's binary; put the code on sys.path"
_LEGION = "there are no legions; let a service manager or an orchestrator choose the leader"
_SNMP = "there is no SNMP agent; read Runtime.statistics()"
_REQUEST = "it is not built yet for this module"

# Functions that uWSGI always has.
NEVER = {
    "SymbolsImporter": _SYMBOLS,
    "SymbolsZipImporter": _SYMBOLS,
    "ZipImporter": "Python itself imports from zip files on sys.path",
    "embedded_data": "it reads data that was linked into uWSGI's binary; use importlib.resources",
    "route": "there is no internal routing; use the application's own, --mount, or the proxy in front",
    "start_response": "it is the function that a WSGI application is called with; use that one",
    "set_warning_message": "no answer to a ping has a text; use uwsgi.log or uwsgi.alarm",
    "accepting": "a worker accepts as soon as it serves; a reload one by one is Config(chain_reload=True)",
    "i_am_the_lord": _LEGION,
    "lord_scroll": _LEGION,
    "scrolls": _LEGION,
}

# Names that uWSGI has only with an option: those that begin so, and the option here.
WITHOUT = {
    "spool": "a spooler: set Config(spooler=DIR), on the command line --spooler DIR",
    "send_to_spooler": "a spooler: set Config(spooler=DIR), on the command line --spooler DIR",
    "set_spooler_frequency": "a spooler: set Config(spooler=DIR), on the command line --spooler DIR",
    "snmp_": f"--snmp, and {_SNMP}",
    "erlang_": "its plugin for Erlang, which does not exist here; connect to Erlang over HTTP or a socket",
    "pidfile": "a pidfile: set Config(pidfile=FILE), on the command line --pidfile FILE",
    "queue_": "a queue: set Config(queue=100), on the command line --queue 100",
    "sharedarea_": "a shared area: set Config(sharedarea=[4096]), on the command line --sharedarea 1",
    "post_fork_hook": "an assignment: the application assigns it",
    "mule_msg_hook": "an assignment: the application assigns it",
    "atexit": "an assignment: the application assigns it",
    "mode": "--mode, which does not exist here; use an environment variable",
}

# Names that follow.
LATER = frozenset((*("extract", "listen_queue", "parsefile", "sockets", "stop", "total_requests", "workers"),))


def why_missing(name: str) -> str:
    """The text of the AttributeError for a name that the module does not have."""
    if name in LATER:
        return f"module 'uwsgi' has no attribute {name!r}: {_REQUEST}"
    for start, option in WITHOUT.items():
        if name.startswith(start):
            return f"module 'uwsgi' has no attribute {name!r}: uWSGI has it only with {option}"
    return f"module 'uwsgi' has no attribute {name!r}"


def refusals() -> dict[str, Callable[..., object]]:
    """The functions and classes of `NEVER`."""
    found: dict[str, Callable[..., object]] = {}
    for name, reason in NEVER.items():
        refuse = _refusal(name, reason)
        methods = {"__init__": refuse, "find_module": refuse, "load_module": refuse}
        found[name] = type(name, (), methods) if name[0].isupper() else refuse
    return found


def _refusal(name: str, reason: str) -> Callable[..., NoReturn]:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise NotSupported(f"uwsgi.{name}()", reason)

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__module__ = sys.intern("uwsgi")
    refuse.__doc__ = f"Not supported: {reason}."
    return refuse
