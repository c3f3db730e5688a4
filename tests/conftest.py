"""What every test may use. The fixtures of a runtime are the package's own, in `trio_uwsgi._pytest_plugin`."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Generator

import pytest

# Seconds that a test may take; and after how many more whatever then still waits in it is interrupted again.
LONGEST, AGAIN = 300, 30


def _take_signals() -> None:
    """Let the programs that tests start have the signals of a program that was started in a shell.

    A signal that is ignored here, as under `nohup` or in some CI, would be ignored in them, too, and they could not be
    stopped by it. One that has a handler here has its default action there.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _ignore)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _ignore(number: int, frame: object) -> None:
    """As before."""


def _too_long(number: int, frame: object) -> None:
    pytest.fail(f"the test did not end in time ({LONGEST} s); it is interrupted where it waits")


_take_signals()
signal.signal(signal.SIGALRM, _too_long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """End a test that hangs, wherever: each wait for anything has an end here, but for that of a debugger."""
    signal.setitimer(signal.ITIMER_REAL, 0 if item.config.getvalue("usepdb") else LONGEST, AGAIN)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


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
