"""The docstrings of the package, as CONTRIBUTING.md describes them, turned into what Sphinx reads.

`Checkpoint:`, `Cancellation:` and `uWSGI:` become fields beside the parameters. A name in single backticks becomes a
link if it is the name of something, and plain code otherwise.
"""

import re

from sphinx.application import Sphinx
from sphinx.roles import AnyXRefRole

_FIELD = re.compile(r"(Checkpoint|Cancellation|uWSGI): +(.*)")
_SECTION = re.compile(r"(Args|Returns|Yields|Raises|Example|Examples|Checkpoint|Cancellation|uWSGI):")


def _fields(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn the sections of one line into fields, with the lines that continue them."""
    turned: list[str] = []
    inside = False
    for line in lines:
        found = _FIELD.match(line)
        if found:
            if turned and turned[-1] and not turned[-1].startswith(":"):
                turned.append("")
            turned.append(f":{found[1]}: {found[2]}")
            inside = True
        elif inside and line.strip() and not _SECTION.match(line):
            turned.append("    " + line.strip())
        else:
            inside = False
            if _SECTION.match(line) and turned and turned[-1]:
                turned.append("")
            turned.append(line)
    lines[:] = turned


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("code_or_link", AnyXRefRole(warn_dangling=False))
    # Before napoleon, whose priority is the usual 500.
    app.connect("autodoc-process-docstring", _fields, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
