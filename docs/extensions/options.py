"""The directive `config-options`: every field of `Config`, with what its own comment in the source says."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from typing import TYPE_CHECKING, NamedTuple, get_args

from sphinx.util.docutils import SphinxDirective

from trio_uwsgi import Config
from trio_uwsgi._program.command_options import OPTIONS, flag_of
from trio_uwsgi.config import config as source

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

    from docs.extensions import names
else:
    import names


# Code in backticks, or else a value in quotes, which is code too.
_QUOTED = re.compile(r'`[^`]*`|(?<![`{:"])"[\w:./,& -]+"(?![`:])')


class Group(NamedTuple):
    """Fields between two headings of the source: a title, what it says beside it, and the fields."""

    title: str
    more: str
    fields: list[Field]


class Field(NamedTuple):
    """One comment, with the fields that it is about (more than one where they stand together)."""

    names: list[str]
    comment: str


def groups() -> list[Group]:
    """The fields of `Config`, as its source has them: headings `# ----- title; more`, a comment, then its fields."""
    (cls,) = (
        node
        for node in ast.parse(inspect.getsource(source)).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    text = inspect.getsource(source).splitlines()
    annotated = {node.lineno: node for node in cls.body if isinstance(node, ast.AnnAssign)}
    found: list[Group] = []
    comment: list[str] = []
    heading = False
    for number in range(cls.lineno, (cls.end_lineno or 0) + 1):
        line = text[number - 1].strip()
        if line.startswith("# -----"):
            title, _, more = line.removeprefix("# -----").strip().partition(";")
            title, colon, rest = title.partition(":")
            found.append(Group(title.strip(), (rest if colon else more).strip(), []))
            heading, comment = True, []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif number in annotated:
            name = annotated[number].target
            assert isinstance(name, ast.Name)
            if comment:
                found[-1].fields.append(Field([name.id], " ".join(comment)))
            else:
                found[-1].fields[-1].names.append(name.id)
            comment = []
        elif not line and comment and heading:
            found[-1] = found[-1]._replace(more=" ".join([found[-1].more, *comment]).strip())
            comment = []
        if line and not line.startswith("#"):
            heading = False
        if line.startswith("def "):
            break
    return found


def default_of(name: str) -> str:
    """The default of a field, as one writes it."""
    (field,) = (field for field in dataclasses.fields(Config) if field.name == name)
    value = field.default
    if value is dataclasses.MISSING:
        assert field.default_factory is not dataclasses.MISSING
        value = field.default_factory()
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000 else repr(value)


def flags_of(name: str) -> str:
    """How a field is written on the command line."""
    written = [
        " ".join(filter(None, [flag, option.metavar]))
        for option in OPTIONS
        if option.field == name
        for flag in (flag_of(option), *option.aliases)
    ]
    repeatable = any(option.collect for option in OPTIONS if option.field == name)
    return " or ".join(f"`{words}`" for words in written) + (", which may be repeated" if repeatable else "")


def type_of(name: str) -> str:
    """The type of a field, without the names that only the source has."""
    (field,) = (field for field in dataclasses.fields(Config) if field.name == name)
    choices = {"Interface": source.Interface, "Lifespan": source.Lifespan, "Placement": source.Placement}
    text = str(field.type)
    if text in choices:
        return f"Literal[{', '.join(map(repr, get_args(choices[text])))}]"
    return text


def linked(comment: str, name: str) -> str:
    """The comment of a field; other fields and names of the API in it are links."""
    scope = names.Scope(cls="Config", own=frozenset({name}))

    def role(code: str) -> str:
        full = names.entry_of(code, scope)
        return f"`{code}`" if full is None else f"{{py:obj}}`{code} <{full}>`"

    def as_code(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith("`") else f"`{found[0]}`"

    return names.replace_code(_QUOTED.sub(as_code, comment), role)


def page() -> str:
    """All options, as the Markdown of their page."""
    lines: list[str] = []
    for group in groups():
        lines += [f"## {group.title[0].upper()}{group.title[1:]}", "", sentence(group.more), ""]
        for field in group.fields:
            for name in field.names:
                lines += [f":::{{py:attribute}} Config.{name}", ":module: trio_uwsgi", f":type: {type_of(name)}"]
                lines += [f":value: {json.dumps(default_of(name))}", "", linked(field.comment, name), ""]
                lines += [f"On the command line: {flags_of(name)}.", ":::", ""]
    return "\n".join(lines)


def sentence(text: str) -> str:
    """What a heading says beside its title, as a sentence."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


class ConfigOptions(SphinxDirective):
    """The directive. The options of the command line become targets of the role `option`."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        self.env.note_dependency(source.__file__)
        for flag, field in names.FLAGS.items():
            self.env.domains.standard_domain.add_program_option(None, flag, self.env.docname, field)
        return self.parse_text_to_nodes(page(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("config-options", ConfigOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
