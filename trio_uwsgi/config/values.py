"""Reads the values of options that have several forms: one or several addresses, paths, sources, caches. Pure.

What is refused here is wrong in itself; `checks.py` has numbers out of range, and options that contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.clock import CronCommand, SignalTimer, several
from trio_uwsgi.config.daemons import daemons
from trio_uwsgi.config.hooks import Hook
from trio_uwsgi.config.log_format import parse_log_format
from trio_uwsgi.config.metrics import metrics
from trio_uwsgi.config.options import Cache
from trio_uwsgi.config.sources import FORWARDED_HEADERS, read_sources
from trio_uwsgi.config.static import expiries, index_names, static_maps
from trio_uwsgi.config.tls import several_tls
from trio_uwsgi.errors import ConfigError

__all__ = [
    "READERS",
    "area_sizes",
    "caches",
    "header_names",
    "is_path_prefix",
    "log_format",
    "path_prefix",
    "paths",
    "script",
    "scripts",
    "several_addresses",
    "takes_a_free_port",
]

# Bytes: beyond a terabyte it is certainly a mistake.
_LARGEST_AREA = 2**40


def several_addresses(option: str, given: object) -> tuple[Address, ...]:
    """Read the value of an option that is one address or several.

    Raises:
        ConfigError: it is neither, or names an address twice.
    """
    items = [given] if isinstance(given, str | Address) else given
    if not isinstance(items, Iterable) or isinstance(items, bytes):
        raise ConfigError(
            f"{option}={given!r} is not an address", f"write {option}='127.0.0.1:8000', or a list of such addresses"
        )
    found: list[Address] = []
    for item in items:
        if not isinstance(item, str | Address):
            raise ConfigError(
                f"{option} has {item!r} in it, which is not an address",
                f"write {option}='127.0.0.1:8000', or a list of such addresses",
            )
        address = Address.parse(item) if isinstance(item, str) else item
        if address in found and not takes_a_free_port(address):
            raise ConfigError(f"{option} names {address} twice", "name each address once")
        found.append(address)
    return tuple(found)


def takes_a_free_port(address: Address) -> bool:
    """May several listeners have this address?"""
    return address.kind == "tcp" and address.port == 0


def caches(given: object) -> tuple[Cache, ...]:
    """Read the value of `caches`.

    Raises:
        ConfigError: it is not a list of caches, or two of them have the same name or store.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ConfigError(f"caches={given!r} is not a list", "write caches=[Cache('default', items=1000)]")
    found: dict[str, Cache] = {}
    for cache in given:
        if not isinstance(cache, Cache):
            raise ConfigError(f"caches has {cache!r} in it", "write Cache('default', items=1000)")
        if cache.name in found:
            raise ConfigError(f"two caches are called {cache.name!r}", "give each its own name")
        if cache.store is not None and cache.store in [other.store for other in found.values()]:
            raise ConfigError(f"two caches have the store {cache.store!r}", "give each its own file")
        found[cache.name] = cache
    return tuple(found.values())


def script(option: str, given: object) -> str | None:
    """Read the value of an option that is a script, or None.

    Raises:
        ConfigError: it is neither.
    """
    if given is None or (isinstance(given, str) and given and "\0" not in given):
        return given
    raise ConfigError(f"{option}={given!r} is not a script", f"write {option}='work.py'")


def scripts(option: str, given: object) -> tuple[str, ...]:
    """Read the value of an option that is one script or several; one may be given twice.

    Raises:
        ConfigError: it is neither.
    """
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list | tuple) or not all(isinstance(i, str) and i and "\0" not in i for i in items):
        raise ConfigError(
            f"{option}={given!r} is not a script", f"write {option}='brain.py', or a list of such scripts"
        )
    for item in items:
        if item.isdecimal():
            raise ConfigError(f"{option}={item!r} is a number, not a script", f"write mules={item}")
    return tuple(items)


def paths(option: str, given: object) -> tuple[str, ...]:
    """Read the value of an option that is one path or several.

    Raises:
        ConfigError: it is neither, or names a path twice.
    """
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, Iterable) or isinstance(items, bytes):
        raise ConfigError(f"{option}={given!r} is not a path", f"write {option}='jobs', or a list of such paths")
    found: dict[str, None] = {}
    for item in items:
        if not isinstance(item, str) or not item or "\0" in item:
            raise ConfigError(f"{option} has {item!r} in it, which is not a path", f"write {option}='jobs'")
        if item in found:
            raise ConfigError(f"{option} names {item} twice", "name each path once")
        found[item] = None
    return tuple(found)


def is_path_prefix(text: str) -> bool:
    """Is it the beginning of a path, of one segment or several?"""
    return text.startswith("/") and not text.endswith("/") and "//" not in text and "?" not in text


def path_prefix(option: str, given: object) -> str:
    """Read the value of `root_path`.

    Raises:
        ConfigError: it is not a prefix of a path.
    """
    if given == "":
        return ""
    if not isinstance(given, str) or not is_path_prefix(given):
        raise ConfigError(f"{option}={given!r} is not a prefix of a path", "write '/shop', without a slash at its end")
    return given


def header_names(option: str, given: object) -> tuple[str, ...]:
    """Read the value of `forwarded_headers`: one name or several.

    Raises:
        ConfigError: a name is not one of those that are read, or they do not go together.
    """
    items = (given,) if isinstance(given, str) else given
    if not isinstance(items, Iterable) or isinstance(items, bytes):
        raise ConfigError(f"{option}={given!r} is not a list of headers", f"write {option}={FORWARDED_HEADERS[:2]}")
    names = tuple(item.lower() if isinstance(item, str) else item for item in items)
    for name in names:
        if name not in FORWARDED_HEADERS:
            raise ConfigError(f"{option} has {name!r} in it, which is not read", f"use {', '.join(FORWARDED_HEADERS)}")
    if "forwarded" in names and len(names) > 1:
        raise ConfigError(
            f"{option} has 'forwarded' and others in it, which may contradict each other",
            "name 'forwarded' alone, or none but x-forwarded headers",
        )
    return names


def area_sizes(option: str, given: object) -> tuple[int, ...]:
    """Check the sizes of shared areas.

    Raises:
        ConfigError: they are not a list of numbers from 1 on.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(f"{option}={given!r} is not a list of sizes", f"write {option}=[4096]")
    sizes = tuple(given)
    for size in sizes:
        if type(size) is not int or not 1 <= size <= _LARGEST_AREA:
            raise ConfigError(
                f"a shared area of {size!r} bytes is not possible", f"use a whole number from 1 to {_LARGEST_AREA}"
            )
    return sizes


def log_format(option: str, given: object) -> str | None:
    """Check the format of the access log.

    Raises:
        ConfigError: it is none, or has a variable that does not exist here.
    """
    if given is not None:
        parse_log_format(given)  # type: ignore[arg-type]  # it checks the type
    return given  # type: ignore[return-value]


# By the name of the option; each gets the name and the value.
READERS: Mapping[str, Callable[[str, object], object]] = {
    "socket": several_addresses,
    "stats": several_addresses,
    "mule": scripts,
    "python": script,
    "http": lambda name, given: None if given is None else several_addresses(name, given),
    "https": several_tls,
    "caches": lambda name, given: caches(given),
    "metrics": lambda name, given: metrics(given),
    "spooler": paths,
    "touch_reload": paths,
    "attach_daemon": daemons,
    "cron": several(CronCommand.parse),
    "hooks": several(Hook.parse),
    "timer": several(SignalTimer.parse),
    "static_map": lambda name, given: static_maps(given),
    "static_index": lambda name, given: index_names(given),
    "static_expires": lambda name, given: {expiry.pattern.pattern: expiry.seconds for expiry in expiries(given)},
    "check_static": paths,
    "static_safe": paths,
    "forwarded_allow": read_sources,
    "proxy_protocol": read_sources,
    "forwarded_headers": header_names,
    "log_format": log_format,
    "sharedarea": area_sizes,
    "root_path": path_prefix,
}
