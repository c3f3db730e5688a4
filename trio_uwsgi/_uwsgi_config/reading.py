"""Read a uWSGI configuration: files and words become one list of settings, in order, with everything expanded. Pure.

uWSGI reads from top to bottom. An option that names a file (`ini`, `include`, ...) puts the settings of that file in
its place; `if-...` and `for...` decide which settings there are. Values are expanded when all of them are known,
because `%(name)` may stand above `name`.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterable, Mapping

from trio_uwsgi._uwsgi_config.expansion import (
    Surroundings,
    expanded,
    magic_of,
    with_environment,
    with_magic,
    with_options,
)
from trio_uwsgi._uwsgi_config.formats import FORMATS, format_of, parse_ini
from trio_uwsgi._uwsgi_config.settings import Place, Setting
from trio_uwsgi.errors import ConfigError

__all__ = ["INCLUDES", "LOGIC", "PLACEHOLDERS", "Reading", "is_config_file", "read_settings"]

# Options that put the settings of a file in their place.
INCLUDES = frozenset((*FORMATS, "include", "inherit", "config", "inject-before", "inject-after"))
_LOOPS = frozenset(("for", "for-times", "for-glob", "for-readline"))
_ENDS = frozenset(("endif", "end-if", "endfor", "end-for"))
PLACEHOLDERS = frozenset(("set", "set-placeholder", "set-ph"))
_SAME = {
    "ifenv": "if-env",
    "ifexists": "if-exists",
    "ifdir": "if-dir",
    "if-directory": "if-dir",
    "ifplugin": "if-plugin",
}
_CONDITIONS = frozenset(
    f"if-{negation}{what}" for negation in ("", "not-") for what in ("env", "exists", "opt", "file", "dir")
) | {f"if-{negation}{what}" for negation in ("", "not-") for what in ("hostname", "hostname-match", "plugin", "reload")}
LOGIC = _LOOPS | _ENDS | _CONDITIONS | frozenset(_SAME)

_LONGEST_CHAIN = 20  # files that include files


def is_config_file(word: str) -> bool:
    """Does a word of a command line name a configuration file, perhaps with a section?"""
    return re.search(r"\.(ini|ya?ml|json|js|xml)(:[^/]*)?$", word) is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What was read. `lines` has every setting in order, with False for one whose condition does not hold;
    `placeholders` are the names that values refer to, and those that `set` declares.
    """

    lines: tuple[tuple[Setting, bool], ...]
    placeholders: frozenset[str]


def read_settings(given: Iterable[Setting], around: Surroundings) -> Reading:
    """Read all that is given, and the files that it names. All values that count are expanded.

    Args:
        given: settings of the environment and the command line, in order.
        around: the machine.
    Raises:
        ConfigError: a file cannot be read or understood.
    """
    reader = _Reader(around)
    reader.take(given, {}, 0)
    active = reader.settings
    used = frozenset(name for setting in active for name in re.findall(r"%\(([^()]*)\)", setting.value))
    asked = frozenset(setting.value.partition("=")[0] for setting in active if setting.name in ("if-opt", "if-not-opt"))
    declared = frozenset(setting.value.partition("=")[0] for setting in active if setting.name in PLACEHOLDERS)
    lines = tuple(
        (setting._replace(value=expanded(setting, active, around)) if holds else setting, holds)
        for setting, holds in reader.lines
    )
    return Reading(lines, used | asked | declared)


@dataclasses.dataclass(slots=True)
class _Logic:
    """The condition or the loop that lines stand in. `items` are what `%(_)` stands for, one line for each."""

    name: str
    place: Place
    items: list[str]


class _Reader:
    """The settings that were read so far."""

    def __init__(self, around: Surroundings) -> None:
        self.settings: list[Setting] = []
        self.lines: list[tuple[Setting, bool]] = []
        self._around = around
        self._first: Mapping[str, str] = {}

    def take(self, given: Iterable[Setting], magic: Mapping[str, str], depth: int) -> None:
        """Add these settings, and those of the files that they name.

        Args:
            given: settings as they are written.
            magic: what their magic variables stand for; empty on the command line.
            depth: how many files led here.
        """
        logic: _Logic | None = None
        for raw in given:
            value = with_environment(with_magic(raw.value, magic) if magic else raw.value, self._around.env)
            setting = Setting(with_magic(raw.name, magic) if magic else raw.name, value, raw.place)
            name = setting.name
            if name in _ENDS:
                if logic is None:
                    raise ConfigError(f"{setting.place}: {name} ends nothing", "remove it")
                logic = None
                self._note(setting)
            elif name in LOGIC:
                if logic is not None:
                    raise ConfigError(
                        f"{setting.place}: {name} within {logic.name} of line {logic.place.line}",
                        "end that first; conditions and loops have no others inside, as in uWSGI",
                    )
                logic = _Logic(name, setting.place, self._items(setting))
                self._note(setting)
            elif logic is not None and not logic.items:
                self.lines.append((setting, False))
            else:
                for item in [None] if logic is None else logic.items:
                    self._add(
                        setting if item is None else setting._replace(value=value.replace("%(_)", item)), magic, depth
                    )
        # uWSGI takes the end of a file for the end of a condition, too.

    def _note(self, setting: Setting) -> None:
        self.settings.append(setting)
        self.lines.append((setting, True))

    def _add(self, setting: Setting, magic: Mapping[str, str], depth: int) -> None:
        self._note(setting)
        if setting.name in PLACEHOLDERS:
            name, equals, value = setting.value.partition("=")
            if not equals:
                raise ConfigError(f"{setting.place}: {setting.name} {setting.value} has no value", "write name=value")
            self._note(Setting(name, value, setting.place))
        elif setting.name in INCLUDES:
            self._include(setting, magic, depth)

    def _include(self, setting: Setting, magic: Mapping[str, str], depth: int) -> None:
        path, section = _path_and_section(with_options(setting.value, self.settings))
        path = path or magic.get("o", "")
        if depth == _LONGEST_CHAIN:
            raise ConfigError(f"{setting.place}: {path} includes itself", "remove one of the includes")
        parse = FORMATS.get(setting.name) or format_of(path) or parse_ini
        try:
            text = self._around.read(path)
        except OSError as error:
            raise ConfigError(
                f"{setting.place}: cannot read {path or repr('')}: {error.strerror}", "name a file that can be read"
            ) from None
        inner = magic_of(path, section, self._first, self._around)
        self._first = self._first or inner
        self.take(parse(text, path, section), inner, depth + 1)

    def _items(self, logic: Setting) -> list[str]:
        """What `%(_)` stands for in each repetition; empty if a condition does not hold."""
        name = _SAME.get(logic.name, logic.name)
        value = with_options(logic.value, self.settings)
        if name == "for":
            return value.split()
        if name == "for-times":
            if not re.fullmatch("[0-9]{1,6}", value):
                raise ConfigError(f"{logic.place}: {name} {value!r} is not a number", "write how often")
            return [str(number) for number in range(1, int(value) + 1)]
        if name == "for-glob":
            return sorted(self._around.glob(value))
        if name == "for-readline":
            try:
                return self._around.read(value).splitlines()
            except OSError as error:
                raise ConfigError(f"{logic.place}: cannot read {value}: {error.strerror}", "name a file") from None
        what = name.removeprefix("if-")
        holds, stands_for = self._holds(what.removeprefix("not-"), value)
        return [stands_for] if holds != what.startswith("not-") else []

    def _holds(self, what: str, value: str) -> tuple[bool, str]:
        around = self._around
        if what in ("env", "opt"):
            name, equals, wanted = value.partition("=")
            if what == "env":
                found = around.env.get(name)
            else:
                found = next((setting.value for setting in self.settings if setting.name == name), None)
            return found is not None and (not equals or found == wanted), found or ""
        if what == "reload":
            return False, ""  # a configuration is read at the start only
        if what == "hostname":
            return around.hostname == value, value
        if what == "hostname-match":
            try:
                return re.search(value, around.hostname) is not None, value
            except re.error as error:
                raise ConfigError(f"if-hostname-match = {value}: {error}", "write a regular expression") from None
        if what == "plugin":
            return value.startswith("python"), value
        test = {"exists": around.exists, "file": around.is_file, "dir": around.is_dir}[what]
        return test(value), value


def _path_and_section(value: str) -> tuple[str, str]:
    folder, name = posixpath.split(value)
    file, colon, section = name.partition(":")
    return posixpath.join(folder, file), section if colon and section else "uwsgi"
