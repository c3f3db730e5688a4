"""What Sphinx and Furo leave out for readers who use a keyboard or a screen reader.

Blocks of code and tables that are wider than the page take the focus, so that keys scroll them. Signatures of several
lines, which Sphinx writes as lists of definitions without terms, are said to be no lists.
"""

import re

from sphinx.application import Sphinx

# Furo puts each table into a wrapper that scrolls.
_SCROLLS = re.compile(r'<pre(?=>)|<div class="table-wrapper[^"]*"')

_LISTS = re.compile(r'<dl>(?=\n<dd><em class="sig-param")|<dd>(?=<em class="sig-param")')


def _accessible(app: Sphinx, page: str, template: str, context: dict[str, object], doctree: object) -> None:
    if isinstance(body := context.get("body"), str):
        body = _SCROLLS.sub(r'\g<0> tabindex="0"', body)
        context["body"] = _LISTS.sub(lambda found: f'{found[0][:-1]} role="presentation">', body)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    # After Furo has put the wrappers around the tables.
    app.connect("html-page-context", _accessible, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
