"""When a spooler scans its whole directory: only when there is a reason, because a scan costs time."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, task_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._spool import directory as spool_module
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._spool.scan import Scan
from trio_uwsgi._system import inotify
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
DAY = 86400
MONTH = 30 * DAY

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system has no inotify")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of the spooler, which it makes."""
    return tmp_path / "srv" / "jobs"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a whole directory was scanned, on Trio's clock."""
    times: list[float] = []

    class Noted(Scan):
        """A scan that is noted."""

        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]  # the same
            times.append(trio.current_time())

    monkeypatch.setattr(spool_module, "Scan", Noted)
    return times


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@task_placements("steps of tasks are counted")
async def test_a_month_in_which_nothing_happens(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, looks: list[float]
) -> None:
    """No task is woken, and nothing is scanned."""
    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry):
        await trio.sleep(1)
        before = len(looks)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(MONTH)
        trio.lowlevel.remove_instrument(steps)
    assert before == len(looks)
    assert steps.count <= 3


@task_placements("steps of tasks are counted")
async def test_a_month_of_jobs(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, looks: list[float]
) -> None:
    """A thousand jobs that succeed need no scan, and one that fails ten times needs few; a job costs a few steps."""

    @uwsgi_registry.spooler
    async def work(job: uwsgi.Job) -> None:
        """Do it."""

    @uwsgi_registry.spool_handler
    async def bad(job: uwsgi.Job) -> int:
        return uwsgi.SPOOL_RETRY

    config = Config(spooler=str(folder), spooler_fsync=False, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await runtime.spool(ud_spool_func="bad")
        for number in range(1000):
            await runtime.spool(n=str(number))
            await trio.sleep(MONTH / 1000)
        trio.lowlevel.remove_instrument(steps)
        statistics = runtime.statistics().spools[0]
    assert (1000, 10, 1) == (statistics.done, statistics.failed, statistics.dead)
    assert len(looks) <= 1 + 10 + 3
    assert steps.count < 12_000


@task_placements("looks are counted")
async def test_what_is_left_is_scanned_again(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, looks: list[float]
) -> None:
    """Every `spooler_frequency` seconds, for as long as there is a job that is not run here; then no more."""
    ran: Notes[float] = Notes()

    @uwsgi_registry.spooler
    async def ignore(job: uwsgi.Job) -> int:
        ran.append(round(trio.current_time()))
        return uwsgi.SPOOL_OK if len(ran) == 4 else uwsgi.SPOOL_IGNORE

    config = Config(spooler=str(folder), spooler_frequency=30, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        await trio.sleep(DAY)
        await runtime.spool(a="b")
        await trio.sleep(DAY)
    assert [DAY, DAY + 30, DAY + 60, DAY + 90] == ran
    assert [0, DAY + 30, DAY + 60, DAY + 90] == [round(time) for time in looks]


@task_placements("looks are counted")
async def test_where_not_everything_is_told(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    looks: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a disk to which other machines may write, everything is scanned as often as the option says."""
    monkeypatch.setattr(inotify, "_LOCAL", set())
    config = Config(spooler=str(folder), spooler_frequency=30, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry):
        await trio.sleep(100)
    assert [0, 30, 60, 90] == [round(time) for time in looks]


@pytest.mark.parametrize("what", ["the directory", "what it is in", "removed"])
@task_placements("it waits for what the system tells")
async def test_a_directory_that_was_replaced(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Jobs in the new one are run, those of others too, although it is another directory."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job["n"])

    config = Config(spooler=str(folder), spooler_frequency=30, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, begin=BEGIN):
        await trio.sleep(DAY)
        if what == "removed":
            shutil.rmtree(folder)
        else:
            place = folder if what == "the directory" else folder.parent
            place.rename(place.with_name("old"))
        await trio.sleep(100)
        assert "No such file or directory" in caplog.text
        folder.mkdir(parents=True)
        await trio.sleep(40)  # until it is found again
        for number in range(2):
            path = SpoolFolder(str(folder)).write([(b"n", b"%d" % number)], at=0)
            await trio.sleep(1)
            assert not os.path.exists(path)
    assert ["0", "1"] == ran


@task_placements("it waits for what the system tells")
async def test_removed_dead_jobs_are_noticed(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """When files in `dead/` are removed by hand, the statistics show it half a minute later."""

    @uwsgi_registry.spool_handler(max_tries=1)
    async def bad(job: uwsgi.Job) -> int:
        return uwsgi.SPOOL_RETRY

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        for priority in ("", "5"):
            await runtime.spool(ud_spool_func="bad", priority=priority or None)
        await trio.sleep(DAY)
        assert 2 == runtime.statistics().spools[0].dead
        for left in (1, 0):
            place = folder / "dead" / ("" if left else "5")
            (grave,) = (path for path in place.glob("uwsgi_spoolfile_on_*") if path.suffix != ".report")
            grave.unlink()
            await trio.sleep(31)
            assert left == runtime.statistics().spools[0].dead


async def test_where_everything_is_told(tmp_path: Path) -> None:
    """Local file systems notify; not one that only looks like one, or that does not exist."""
    assert not inotify.is_local("/proc")
    assert not inotify.is_local(str(tmp_path / "no"))
    assert inotify.is_local("/dev/shm")
