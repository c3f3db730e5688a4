"""The options of static files, and what they refuse. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from trio_uwsgi.errors import ConfigError

__all__ = ["Expiry", "StaticOptions", "expiries", "index_names", "static_maps"]


@dataclasses.dataclass(frozen=True, slots=True)
class Expiry:
    """Files whose path below their folder matches may be kept by clients for so many seconds."""

    pattern: re.Pattern[str]
    seconds: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StaticOptions:
    """The fields of `Config` with these names, parsed: prefixes without a slash at the end, and their folders; folders
    that are looked at for every path; folders to which symbolic links may lead; names of index files; expiry.
    """

    maps: tuple[tuple[str, str], ...] = ()
    check: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    expires: tuple[Expiry, ...] = ()

    @property
    def in_use(self) -> bool:
        """Are there static files at all?"""
        return bool(self.maps or self.check)


def static_maps(given: object) -> dict[str, str]:
    """Read `static_map`.

    Raises:
        ConfigError: it is not a mapping of prefixes to paths.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"static_map={given!r} is not a mapping", "write static_map={'/static': '/srv/static'}")
    found: dict[str, str] = {}
    for prefix, folder in given.items():
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ConfigError(
                f"static_map has the prefix {prefix!r}, which does not begin with a slash",
                "write the beginning of a URL's path, as in static_map={'/static': '/srv/static'}",
            )
        if not isinstance(folder, str) or not folder or "\0" in folder:
            raise ConfigError(
                f"static_map has {folder!r} for {prefix}, which is not a path", "write the path of a folder or a file"
            )
        if prefix.rstrip("/") in found:
            raise ConfigError(f"static_map has {prefix.rstrip('/') or '/'} twice", "name each prefix once")
        found[prefix.rstrip("/")] = folder
    return found


def index_names(given: object) -> tuple[str, ...]:
    """Read `static_index`: one name or several.

    Raises:
        ConfigError: one is not the name of a file.
    """
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, list | tuple):
        raise ConfigError(f"static_index={given!r} is not a name", "write static_index='index.html'")
    for name in names:
        if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in (".", ".."):
            raise ConfigError(f"static_index has {name!r} in it, which is not the name of a file", "write 'index.html'")
    return tuple(names)


def expiries(given: object) -> tuple[Expiry, ...]:
    """Read `static_expires`.

    Raises:
        ConfigError: it is not a mapping of regular expressions to seconds.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"static_expires={given!r} is not a mapping", r"write static_expires={r'\.(css|js)$': 3600}, in seconds"
        )
    found: list[Expiry] = []
    for text, seconds in given.items():
        try:
            pattern = re.compile(text)
        except (re.error, TypeError) as error:
            raise ConfigError(
                f"static_expires has {text!r} in it, which is not a regular expression: {error}",
                r"write one that is searched in the path of the file, as in r'\.css$'",
            ) from None
        if type(seconds) is not int or not 0 <= seconds < 2**31:
            raise ConfigError(
                f"static_expires has {seconds!r} for {text!r}, which is not a number of seconds",
                "write a whole number from 0 to 2,147,483,647",
            )
        found.append(Expiry(pattern, seconds))
    return tuple(found)
