"""Leaves out the tests of the built site where the extra `docs` is not installed."""

from __future__ import annotations

import importlib.util

collect_ignore = [] if importlib.util.find_spec("sphinx") else ["test_reference.py"]
