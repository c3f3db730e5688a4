"""What is not collected where there are no processes for members: nobody shall have to skip it."""

from __future__ import annotations

from tests.paths.placements import HAS_PROCESSES

collect_ignore = [] if HAS_PROCESSES else ["test_process_tests.py"]
