"""Translate the settings of a uWSGI configuration into a command line of ours, with a line that explains each. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from trio_uwsgi._uwsgi_config.known_options import WITHOUT_VALUE
from trio_uwsgi._uwsgi_config.reading import INCLUDES, LOGIC, PLACEHOLDERS, Reading
from trio_uwsgi._uwsgi_config.rows import Verdict
from trio_uwsgi._uwsgi_config.settings import COMMAND_LINE, FALSE_WORDS, Setting
from trio_uwsgi._uwsgi_config.table import OPTIONS, row_of

__all__ = ["COMPAT", "Explained", "Kind", "Translation", "translate"]

# Besides the verdicts of the table: `read` steers the reading, `placeholder` is only a name for a value, `skipped`
# stands in a condition that does not hold, `unknown` is no option.
Kind: TypeAlias = Verdict | Literal["read", "placeholder", "skipped", "unknown"]

# uWSGI's defaults, where ours differ. The first are always added with `--compat`, the others with a spooler.
COMPAT = (
    ("--listen", "100"),
    ("--mercy", "60"),
    ("--max-header-size", "4096"),
    ("--max-headers", "64"),
    ("--socket-timeout", "4"),
    ("--node-timeout", "4"),
    ("--websocket-ping-interval", "30"),
    ("--websocket-ping-timeout", "3"),
    ("--log-format", "uwsgi"),
)
_COMPAT_SPOOLER = (("--spooler-max-tries", "0"), ("--spooler-no-fsync",))
# Options that mean nothing without another.
_NEEDS_SPOOLER = frozenset(
    ("spooler-processes", "spooler-frequency", "spooler-freq", "spooler-harakiri", "spooler-cheap")
)
# Options that ask for lines of the log, also where it is disabled.
_SOME_LINES = frozenset(("log-4xx", "log-5xx", "log-big", "log-ioerror", "log-sendfile", "log-slow", "log-zero"))
_SHARED = frozenset(("shared-socket", "undeferred-shared-socket"))
_TAKES_SHARED = frozenset(
    ("socket", "uwsgi-socket", "http", "http-socket", "http11-socket", "https", "https2", "https-socket")
)
_APP_OPTIONS = frozenset(("module", "wsgi", "wsgi-file", "file", "callable", "mount"))


class Explained(NamedTuple):
    """One setting, and what becomes of it."""

    setting: Setting
    kind: Kind
    words: tuple[str, ...]
    note: str

    @property
    def is_wrong(self) -> bool:
        """Does it keep the server from starting?"""
        return self.kind in ("refused", "unknown")


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """All settings, explained. `application` are the words that name the application, and `always` those that stand in
    every command line.
    """

    lines: tuple[Explained, ...]
    application: tuple[str, ...]
    always: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The command line that they make together."""
        given = [word for line in self.lines for word in line.words]
        return (*self.application, *_numbers(self.lines), *self.always, *given)

    @property
    def options(self) -> dict[str, bytes | bool | list[bytes]]:
        """The settings as they are written, in the types of `uwsgi.opt`."""
        found: dict[str, bytes | bool | list[bytes]] = {}
        for line in self.lines:
            name, value, place = line.setting
            if line.kind == "skipped":
                continue
            if place == COMMAND_LINE and name in WITHOUT_VALUE:
                found[name] = True
                continue
            before = found.get(name)
            given = [value.encode("utf-8", "surrogateescape")]
            found[name] = [*before, *given] if isinstance(before, list) else given
        return {
            name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in found.items()
        }

    @property
    def wrong(self) -> tuple[Explained, ...]:
        """The settings that keep the server from starting."""
        return tuple(line for line in self.lines if line.is_wrong)


def translate(reading: Reading, own: Callable[[str], bool | None], *, compat: bool = False) -> Translation:
    """Explain all settings, and put their words together.

    Args:
        reading: what was read.
        own: for a name that is not uWSGI's: does our option of this name take a value? None if there is none.
        compat: take uWSGI's defaults, and ignore what it ignores.
    """
    shared = [setting.value for setting, holds in reading.lines if holds and setting.name in _SHARED]
    explained = [
        _explain(_shared_named(setting, shared), reading.placeholders, own, compat=compat)
        if holds
        else Explained(setting, "skipped", (), "its condition does not hold")
        for setting, holds in reading.lines
    ]
    explained = [_in_context(line, explained) for line in explained]
    lines = _with_application(explained)
    always = ["--pythonpath", "."]
    if compat:
        always += [word for pair in COMPAT for word in pair]
        if any(line.setting.name == "spooler" for line in lines):
            always += [word for pair in _COMPAT_SPOOLER for word in pair]
    return Translation(tuple(lines), _application(lines), tuple(always))


def _shared_named(setting: Setting, shared: Sequence[str]) -> Setting:
    """The setting, with the address of a shared socket where it has the number of one."""
    number = re.match(r"=([0-9]+)", setting.value)
    if setting.name not in _TAKES_SHARED or number is None or int(number[1]) >= len(shared):
        return setting
    return setting._replace(value=shared[int(number[1])] + setting.value[number.end() :])


def _explain(
    setting: Setting, placeholders: frozenset[str], own: Callable[[str], bool | None], *, compat: bool
) -> Explained:
    name, value, _ = setting
    if name in LOGIC or name in PLACEHOLDERS:
        return Explained(setting, "read", (), "")
    if name in INCLUDES:
        return Explained(setting, "read", (), "its settings follow")
    row = row_of(name)
    if row is not None and (row.verdict != "refused" or own(name) is None):
        return Explained(setting, *row.judge(value))
    if name in placeholders:
        return Explained(setting, "placeholder", (), "a name for a value")
    takes_value = own(name)
    if takes_value is not None:
        off = not takes_value and value.lower() in FALSE_WORDS
        words = (f"--{name}", value) if takes_value else (f"--{name}",)
        return Explained(setting, "supported", () if off else words, "")
    if compat:
        return Explained(setting, "ignored", (), "uWSGI does not know it either")
    close = difflib.get_close_matches(name, list(OPTIONS), n=1, cutoff=0.7)
    remedy = f"write {close[0]} if you mean that" if close else "remove it"
    return Explained(setting, "unknown", (), f"there is no such option; {remedy}, or set = {name}=... for uwsgi.opt")


def _in_context(line: Explained, lines: Iterable[Explained]) -> Explained:
    """An option of which others decide what becomes of it."""
    name = line.setting.name
    given = {other.setting.name: other.setting.value for other in lines if other.kind != "skipped"}
    if line.kind == "skipped":
        return line
    if name in ("socket", "uwsgi-socket") and given.get("protocol", given.get("socket-protocol")) == "http":
        return line._replace(kind="mapped", words=("--http", *line.words[1:])) if line.words else line
    if name in ("chmod-socket", "chmod"):
        addresses = [word for other in lines if other.words[:1] in (("--socket",), ("--http",)) for word in other.words]
        if not any("/" in word or word.startswith("unix:") for word in addresses):
            return line._replace(kind="ignored", words=(), note="there is no unix socket")
    if name in _SOME_LINES and given.get("disable-logging", "false").lower() not in FALSE_WORDS:
        return line._replace(note="disable-logging disables these lines too; leave it out to have every request")
    if name == "chown-socket" and not {"uid", "gid"} & given.keys():
        return line._replace(kind="refused", note="write uid and gid, to which socket files are given")
    if name in _NEEDS_SPOOLER and "spooler" not in given:
        return line._replace(kind="ignored", words=(), note="there is no spooler")
    return line


# ----- the application


def _with_application(lines: list[Explained]) -> list[Explained]:
    """Those lines, in which the options that name applications say which."""
    found = []
    default = next((_callable(line) for line in lines if line.setting.name == "callable"), "")
    for line in lines:
        name, value, _ = line.setting
        if name in _APP_OPTIONS and line.kind != "skipped":
            if name == "mount":
                prefix, equals, target = value.partition("=")
                if not equals:
                    line = line._replace(kind="refused", note="write mount = /prefix=module:callable")
                elif prefix.rstrip("/"):
                    line = line._replace(words=("--mount", f"{prefix}={_name('mount', target, '')[0]}"))
                else:
                    line = line._replace(note=_name("mount", target, "")[0])
            elif name != "callable":
                line = line._replace(note=_name(name, value, default)[0])
        found.append(line)
    return found


def _callable(line: Explained) -> str:
    return "" if line.kind == "skipped" else line.setting.value


def _application(lines: list[Explained]) -> tuple[str, ...]:
    """The words that name the application: of several that are named, the last. Empty if none is."""
    given = {line.setting.name: line.setting.value for line in lines if line.kind != "skipped"}
    default = given.get("callable", "")
    for name in ("module", "wsgi", "wsgi-file", "file"):
        if name in given:
            return _as_words(*_name(name, given[name], default))
    mounts = [line.setting.value.partition("=") for line in lines if line.setting.name == "mount"]
    for prefix, equals, target in sorted(mounts, key=lambda mount: bool(mount[0].rstrip("/"))):
        if equals and (prefix or target):
            return _as_words(*_name("mount", target, default))
    return ()


def _as_words(app: str, factory: bool) -> tuple[str, ...]:
    return (app, "--factory") if factory else (app,)


def _name(option: str, value: str, default: str) -> tuple[str, bool]:
    """An application in our form, and whether that makes the application when it is called."""
    target, _, attribute = value.partition(":")
    is_file = option in ("wsgi-file", "file") or (option == "mount" and target.endswith((".py", ".wsgi")))
    if is_file and "/" not in target:
        target = posixpath.join(".", target)
    attribute = attribute or default
    call = re.fullmatch(r"(.*)\(\s*\)", attribute)
    attribute = call[1] if call else attribute
    return f"{target}:{attribute}" if attribute else target, call is not None


def _numbers(lines: Sequence[Explained]) -> list[str]:
    """Workers, in processes of their own as in uWSGI, and mules that are counted one by one."""
    words = [] if any("--processes" in line.words for line in lines) else ["--processes", "1"]
    single = sum(line.setting.name == "mule" and line.kind == "mapped" for line in lines)
    if single and not any("--mules" in line.words for line in lines):
        words += ["--mules", str(single)]
    return words
