"""Whether this installation of the package was compiled; `setup.py` in its sources says how."""

from __future__ import annotations

import importlib.util

__all__ = ["how_built"]


def how_built() -> str:
    """As the log and `--version` say it: "compiled" or "pure Python"."""
    return "pure Python" if importlib.util.find_spec("trio_uwsgi._compiled__mypyc") is None else "compiled"
