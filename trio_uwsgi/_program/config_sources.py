"""Where options come from besides the command line: a TOML file, and `TRIO_UWSGI_...` variables.

Each source gives fields of `Config` and what `Config` does not have: the application, and what Python is told. A later
source replaces the whole value of an earlier one: file, environment, command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from trio_uwsgi._program.command_line import UsageError, fields_of, parse, takes_value, unknown_option
from trio_uwsgi._program.module_config import values_from_plain
from trio_uwsgi.config import Cache, Config, Mules
from trio_uwsgi.errors import ConfigError

__all__ = ["Given", "from_command_line", "from_environment", "from_file", "shown", "together"]

_PREFIX = "TRIO_UWSGI_"
# Variables that Kubernetes sets for a service of this name.
_OF_KUBERNETES = re.compile(rf"{_PREFIX}(SERVICE_(HOST|PORT)|PORT(_[0-9]+_(TCP|UDP))?)(_|$)")
_PYPROJECT = "pyproject.toml"
# Options that are no fields of `Config`: their defaults in the parser.
_OTHERS: Mapping[str, Any] = {  # Any: each has its own type
    "app": None,
    "factory": False,
    "mount": [],
    "pythonpath": [],
    "virtualenv": None,
    "pyargv": None,
    "imports": [],
    "logto": None,
    "log_level": "info",
}
_IN_FILES = {"import": "imports"}  # as the option is called
_FIELDS = frozenset(field.name for field in dataclasses.fields(Config))


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """Fields of `Config`, other options, and for each the place that gave it."""

    fields: Mapping[str, Any]  # Any: each has its own type
    others: Mapping[str, Any]
    places: Mapping[str, str]


def from_command_line(arguments: argparse.Namespace, place: str = "command line") -> Given:
    """What a parsed command line gives.

    Raises:
        UsageError: two options contradict each other.
    """
    fields = fields_of(arguments)
    given = vars(arguments)
    others = {name: given[name] for name, default in _OTHERS.items() if given[name] != default}
    return Given(fields, others, dict.fromkeys([*fields, *others], place))


def from_environment(env: Mapping[str, str]) -> Given:
    """`TRIO_UWSGI_HTTP=:8000` is `--http :8000`; a value with several lines repeats the option.

    Raises:
        UsageError: a variable names no option, or its value is impossible.
    """
    found: list[Given] = []
    wrong: list[str] = []
    for variable, value in env.items():
        if not variable.startswith(_PREFIX) or _OF_KUBERNETES.match(variable):
            continue
        name = variable.removeprefix(_PREFIX).lower().replace("_", "-")
        try:
            found.append(from_command_line(parse(_words(variable, name, value), needs_app=False), variable))
        except UsageError as error:
            wrong += [f"{variable}: {line}" for line in error.lines]
    if wrong:
        raise UsageError(wrong)
    return together(found)


def _words(variable: str, name: str, value: str) -> list[str]:
    if name == "app":
        return [value]
    takes = takes_value(name)
    if takes is None:
        raise UsageError([unknown_option(f"--{name}")])
    if takes:
        return [f"--{name}={line}" for line in value.splitlines()]
    if value.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
        raise UsageError([f"{value!r} is neither yes nor no; write {variable}=1, or leave it out"])
    return [f"--{name}"] if value.lower() in ("1", "true", "yes", "on") else []


def from_file(path: str | None) -> Given:
    """The options of a TOML file: its own table, or `[tool.trio_uwsgi]`.

    Args:
        path: the file; None is the `pyproject.toml` of the current directory, if that has such a table.
    Raises:
        ConfigError: it cannot be read, or names no option.
    """
    if path is None and not os.path.isfile(_PYPROJECT):
        return Given({}, {}, {})
    name = path or _PYPROJECT
    try:
        with open(name, "rb") as file:
            whole = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}", "name a file that can be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if path is None:  # it is not ours
            return Given({}, {}, {})
        raise ConfigError(f"{name} is not TOML: {error}", "correct it; a file of uWSGI is read with --ini") from None
    tool = whole.get("tool")
    table = tool.get("trio_uwsgi") if isinstance(tool, dict) else None
    if table is None and os.path.basename(name) == _PYPROJECT:
        if path is not None:
            raise ConfigError(f"{name} has no table [tool.trio_uwsgi]", "write one, or leave --config out")
        return Given({}, {}, {})
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{name}: trio_uwsgi = {table!r} is no table", "write [tool.trio_uwsgi]")
    return _of_table(whole if table is None else table, name)


def _of_table(table: Mapping[str, Any], file: str) -> Given:  # Any: TOML values
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        other = _IN_FILES.get(name, name)
        if name == "processes":
            fields |= {"workers": value, "placement": "process"}
        elif other in _OTHERS:
            others[other] = _other(other, value, file)
        elif name in _FIELDS:
            fields[name] = value
        else:
            close = difflib.get_close_matches(name, [*_FIELDS, *_OTHERS, "processes"], n=1)
            raise ConfigError(
                f"{file}: there is no option {key!r}",
                f"did you mean {close[0]!r}?" if close else "see the page Options of the documentation",
            )
    try:
        fields = values_from_plain(fields)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{file}: {error}", "correct the file") from None
    return Given(fields, others, dict.fromkeys([*fields, *others], file))


def _other(name: str, value: object, file: str) -> object:
    """A value of a file in the form that the parser makes."""
    default = _OTHERS[name]
    if name == "mount" and isinstance(value, dict) and all(isinstance(app, str) for app in value.values()):
        return [(prefix.rstrip("/"), app) for prefix, app in value.items()]
    if name != "mount" and isinstance(default, list):
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return items
    elif name != "mount" and isinstance(value, bool if isinstance(default, bool) else str):
        return value
    form = {"mount": '{"/shop" = "shop:app"}', "factory": "true"}.get(name, '"text"')
    raise ConfigError(f"{file}: {name} = {value!r} is not possible", f"write {name} = {form}")


def together(sources: Sequence[Given]) -> Given:
    """All sources, of which later ones replace what earlier ones say."""
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    places: dict[str, str] = {}
    for source in sources:
        fields |= source.fields
        others |= source.others
        places |= source.places
    return Given(fields, others, places)


def shown(given: Given, config: Config, beside: str) -> list[str]:
    """The options that differ from their defaults, each with its place, for `--print-config`.

    Args:
        given: all sources together.
        config: what they make, with the `config` beside the application.
        beside: what the place of that is called.
    """
    default = Config()
    rows = [(name, value, given.places[name]) for name, value in given.others.items()]
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name):
            rows.append((field.name, value, given.places.get(field.name, beside)))
    width = max((len(f"{name} = {_plainly(value)}") for name, value, _ in rows), default=0)
    return [f"{f'{name} = {_plainly(value)}':<{min(width, 60)}}  # {place}" for name, value, place in rows]


def _plainly(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Cache | Mules):
        parts = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return _plainly({field.name: part for field, part in parts if part != field.default})
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plainly, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_plainly(key)} = {_plainly(item)}' for key, item in value.items())}}}"
    if isinstance(value, int | float):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
