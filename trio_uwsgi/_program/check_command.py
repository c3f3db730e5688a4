"""The command `trio-uwsgi check FILE`: what becomes of each option of a uWSGI configuration.

Exit codes: 0 if the server would start with it, 1 if an option is refused, unknown or has an impossible value, 2 if the
configuration cannot be read.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trio_uwsgi._program.command_hints import in_options
from trio_uwsgi._program.command_line import UsageError, fields_of, parse
from trio_uwsgi._program.file_watcher import require_watchfiles
from trio_uwsgi._program.uwsgi_files import translated
from trio_uwsgi.config import Config
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._uwsgi_config.translation import Explained, Translation

__all__ = ["main", "mistakes", "with_impossible_values"]

WRONG = 1
UNREADABLE = 2

_TEMPLATE = """\
# /etc/systemd/system/uwsgi@.service; then: systemctl enable --now uwsgi@NAME, for each file {folder}/NAME.ini
[Unit]
After=network.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} --ini {folder}/%i.ini
ExecReload=/bin/kill -HUP $MAINPID
Restart=always

[Install]
WantedBy=multi-user.target
"""


_USAGE = """\
usage: trio-uwsgi check [--format text|json] FILE
       trio-uwsgi check [--format text|json] OPTIONS

Explain each option of a uWSGI configuration: FILE is a file of uWSGI, OPTIONS is a command line of uWSGI.
The exit code is 0 if a server would start with it, 1 if not, and 2 if it cannot be read.
"""


def main(argv: Sequence[str]) -> int:
    """Run `trio-uwsgi check` with these arguments, and return the exit code (see the top of this module)."""
    if argv[:1] in (["--help"], ["-h"]):
        print(_USAGE, end="")
        return 0
    try:
        form, words = _form(argv)
        if not words:
            raise ConfigError("no configuration", "write trio-uwsgi check uwsgi.ini")
        translation = with_impossible_values(translated(words))
    except ConfigError as error:
        sys.stderr.write(f"trio-uwsgi: {error}\n")
        return UNREADABLE
    wrong = mistakes(translation)
    (_print_json if form == "json" else _print_text)(translation, wrong)
    return WRONG if wrong else 0


def _form(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The form of the output, and the words without the option that names it."""
    words = list(argv)
    form = "text"
    for at, word in enumerate(argv):
        if word.partition("=")[0] == "--format":
            form = word.partition("=")[2] or "".join(argv[at + 1 : at + 2])
            del words[at : at + 1 + ("=" not in word)]
            break
    if form not in ("text", "json"):
        raise ConfigError(f"there is no format {form!r}", "write --format=text or --format=json")
    return form, words


def with_impossible_values(translation: Translation) -> Translation:
    """The same, in which options whose values cannot be parsed are refused."""
    return dataclasses.replace(translation, lines=tuple(map(_tried, translation.lines)))


def _tried(line: Explained) -> Explained:
    if not line.words:
        return line
    try:
        parse(["app", *line.words])
    except UsageError as error:
        return line._replace(kind="refused", words=(), note="; ".join(error.lines))
    return line


def mistakes(translation: Translation) -> list[str]:
    """What keeps the server from starting, a line for each."""
    found = [_mistake(line) for line in translation.wrong]
    if not translation.application:
        found.append("no application; write module = package.module:callable, or wsgi-file = path/to/file.py")
    return found + [line for line in _contradictions(translation) if not _is_about(line, translation.wrong)]


def _contradictions(translation: Translation) -> list[str]:
    """What is wrong with the options together, without those that are refused."""
    try:
        if Config(**fields_of(parse(translation.words, needs_app=False))).reload:
            require_watchfiles()
    except UsageError as error:
        return list(error.lines)
    except ConfigError as error:
        return [in_options(line) for line in str(error).splitlines()]
    return []


def _is_about(mistake: str, lines: Iterable[Explained]) -> bool:
    """Does it name an option of these lines, which counts as not given?"""
    return any(re.search(rf"--{re.escape(line.setting.name)}(?![-\w])", mistake) for line in lines)


def _mistake(line: Explained) -> str:
    name, value, place = line.setting
    return f"{place}: {name}{f' = {value}' if value else ''}: {line.note}"


def _print_text(translation: Translation, wrong: Sequence[str]) -> None:
    rows = [
        (str(line.setting.place), f"{line.setting.name} = {line.setting.value}".rstrip(" ="), line.kind, _told(line))
        for line in translation.lines
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for place, option, kind, told in rows:
        text = f"{place:<{widths[0]}}  {option:<{min(widths[1], 44)}}  {kind:<{widths[2]}}  {told}"
        print(text.rstrip())
    emperors = [line.setting.value for line in translation.lines if line.setting.name == "emperor"]
    for folder in emperors:
        print(f"\n{_TEMPLATE.format(folder=folder.rstrip('/') or '.', command=_command())}")
    print()
    if wrong:
        print(f"This does not start: {len(wrong)} {'mistake' if len(wrong) == 1 else 'mistakes'}.")
        known = {_mistake(line) for line in translation.wrong}
        for text in wrong:
            if text not in known:
                print(text)
    else:
        print("The same on the command line:")
        print(f"trio-uwsgi {shlex.join(translation.words)}")


def _command() -> str:
    found = sys.argv[0]
    return found if found.endswith("trio-uwsgi") and found.startswith("/") else "/usr/local/bin/trio-uwsgi"


def _told(line: Explained) -> str:
    written = shlex.join(line.words)
    return "; ".join(filter(None, (written, line.note)))


def _print_json(translation: Translation, wrong: Iterable[str]) -> None:
    options = [
        {
            "file": line.setting.place.source,
            "line": line.setting.place.line,
            "option": line.setting.name,
            "value": line.setting.value,
            "verdict": line.kind,
            "becomes": list(line.words),
            "note": line.note,
        }
        for line in translation.lines
    ]
    found = {"options": options, "command": ["trio-uwsgi", *translation.words], "mistakes": list(wrong)}
    print(json.dumps(found, indent=2))
