"""Blocks of code and tables that are wider than a page can be scrolled with the keyboard: they take the focus."""

import re

from sphinx.application import Sphinx

# Furo puts each table into a wrapper that scrolls.
_SCROLLS = re.compile(r'<pre(?=>)|<div class="table-wrapper[^"]*"')


def _focusable(app: Sphinx, page: str, template: str, context: dict[str, object], doctree: object) -> None:
    if isinstance(body := context.get("body"), str):
        context["body"] = _SCROLLS.sub(r'\g<0> tabindex="0"', body)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    # After Furo has put the wrappers around the tables.
    app.connect("html-page-context", _focusable, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
