"""How the site is built: `python -m sphinx -W -n docs BUILD_FOLDER`. It needs the extra `docs`, and no network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "trio_uwsgi"
author = "trio_uwsgi contributors"
copyright = author
version = release = installed_version("trio-uwsgi")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinxcontrib_trio",
    "sphinx_copybutton",
    # docs/extensions
    "command_line",
    "options",
    "uwsgi_options",
    "docstrings",
    "accessible",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "inventories", "extensions"]
nitpicky = True
# A name in single backticks is a link where it is the name of something, and plain code everywhere else.
default_role = "code_or_link"
nitpick_ignore_regex = [("any", ".*")]

# Copies, so that the site is built without a network: the one of Python from its documentation's Debian package, the
# one of Trio built from its source distribution.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "trio": ("https://trio.readthedocs.io/en/stable", "inventories/trio.inv"),
}

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist", "attrs_inline"]
myst_heading_anchors = 4
# What is not a page of the site is linked to where it is: files of the repository, beside the built pages' sources.
suppress_warnings = ["myst.xref_ambiguous"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False

# Of a block of commands and what they print, the commands are copied.
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = "trio_uwsgi"
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_show_sphinx = False
html_copy_source = False
