"""The directive `uwsgi-options`: the table of what becomes of uWSGI's options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sphinx.util.docutils import SphinxDirective

from trio_uwsgi._program.command_line import takes_value
from trio_uwsgi._uwsgi_config import table, table_processes, table_python, table_sockets

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

    from trio_uwsgi._uwsgi_config.rows import Row

_SECTIONS = (
    ("Sockets, HTTP and static files", table_sockets),
    ("Processes", table_processes),
    ("Applications, background work, caches and the log", table_python),
)


def line_of(row: Row) -> str:
    """One row of the table in Markdown."""
    names = ", ".join(f"`{name}`" for name in row.names)
    if row.verdict == "refused" and takes_value(row.names[0]) is not None:  # it has come to exist
        return f"| {names} | `--{row.names[0]}` | |"
    becomes = f"`{row.becomes}`" if row.becomes else row.verdict
    note = re.sub(r"(?<![`\w])(--[a-z][\w-]*)", r"`\1`", row.note).replace("|", "\\|")
    return f"| {names} | {becomes} | {note[:1].upper()}{note[1:]} |"


def page() -> str:
    """All options, by subject."""
    lines: list[str] = []
    for title, module in _SECTIONS:
        lines += [f"## {title}", "", "| uWSGI | here | note |", "|---|---|---|", *map(line_of, module.ROWS), ""]
    return "\n".join(lines)


class UwsgiOptions(SphinxDirective):
    """The directive `uwsgi-options`."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        for module in (table, table_processes, table_python, table_sockets):
            self.env.note_dependency(str(module.__file__))
        return self.parse_text_to_nodes(page(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("uwsgi-options", UwsgiOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
