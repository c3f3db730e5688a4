"""What every test may use. The fixtures of a runtime are the package's own, in `trio_uwsgi._pytest_plugin`."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import sys
import zlib
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

PACKAGE = Path(__file__).parents[1] / "trio_uwsgi"

# Seconds that a test may take; and after how many more whatever then still waits in it is interrupted again.
LONGEST, AGAIN = 300, 30
# The tests wait about half of their time; each worker more costs seconds of a core, as it collects all tests.
WORKERS_PER_CORE, MOST_WORKERS = 3, 9


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

# Where bytecode is not kept, as in many containers, each worker would compile each test anew, which takes ten seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes says more of what else the machine does than of the code.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With LONG_PART=0 or LONG_PART=1, leave out the other half of the long tests."""
    if part := os.environ.get("LONG_PART"):
        long = [item for item in items if item.get_closest_marker("long")]
        other = {item for item in long if zlib.crc32(item.nodeid.encode()) % 2 != int(part)}
        config.hook.pytest_deselected(items=list(other))
        items[:] = [item for item in items if item not in other]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run a whole run in several processes, since most of what is slow here waits.

    A run of a file, of a folder or of some names (`-k`), and one that a debugger or a reader of the output watches,
    stays in one process: workers need seconds to start. Whoever says `-n` or `-p no:xdist` gets that.
    """
    option = config.option
    if hasattr(config, "workerinput") or not hasattr(option, "numprocesses"):
        return
    watched = option.usepdb or option.trace or option.collectonly or option.capture == "no"
    if option.numprocesses is None and not (option.file_or_dir or option.keyword or watched or option.tx):
        option.numprocesses = min(MOST_WORKERS, WORKERS_PER_CORE * (os.cpu_count() or 1))
    if option.numprocesses and option.dist == "no":
        option.dist = "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package for the programs that tests start.

    They write no bytecode, as they import files that change, and pytest's own is not for them: without this, each of
    hundreds of them would compile the whole package.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(PACKAGE, quiet=2)


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


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, object] | None, object]:
    """Let a worker's report reach the process that prints it: what was logged may be no UTF-8, which is not sent."""
    return _encodable((yield))


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encodable(item) for item in value)
    return value


@pytest.fixture
def curl() -> str:
    """The path of curl; a test that needs it is skipped without it."""
    path = shutil.which("curl")
    if path is None:
        pytest.skip("curl is not installed")
    return path
