"""The formats of uWSGI's configuration files: ini, yaml, json and xml, each as settings with their lines. Pure.

Nothing is expanded here; `reading.py` does that. All refuse what they cannot read with the line's number. Of YAML this
is the part that configurations use: one level of keys below `uwsgi:`, with scalars or lists of scalars.
"""

from __future__ import annotations

import json
import re
import xml.parsers.expat
from collections.abc import Callable, Mapping
from typing import TypeAlias

from trio_uwsgi._uwsgi_config.settings import Place, Setting
from trio_uwsgi.errors import ConfigError

__all__ = ["FORMATS", "format_of", "parse_ini", "parse_json", "parse_xml", "parse_yaml"]

# Takes the text, the file's name and the section.
Parser: TypeAlias = Callable[[str, str, str], list[Setting]]

_COMMENT = re.compile(r"\s+#.*$")


def parse_ini(text: str, file: str, section: str) -> list[Setting]:
    """Read one section of an ini file. A section that occurs several times is one section.

    Raises:
        ConfigError: there is no such section.
    """
    found: list[Setting] = []
    current: str | None = None
    names = set()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            current = line[1:].partition("]")[0]
            names.add(current)
        elif current == section:
            name, _, value = line.partition("=")
            found.append(Setting(name.strip(), value.strip(), Place(file, number)))
    _require_section(section, names, file)
    return found


def parse_yaml(text: str, file: str, section: str) -> list[Setting]:
    """Read the keys below one key of the first level.

    Raises:
        ConfigError: a line is not understood, or there is no such key.
    """
    found: list[Setting] = []
    current: str | None = None
    names = set()
    key = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw.rstrip())
        stripped = line.strip()
        place = Place(file, number)
        if not stripped or stripped[0] == "#" or stripped in ("---", "..."):
            continue
        if item := re.fullmatch(r"-\s+(.*)", stripped):
            if current == section:
                if not key:
                    raise ConfigError(f"{place}: an item without a key", "write the key above its items")
                found.append(Setting(key, _scalar(item[1]), place))
            continue
        pair = re.fullmatch(r"([^\s:]+)\s*:(?:\s+(.*))?", stripped)
        if pair is None or (pair[2] or "")[:1] in ("{", "[", "|", ">", "&", "*"):
            raise ConfigError(
                f"{place}: {stripped!r} is not understood", "write `name: value`, or `name:` and `- value` below it"
            )
        if line[0] not in " \t":
            current, key = pair[1], ""
            names.add(current)
        elif current == section:
            key = ""
            if pair[2] is None:
                key = pair[1]
            else:
                found.append(Setting(pair[1], _scalar(pair[2]), place))
    _require_section(section, names, file)
    return found


def _scalar(text: str) -> str:
    quoted = re.fullmatch(r"""(["'])(.*)\1""", text.strip())
    return quoted[2] if quoted else text.strip()


def parse_json(text: str, file: str, section: str) -> list[Setting]:
    """Read the object below one key. Of each key, the line is that of its next mention in the text.

    Raises:
        ConfigError: it is not JSON, there is no such key, or a value has a structure of its own.
    """
    try:
        whole = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{Place(file, error.lineno)}: this is not JSON: {error.msg}", "correct the file") from None
    pairs = whole if isinstance(whole, list) else []
    top = {pair[0]: pair[1] for pair in pairs if isinstance(pair, tuple)}
    _require_section(section, set(top), file)
    found = []
    at = 0
    for name, given in top[section] if isinstance(top[section], list) else []:
        at = max(text.find(json.dumps(name), at), at)
        place = Place(file, text.count("\n", 0, at) + 1)
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, tuple | list):
                raise ConfigError(f"{place}: {name} has an object", "write a text, a number, true, or a list of these")
            found.append(Setting(name, _json_text(value), place))
    return found


def _json_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def parse_xml(text: str, file: str, section: str) -> list[Setting]:
    """Read the elements below `<uwsgi>`; the section is the element's attribute `id`.

    Raises:
        ConfigError: it is not XML, or there is no such element.
    """
    found: list[Setting] = []
    opened: list[tuple[str, int]] = []
    inside: list[bool] = []
    texts: list[str] = []
    names = set()
    parser = xml.parsers.expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "uwsgi":
            names.add(attributes.get("id", "uwsgi"))
            inside.append(attributes.get("id", "uwsgi") == section)
        opened.append((name, parser.CurrentLineNumber))
        texts.clear()

    def end(name: str) -> None:
        _, line = opened.pop()
        if name == "uwsgi":
            inside.pop()
        elif inside and inside[-1]:
            found.append(Setting(name, "".join(texts).strip(), Place(file, line)))
        texts.clear()

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, texts.append
    try:
        parser.Parse(text, True)
    except xml.parsers.expat.ExpatError as error:
        what = xml.parsers.expat.ErrorString(error.code)
        raise ConfigError(f"{Place(file, error.lineno)}: this is not XML: {what}", "correct the file") from None
    _require_section(section, names, file)
    return found


def _require_section(section: str, names: set[str], file: str) -> None:
    if section not in names:
        there = f"it has {', '.join(sorted(names))}" if names else "it has none"
        raise ConfigError(f"{file} has no section {section}; {there}", f"name one, as in {file}:section")


# Options that name a file, and the format it is in.
FORMATS: Mapping[str, Parser] = {
    "ini": parse_ini,
    **dict.fromkeys(("yaml", "yml"), parse_yaml),
    **dict.fromkeys(("json", "js"), parse_json),
    **dict.fromkeys(("xml", "xmlconfig"), parse_xml),
}


def format_of(path: str) -> Parser | None:
    """The format of a file by the end of its name; None if that says nothing."""
    return FORMATS.get(path.rpartition(".")[2]) if "." in path else None
