"""The value of `uwsgi.opt`: the options that were set, under uWSGI's names and in its types. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from trio_uwsgi.config import Config
from trio_uwsgi.config.metrics import Metric
from trio_uwsgi.config.options import Cache

__all__ = ["UWSGI_VERSION", "Options", "uwsgi_options", "write_options"]

UWSGI_VERSION = "2.0.31"
"""The version of uWSGI whose API this is."""

Options: TypeAlias = Mapping[str, bytes | bool | list[bytes]]

# Fields that have another name in uWSGI.
_NAMES = {
    "caches": "cache2",
    "metrics": "metric",
    "alarms": "alarm",
    "farms": "farm",
    "max_header_size": "buffer-size",
    "max_headers": "max-vars",
    "max_body": "limit-post",
    "mercy": "worker-reload-mercy",
}
# Options of uWSGI that are always on here. Libraries check them.
_ALWAYS = {"master": True, "enable-threads": True, "py-call-uwsgi-fork-hooks": True}
# The fields of `Cache` that have another name in `cache2`.
_CACHE_KEYS = {"max_value": "blocksize", "max_key": "keysize", "lru": "purge_lru"}


_written: dict[str, bytes | bool | list[bytes]] = {}  # what a configuration of uWSGI says, in its own words


def write_options(options: Options) -> None:
    """Set what this process's configuration of uWSGI says. Applications look up its options by the names that they have
    in it, and names of their own.
    """
    _written.clear()
    _written.update(options)


def uwsgi_options(config: Config) -> Options:
    """The options of `config` that differ from the defaults, as uWSGI's `opt` has them; and those of `write_options`.

    Returns:
        A read-only mapping: names with dashes, to bytes, to True for switches, to a list of bytes where several were
        given.
    """
    found: dict[str, bytes | bool | list[bytes]] = dict(_ALWAYS)
    defaults = Config()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(defaults, field.name):
            found[_NAMES.get(field.name, field.name.replace("_", "-"))] = _value(field.name, value)
    return MappingProxyType({**found, **_written})


def _value(name: str, value: object) -> bytes | bool | list[bytes]:
    if value is True:
        return True
    if name in ("chmod_socket", "umask") and isinstance(value, int):
        return b"%o" % value
    if name == "sharedarea" and isinstance(value, tuple):
        return [b"size=%d" % size for size in value]
    if name == "reload_on_rss" and isinstance(value, int):
        return b"%d" % (value // 1024**2)  # uWSGI's is in MB
    if name == "farms" and isinstance(value, Mapping):
        texts = [f"{farm}:{_text(mules)}".encode() for farm, mules in value.items()]
        return texts[0] if len(texts) == 1 else texts
    if name == "env" and isinstance(value, Mapping):
        return [f"{key}={item}".encode() for key, item in value.items()]
    if isinstance(value, Mapping):
        return [f"{key} {_text(item)}".encode() for key, item in value.items()]
    if isinstance(value, tuple):
        texts = [_pairs(item) if isinstance(item, Cache | Metric) else str(item).encode() for item in value]
        return texts[0] if len(texts) == 1 else texts
    return _text(value).encode()


def _text(value: object) -> str:
    if callable(value):
        return f"call:{getattr(value, '__qualname__', type(value).__qualname__)}"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _pairs(given: Cache | Metric) -> bytes:
    pairs = [f"name={given.name}"]
    for field in dataclasses.fields(given)[1:]:
        value = getattr(given, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            pairs.append(f"{_CACHE_KEYS.get(field.name, field.name)}={_text(int(value) if value is True else value)}")
    return ",".join(pairs).encode()
