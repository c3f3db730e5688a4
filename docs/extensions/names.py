"""The public names of the package as prose writes them, and the full name of the entry that describes each."""

from __future__ import annotations

import builtins
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import trio_uwsgi
from trio_uwsgi import errors, sync, testing, uwsgi
from trio_uwsgi._alarms.alarms import AlarmStatistics
from trio_uwsgi._caches.caches import LocalCache
from trio_uwsgi._caches.rules import CacheStatistics
from trio_uwsgi._http.statistics import HttpStatistics
from trio_uwsgi._metrics.rules import MetricStatistics
from trio_uwsgi._program.command_options import OPTIONS, flag_of
from trio_uwsgi._queues.rules import QueueStatistics
from trio_uwsgi._runtime.member_factory import MemberStatistics
from trio_uwsgi._runtime.statistics import MessageStatistics, RuntimeStatistics, SignalStatistics
from trio_uwsgi._spool.settings import SpoolStatistics
from trio_uwsgi.config.options import AccessRules
from trio_uwsgi.uwsgi._spool import Spooled

# Classes without a public import: calls return their instances. Their entries have the name of where they are defined.
STATISTICS = (
    *(RuntimeStatistics, SignalStatistics, MessageStatistics, MemberStatistics, HttpStatistics, AlarmStatistics),
    *(SpoolStatistics, QueueStatistics, MetricStatistics, CacheStatistics),
)
RETURNED: tuple[type, ...] = (*STATISTICS, LocalCache, Spooled, AccessRules)

# Members that `serve` uses, and users do not.
_FOR_THE_SERVER = {
    *("alarm_options", "http_limits", "http_timeouts", "process_options", "recycling_limits", "socket_options"),
    "queue_options",
    *("spooler_options", "websocket_options", "stream_ends", "load_limits", "static_options"),
}

_WORD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_FLAG = re.compile(r"(--[a-z0-9][a-z0-9-]*)(?:[ =].*)?")
_CODE = re.compile(r"(?<![`\w])(:[\w:]+:)?(`+)(.+?)(?<!`)\2(?!`)", re.DOTALL)


class Scope(NamedTuple):
    """Where a text stands, which decides what an unqualified name in it means.

    `module` is the API whose functions it names without a prefix; `cls` the class whose members it does; `own` has the
    names that mean something else there: parameters, and the name of the described object itself.
    """

    module: str = ""
    cls: str = ""
    own: frozenset[str] = frozenset()


def members_of(cls: type) -> Iterator[str]:
    """The public members of a class that have an entry of their own: methods, properties, documented attributes."""
    names = [*attributes_of(cls), *vars(cls)] if cls.__module__.startswith("trio_uwsgi") else []
    if cls is AccessRules:
        return iter(["allow"])
    return (name for name in dict.fromkeys(names) if not name.startswith("_") and name not in _FOR_THE_SERVER)


def attributes_of(cls: type) -> list[str]:
    """The attributes that the docstring of a class describes, and the fields of `Config`, which have their own page.

    The arguments of an error or a dataclass are attributes too, unless its constructor only makes a text of them.
    """
    if cls is trio_uwsgi.Config:
        return [field.name for field in dataclasses.fields(cls)]
    section = re.search(r"^(Args|Attributes):\n((?: +.*\n?|\n)*)", inspect.getdoc(cls) or "", re.MULTILINE)
    if section is None or (section[1] == "Args" and not has_arguments_as_attributes(cls)):
        return []
    names = [name for line in re.findall(r"^    (\w[^:]*):", section[2], re.MULTILINE) for name in line.split(", ")]
    return [name for name in names if section[1] == "Attributes" or keeps(cls, name)]


def has_arguments_as_attributes(cls: type) -> bool:
    """Are the arguments of the constructor attributes of the object?"""
    return dataclasses.is_dataclass(cls) or issubclass(cls, errors.UwsgiError)


def keeps(cls: type, name: str) -> bool:
    """Does the constructor of a class set an attribute of this name?"""
    return dataclasses.is_dataclass(cls) or f"self.{name} = " in inspect.getsource(cls)


def is_only_in_sync(name: str) -> bool:
    """Is the function of this name in `trio_uwsgi.sync` another one than that of `uwsgi`?"""
    return getattr(sync, name) is not getattr(uwsgi, name, None)


def _entries() -> Iterator[tuple[str, str]]:
    """Pairs of a name with its qualifier, as in `uwsgi.signal` or `Config.mercy`, and the full name."""
    for prefix, module in (("", trio_uwsgi), ("uwsgi.", uwsgi), ("errors.", errors), ("testing.", testing)):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value):
                continue
            yield prefix + name, f"{module.__name__}.{name}"
            if inspect.isclass(value):
                for member in members_of(value):
                    yield f"{name}.{member}", f"{module.__name__}.{name}.{member}"
    for name in sync.__all__:
        yield f"sync.{name}", f"trio_uwsgi.{'sync' if is_only_in_sync(name) else 'uwsgi'}.{name}"
    for cls in RETURNED:
        yield cls.__name__, f"{cls.__module__}.{cls.__name__}"
        for member in members_of(cls):
            yield f"{cls.__name__}.{member}", f"{cls.__module__}.{cls.__name__}.{member}"


QUALIFIED = dict(_entries())
# Classes and constants need no qualifier, because no other word looks like them. `Event` is also one of Trio.
PLAIN = {
    full.rpartition(".")[2]: full
    for full in QUALIFIED.values()
    if (last := full.rpartition(".")[2])[0].isupper() and last != "Event"
} | {"serve": QUALIFIED["serve"], "open_runtime": QUALIFIED["testing.open_runtime"]}
FLAGS = {flag: f"trio_uwsgi.Config.{option.field}" for option in OPTIONS for flag in (flag_of(option), *option.aliases)}


NOWHERE = Scope()


def entry_of(text: str, scope: Scope = NOWHERE) -> str | None:
    """The full name of what a text in backticks means, as in `Config.mercy` or `signal()`; None for other code."""
    if flag := _FLAG.fullmatch(text):
        return FLAGS.get(flag[1])
    name = text.removesuffix("()").removeprefix("@").removeprefix("trio_uwsgi.")
    if not _WORD.fullmatch(name) or name in scope.own:
        return None
    if name in QUALIFIED and ("." in name or name in PLAIN):
        return QUALIFIED[name]
    if scope.cls and (member := QUALIFIED.get(f"{scope.cls}.{name}")):
        return member
    if scope.module == "uwsgi" and not hasattr(builtins, name) and (function := QUALIFIED.get(f"uwsgi.{name}")):
        return function
    return PLAIN.get(name)


def replace_code(text: str, replace: Callable[[str], str]) -> str:
    """Replace what stands in single backticks without a role; `replace` gets the content. Other markup is unchanged."""

    def one(found: re.Match[str]) -> str:
        role, ticks, content = found.groups()
        return found[0] if role or len(ticks) > 1 else replace(content)

    return _CODE.sub(one, text)


def scope_of(full: str, obj: object) -> Scope:
    """The scope of an object's docstring."""
    parts = full.split(".")
    try:
        own = frozenset(inspect.signature(obj).parameters) if callable(obj) else frozenset()
    except ValueError:
        own = frozenset()
    module = "uwsgi" if "uwsgi" in parts[1:2] or parts[-1] in uwsgi.__all__ else ""
    known = {cls.__name__ for cls in RETURNED} | set(PLAIN)
    (cls,) = [part for part in parts if part in known and part[0].isupper()][:1] or [""]
    if inspect.isclass(obj):
        own = frozenset()
    return Scope(module, cls, own | {parts[-1]})


__all__ = ["FLAGS", "PLAIN", "QUALIFIED", "RETURNED", "STATISTICS", "Scope", "attributes_of", "entry_of"]
__all__ += ["has_arguments_as_attributes", "is_only_in_sync", "keeps", "members_of", "replace_code", "scope_of"]
