"""What every test may use. The fixtures of a runtime are the package's own, in `trio_uwsgi._pytest_plugin`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped has failed: there everything a test needs is installed."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def curl() -> str:
    """The path of curl; a test that needs it is skipped without it."""
    path = shutil.which("curl")
    if path is None:
        pytest.skip("curl is not installed")
    return path
