"""The docstrings of the package, as CONTRIBUTING.md describes them, turned into what Sphinx reads; and links to them.

- `Checkpoint:`, `Cancellation:`, `uWSGI:` and the like become fields beside the parameters.
- `Example:` becomes a block of Python.
- The arguments of errors and dataclasses are described as attributes, each with an entry of its own.
- Code in single backticks becomes a link if it is the name of something, and plain code otherwise. On the Markdown
  pages a name becomes a link only if it can mean one thing: `Config.mercy`, `uwsgi.signal`, `--mercy`.
- Types in signatures link to their public entry, wherever they are defined.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxRole

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

    from docs.extensions import names
else:
    import names

# Sections that become fields, and how these are called on the page.
_FIELDS = {
    "Checkpoint": "Checkpoint",
    "Cancellation": "Cancellation",
    "Resource handling": "Resource handling",
    "Error handling": "Error handling",
    "uWSGI": "In uWSGI",
}
_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|" + "|".join(_FIELDS) + r"):(?: +(.*))?")
# A default that is a whole `Config`.
_DEFAULTS = re.compile(r"(Config)\(http=.*?disable_logging=\w+\)")
# Classes that only the runtime makes, so that their constructors are of no use to a reader.
_MADE_BY_THE_RUNTIME = {
    "Runtime",
    "RuntimeUnderTest",
    "LocalCache",
    "TimerHandle",
    "EventLog",
    "Spooled",
    "AccessRules",
}
# Names in signatures that have no entry: type variables, and types that mean no more than what the page says of them.
_NO_ENTRY = {"F", "J", "M", "P", "R", "T", "Ts", "U", "T_co", "SignalHandler", "Registering", "Wait", "Timer", "Signal"}
_NO_ENTRY |= {"Handler", "JobVars", "Connection", "Item", "Peer", "Stream", "httpx.AsyncClient", "Placement"}


def sections_of(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The sections of a docstring: the name, `""` for the text before them, and the dedented lines."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        if begins := _SECTION.fullmatch(line.rstrip()):
            found.append((begins[1], [begins[2]] if begins[2] else []))
        elif line.strip() and not line.startswith(" ") and found[-1][0]:
            found.append(("", [line]))  # text again
        else:
            found[-1][1].append(line)
    return [(name, lines if not name else _dedented(lines)) for name, lines in found]


def _dedented(lines: list[str]) -> list[str]:
    first = [line for line in lines[:1] if not line.startswith(" ")]
    return first + textwrap.dedent("\n".join(lines[len(first) :])).strip("\n").splitlines()


def as_rest(lines: list[str], full: str, obj: object) -> list[str]:
    """A docstring in the form that Sphinx and napoleon read."""
    scope = names.scope_of(full, obj)
    made: list[str] = []
    for name, text in sections_of(lines):
        if name == "Example":
            made += ["", ".. rubric:: Example", "", ".. code-block:: python", "", *(f"    {line}" for line in text), ""]
            continue
        linked = _linked(text, scope, in_uwsgi=name == "uWSGI")
        if name in _FIELDS:
            first, *rest = linked or [""]
            made += ["", f":{_FIELDS[name]}: {first}", *(f"    {line.strip()}" for line in rest)]
        elif name in ("Args", "Attributes") and inspect.isclass(obj):
            made += ["", *_attributes(obj, name, linked), ""]
        elif name:
            made += ["", f"{name}:", *(f"    {line}" for line in linked), ""]
        else:
            made += linked
    return made


def _linked(lines: list[str], scope: names.Scope, *, in_uwsgi: bool) -> list[str]:
    """The lines, with a role for what stands in single backticks. What is said of uWSGI's own names is no link."""

    def role(content: str) -> str:
        flat = " ".join(content.split())
        full = None if in_uwsgi and content.startswith(("uwsgi.", "uwsgidecorators")) else names.entry_of(flat, scope)
        return f"``{content}``" if full is None else f":py:obj:`{flat} <{full}>`"

    return names.replace_code("\n".join(lines), role).splitlines()


def _attributes(cls: type, section: str, lines: list[str]) -> list[str]:
    """The section as entries of attributes, with types; as it is, where arguments are no attributes."""
    if section == "Args" and not names.has_arguments_as_attributes(cls):
        return ["Args:", *(f"    {line}" for line in lines)]
    known = set(names.attributes_of(cls))
    types = {name: getattr(of, "__forward_arg__", of) for name, of in inspect.get_annotations(cls).items()}
    made: list[str] = []
    shown = False
    for line in lines:
        if found := re.match(r"(\w[\w, ]*): (.*)", line):
            described = found[1].split(", ")
            if shown := set(described) <= known:
                made += ["", f".. attribute:: {described[0]}", *(f"               {name}" for name in described[1:])]
                made += [f"   :type: {types[name]}" for name in described[:1] if name in types]
                made += ["", f"   {found[2][0].upper()}{found[2][1:]}"]
        elif shown:
            made.append(f"   {line.strip()}")
    return made


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = as_rest(lines, name, obj)


def _signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """The signature that is shown."""
    if not inspect.isclass(obj):
        return (
            (_DEFAULTS.sub(r"\1()", signature).replace("datetime.timezone.utc", "UTC"), returns) if signature else None
        )
    if obj in names.STATISTICS or obj.__name__ in _MADE_BY_THE_RUNTIME or issubclass(obj, BaseException):
        return "", None
    return ("(**options)", None) if obj.__name__ == "Config" else None


def _link_code(app: Sphinx, doctree: nodes.document) -> None:
    """Make links of inline code on the Markdown pages. Entries of the API and headings are left as they are."""
    for literal in list(doctree.findall(nodes.literal)):
        parents = []
        node: nodes.Node | None = literal.parent
        while node is not None:
            parents.append(node)
            node = node.parent
        if any(
            isinstance(parent, nodes.title | nodes.reference | addnodes.pending_xref | addnodes.desc)
            for parent in parents
        ):
            continue
        if full := names.entry_of(literal.astext()):
            _replace(literal, full, app.env.docname)


def _replace(literal: nodes.literal, full: str, docname: str) -> None:
    link = addnodes.pending_xref(
        "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=full, refexplicit=True, refdoc=docname
    )
    literal.replace_self(link)


class CodeOrLink(SphinxRole):
    """The default role, outside of docstrings: the name of something is a link, everything else is code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Called by Sphinx."""
        literal = nodes.literal(self.rawtext, self.text)
        if full := names.entry_of(self.text):
            paragraph = nodes.paragraph("", "", literal)
            _replace(literal, full, self.env.docname)
            return list(paragraph.children), []
        return [literal], []


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.TextElement
) -> nodes.Node | None:
    """Find the public entry of a name that Sphinx met under another one; a name without an entry is plain text."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    last = target.rpartition(".")[2]
    full = names.PLAIN.get(last)
    if full is not None and full != target and target.rpartition(".")[0].split(".")[0] in ("", "trio_uwsgi", "errors"):
        domain = env.domains.python_domain
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, shown)
    if {last, target} & _NO_ENTRY:
        return shown
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("code_or_link", CodeOrLink())
    # Before napoleon, whose priority is the usual 500.
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-read", _link_code)
    app.connect("missing-reference", _resolve, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
