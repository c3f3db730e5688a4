"""The directives `command-line-options` and `spool-commands`: what the parsers of the command line know, as tables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sphinx.util.docutils import SphinxDirective

from trio_uwsgi._program import command_line, command_options
from trio_uwsgi._spool import command

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

# Options without a field of `Config`, which other options of the same page explain.
_ALSO = {
    "processes": "workers",
    "log_level": "",
    "factory": "",
    "mount": "",
    "pythonpath": "",
    "virtualenv": "",
    "pyargv": "",
    "imports": "",
    "logto": "",
    "config": "",
    "print_config": "",
    "help": "",
    "version": "",
    "app": "",
}


class Row(NamedTuple):
    """One option: how it is written, the field that it sets ("" for none), its text and its default."""

    written: str
    field: str
    text: str
    default: str


def rows_of(actions: list[argparse.Action]) -> Iterator[Row]:
    """The options of a parser, as `--help` has them. A default is in brackets at the end of the text."""
    for action in actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if action.choices and not metavar:
            metavar = "|".join(map(str, action.choices))
        value = f" {metavar}" if action.nargs != 0 else ""
        names = sorted(action.option_strings, key=len, reverse=True)
        # The name that is the field's comes first, and short ones come last.
        own = next((name for name in names if name.lstrip("-").replace("-", "_") == action.dest), "")
        ordered = [own, *(name for name in names if name != own)] if own else names
        written = ", ".join(name + value for name in ordered) or metavar
        found = re.fullmatch(r"(.*?)(?: \[([^\]]*)\])?", action.help or "")
        assert found is not None
        yield Row(written, "" if action.dest in _ALSO else action.dest, found[1], found[2] or "")


def table(rows: list[Row], *, linked: bool) -> list[str]:
    """Rows as a table in Markdown; an option is a link to its field of `Config` if it has one."""
    lines = ["| option | meaning | default |", "|---|---|---|"]
    for row in rows:
        written = row.written.replace("|", "\\|")
        option = (
            ", ".join(f"{{py:attr}}`{name} <trio_uwsgi.Config.{row.field}>`" for name in written.split(", "))
            if linked and row.field
            else ", ".join(f"`{name}`" for name in written.split(", "))
        )
        text = row.text.replace("|", "\\|")
        lines.append(f"| {option} | {text[0].upper()}{text[1:]} | {f'`{row.default}`' if row.default else ''} |")
    return [*lines, ""]


def options() -> str:
    """All options of the server, by group."""
    lines: list[str] = []
    for group in command_line._parser()._action_groups:
        rows = [row for row in rows_of(group._group_actions) if row.written != "APP"]
        if rows:
            assert group.title is not None
            lines += [f"### {group.title.capitalize()}", "", *table(rows, linked=True)]
    return "\n".join(lines)


def spool_commands() -> str:
    """All commands of `trio-uwsgi spool`, with their options."""
    lines: list[str] = []
    (subparsers,) = (action for action in command._parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, parser in subparsers.choices.items():
        rows = [row for row in rows_of(parser._actions) if row.written.strip() not in ("DIR", "--help, -h")]
        text = parser.description
        lines += [f"### spool {name}", "", f"{text[0].upper()}{text[1:]}.", "", *table(rows, linked=False)]
    return "\n".join(lines)


class CommandLineOptions(SphinxDirective):
    """The directive `command-line-options`."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        self.env.note_dependency(command_line.__file__)
        self.env.note_dependency(command_options.__file__)
        return self.parse_text_to_nodes(options(), allow_section_headings=True)


class SpoolCommands(SphinxDirective):
    """The directive `spool-commands`."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        self.env.note_dependency(command.__file__)
        return self.parse_text_to_nodes(spool_commands(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-line-options", CommandLineOptions)
    app.add_directive("spool-commands", SpoolCommands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
