"""What stands for the marks in a uWSGI configuration: magic variables as `%n`, `$(ENV)`, `%(opt)`, `@(file)`. Pure.

What is unknown stays as it is written, as in uWSGI: so `%(uri)` in a format of the log remains.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._uwsgi_config.settings import Setting

__all__ = ["Surroundings", "expanded", "magic_of", "with_environment", "with_magic", "with_options"]

_DEEPEST = 20  # options that are made of options
_MAGIC = re.compile(r"%(.)", re.DOTALL)
_ENVIRONMENT = re.compile(r"\$\(([^()]*)\)")
_OPTION = re.compile(r"%\(([^()]*)\)")
_FILE = re.compile(r"@\(([^()]*)\)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a configuration may ask the machine: plain values, and functions of a path or a pattern."""

    env: Mapping[str, str]
    cwd: str
    hostname: str
    # Magic variables that do not depend on the file: `k` processors, `u` and `U` the user, `g` and `G` the group,
    # `t` and `T` the time, `V` the version.
    facts: Mapping[str, str]
    read: Callable[[str], str]
    exists: Callable[[str], bool]
    is_file: Callable[[str], bool]
    is_dir: Callable[[str], bool]
    glob: Callable[[str], Sequence[str]]


def magic_of(path: str, section: str, first: Mapping[str, str], around: Surroundings) -> dict[str, str]:
    """The magic variables within a file.

    Args:
        path: the file, as it was named.
        section: the section that is read.
        first: those of the first file, which capital letters stand for; empty in that file itself.
        around: where the rest comes from.
    """
    absolute = posixpath.join(around.cwd, path)
    folder, name = posixpath.split(absolute)
    stem, _, extension = name.rpartition(".")
    found = {
        "o": path,
        "p": absolute,
        "s": name,
        "d": folder.rstrip("/") + "/",
        "e": extension if stem else "",
        "n": stem or name,
        "c": posixpath.basename(folder),
        "x": section,
    }
    found |= {letter.upper(): (first or found)[letter] for letter in tuple(found)}
    parts = folder.strip("/").split("/")
    found |= {str(number): part for number, part in enumerate(parts[:10])}
    return found | {"v": around.cwd, "h": around.hostname, "[": "\x1b", "%": "%", **around.facts}


def with_magic(text: str, magic: Mapping[str, str]) -> str:
    """The text with magic variables replaced."""
    return _MAGIC.sub(lambda found: magic.get(found[1], found[0]), text)


def with_environment(text: str, env: Mapping[str, str]) -> str:
    """The text with environment variables replaced."""
    return _ENVIRONMENT.sub(lambda found: env.get(found[1], found[0]), text)


def with_options(text: str, settings: Sequence[Setting], depth: int = 0) -> str:
    """The text with the values of options: of each the first one, also if it comes later.

    Raises:
        ConfigError: an option is made of itself.
    """

    def value(found: re.Match[str]) -> str:
        for setting in settings:
            if setting.name == found[1]:
                if depth == _DEEPEST:
                    raise ConfigError(
                        f"{setting.place}: {setting.name} = {setting.value} is made of itself", "name another option"
                    )
                return with_options(setting.value, settings, depth + 1)
        return found[0]

    return _OPTION.sub(value, text)


def expanded(setting: Setting, settings: Sequence[Setting], around: Surroundings) -> str:
    """The value of a setting, with options and the contents of files.

    Raises:
        ConfigError: a file cannot be read, or an option is made of itself.
    """

    def content(found: re.Match[str]) -> str:
        try:
            return around.read(found[1]).rstrip("\n")
        except OSError as error:
            raise ConfigError(
                f"{setting.place}: cannot read {found[1]}: {error.strerror}", "name a file that can be read"
            ) from None

    return _FILE.sub(content, with_options(setting.value, settings))
