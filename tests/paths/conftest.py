"""Leaves out the tests that need processes for members, where the system has none."""

from __future__ import annotations

from tests.paths.placements import HAS_PROCESSES

collect_ignore = [] if HAS_PROCESSES else ["test_process_tests.py"]
