"""Jobs from `spool()` to their end, on mock time: order, times, failures, limits, stops."""

from __future__ import annotations

import datetime
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import Harakiri, NoSpooler, SpoolError
from trio_uwsgi.testing import Event, Notes, RuntimeUnderTest, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

DAY = 86400
BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def jobs_in(folder: Path) -> list[str]:
    """The files of the jobs, without those in `dead/`."""
    return sorted(path.name for path in folder.rglob("uwsgi_spoolfile_on_*") if "dead" not in path.parts)


def dead_in(folder: Path) -> list[str]:
    """The files of the jobs in `dead/`."""
    names = [path.name for path in (folder / "dead").rglob("uwsgi_spoolfile_on_*")]
    return sorted(name for name in names if not name.endswith(".report"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of the spooler, which it makes."""
    return tmp_path / "jobs"


@all_placements
async def test_a_job_runs_once_and_is_gone(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """Queued by a request's member, run at once by the spooler, with its vars and its body."""
    ran: Notes[object] = Notes()

    @uwsgi_registry.spool_handler
    async def invoice(job: uwsgi.Job) -> None:
        ran.append((uwsgi.i_am_the_spooler(), dict(job), job.body, job.tries))

    @uwsgi_registry.signal_handler(1)
    async def queue(signum: int) -> None:
        path = await uwsgi.spool({b"ud_spool_func": "invoice", b"number": b"17"}, body=b"B" * 100_000)
        assert path.startswith(os.fsencode(folder))
        assert not uwsgi.i_am_the_spooler()

    config = Config(spooler=str(folder), placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        assert 1 == runtime.log.count("job invoice", "spooler1")
        statistics = runtime.statistics().spools[0]
    assert [(True, {"ud_spool_func": "invoice", "number": "17"}, b"B" * 100_000, 1)] == ran
    assert [] == jobs_in(folder)
    assert (1, 0, 0, 0) == (statistics.done, statistics.failed, statistics.waiting, statistics.running)


@all_placements
async def test_jobs_run_in_order(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """By priority, 0 first and those without one last; and in the order in which they were queued."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job["name"])
        await trio.sleep(1)

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        await runtime.spool(name="first")
        for name, priority in [("c", None), ("d", None), ("b", 5), ("a", 0), ("b2", 5)]:
            await runtime.spool(name=name, priority=priority)
        await trio.sleep(10)
    assert ["first", "a", "b", "b2", "c", "d"] == ran


@all_placements
async def test_a_job_waits_for_its_time(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """A day ahead, to the millisecond, however the directory is looked through meanwhile; over a restart too."""
    ran: Notes[float] = Notes()

    @uwsgi_registry.spool_handler(pass_arguments=True)
    async def later(what: str, *, when: str) -> None:
        assert ("it", "then") == (what, when)
        ran.append(trio.current_time() - began)

    began = trio.current_time()
    config = Config(spooler=str(folder), spooler_frequency=300, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, begin=BEGIN) as runtime:
        tomorrow = BEGIN + datetime.timedelta(days=1)
        await runtime.spool({"ud_spool_func": "later", "body": b'[["it"],{"when":"then"}]'}, at=tomorrow)
        await trio.sleep(DAY / 2)
        statistics = runtime.statistics().spools[0]
        assert (0, 1) == (statistics.waiting, statistics.delayed)
    assert 1 == len(jobs_in(folder))
    begin = BEGIN + datetime.timedelta(days=0.5)
    async with open_runtime(None, config, registry=uwsgi_registry, begin=begin):
        await trio.sleep(DAY)
    assert pytest.approx([DAY], abs=0.002) == ran


@all_placements
async def test_a_job_that_fails_is_retried_and_moved_to_dead(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """After 5, 10, 20 seconds and up to a quarter more; then it is in `dead/` with its last traceback beside it."""
    times: Notes[float] = Notes()

    @uwsgi_registry.spool_handler(max_tries=4)
    async def broken(job: uwsgi.Job) -> None:
        times.append(trio.current_time())
        raise ValueError(f"no {job.tries}")

    config = Config(spooler=str(folder), placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        path = await runtime.spool(ud_spool_func="broken")
        await trio.sleep(3600)
        statistics = runtime.statistics().spools[0]
    assert 4 == len(times)
    for least, (begin, end) in zip((5, 10, 20), itertools.pairwise(times), strict=True):
        assert least <= end - begin <= least * 1.25 + 0.01
    assert (4, 1) == (statistics.failed, statistics.dead)
    assert [] == jobs_in(folder)
    assert [os.path.basename(os.fsdecode(path))] == dead_in(folder)
    (report,) = (folder / "dead").glob("*.report")
    assert "ValueError: no 4" in report.read_text()


@pytest.mark.parametrize(
    ("answer", "tries"), [(uwsgi.SPOOL_OK, 1), (None, 1), (uwsgi.SPOOL_RETRY, 3), (True, 3), ("done", 3)]
)
@all_placements
async def test_what_a_function_answers(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, answer: object, tries: int
) -> None:
    """OK and nothing are the end; RETRY, and what means nothing, are failures."""
    ran: Notes[int] = Notes()

    @uwsgi_registry.spooler
    def note(job: uwsgi.Job) -> object:
        ran.append(job.tries)
        return answer

    config = Config(spooler=str(folder), spooler_max_tries=3, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        await runtime.spool()
        await trio.sleep(3600)
    assert list(range(1, tries + 1)) == ran
    assert (tries > 1) == bool(dead_in(folder))
    assert [] == jobs_in(folder)


@all_placements
async def test_a_job_that_is_ignored_stays(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """It is offered again at each scan of the directory, and never counted as failed; so is a job for an unknown
    function.
    """
    ran: Notes[int] = Notes()

    @uwsgi_registry.spool_handler
    async def choosy(job: uwsgi.Job) -> int:
        ran.append(job.tries)
        return uwsgi.SPOOL_IGNORE

    config = Config(spooler=str(folder), spooler_frequency=30, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        await runtime.spool(ud_spool_func="choosy")
        await runtime.spool(ud_spool_func="another program's")
        await trio.sleep(95)
    assert [1, 1, 1, 1] == ran
    assert 2 == len(jobs_in(folder))


@all_placements
async def test_jobs_of_uwsgidecorators_say_what_becomes_of_them(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """`spoolforever` runs again and again, `spool` once, whatever the function returns; neither is a failure."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spool_handler
    async def note(job: uwsgi.Job) -> int:
        ran.append(job["ud_spool_ret"])
        return uwsgi.SPOOL_RETRY

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        await runtime.spool(ud_spool_func="note", ud_spool_ret="-2")
        await runtime.spool(ud_spool_func="note", ud_spool_ret="-1")
        await trio.sleep(95)
        assert 0 == runtime.statistics().spools[0].failed
    assert ["-1"] * 4 + ["-2"] == sorted(ran)
    assert 1 == len(jobs_in(folder))


@pytest.mark.parametrize("limit", ["option", "own"])
@all_placements
async def test_harakiri_of_a_job_is_a_failed_attempt(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, limit: str
) -> None:
    """It is cancelled at its time limit, retried, and moved to `dead/` with the line at which it waited."""
    times: Notes[float] = Notes()

    @uwsgi_registry.spool_handler
    async def slow(job: uwsgi.Job) -> None:
        times.append(trio.current_time())
        if limit == "own":
            uwsgi.set_user_harakiri(3)
        await trio.sleep(1000)

    config = Config(
        spooler=str(folder), spooler_harakiri=3 if limit == "option" else 0, spooler_max_tries=2, placement=placement
    )
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        await runtime.spool(ud_spool_func="slow")
        await trio.sleep(100)
        assert 2 == runtime.log.count("job slow harakiri")
        assert 2 == next(m.harakiri for m in runtime.statistics().members if m.name == "spooler1")
    assert 8 <= times[1] - times[0] <= 3 + 5 * 1.25 + 0.01
    (report,) = (folder / "dead").glob("*.report")
    assert Harakiri.__name__ in report.read_text()
    assert "trio.sleep(1000)" in report.read_text()


@pytest.mark.parametrize(("takes", "ends"), [(5, True), (500, False)])
@all_placements
async def test_a_graceful_stop_in_the_middle_of_a_job(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, takes: float, ends: bool
) -> None:
    """The job may end within the mercy; otherwise it is cancelled and kept, without counting an attempt."""
    story: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def work(job: uwsgi.Job) -> None:
        story.append(f"begun {job['n']} for the {job.tries}. time")
        await trio.sleep(takes)
        story.append(f"ended {job['n']}")

    async with open_runtime(
        None, Config(spooler=str(folder), mercy=10, placement=placement), registry=uwsgi_registry
    ) as runtime:
        await runtime.spool(n="1")
        await runtime.spool(n="2")
        await trio.sleep(1)
    assert ["begun 1 for the 1. time", *(["ended 1"] if ends else [])] == story
    assert (1 if ends else 2) == len(jobs_in(folder))
    story.clear()
    later = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)  # all of them are due
    async with open_runtime(
        None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry, begin=later
    ):
        await trio.sleep(0.1)
        assert [f"begun {'2' if ends else '1'} for the 1. time"] == story


@all_placements
async def test_hard_stops_in_the_middle_of_a_job(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """However often that happens, the job is kept, and no attempt counts."""
    tries: Notes[int] = Notes()

    @uwsgi_registry.spooler
    async def work(job: uwsgi.Job) -> None:
        tries.append(job.tries)
        await trio.sleep(3600)

    config = Config(spooler=str(folder), spooler_max_tries=2, mercy=1000, placement=placement)
    for day in range(3):
        with trio.CancelScope() as scope:
            begin = BEGIN + datetime.timedelta(days=day)
            async with open_runtime(None, config, registry=uwsgi_registry, begin=begin) as runtime:
                if day == 0:
                    await runtime.spool(n="1")
                await trio.sleep(1)
                scope.cancel()
        assert scope.cancelled_caught
    assert [1, 1, 1] == tries
    assert 1 == len(jobs_in(folder))
    assert [] == dead_in(folder)


@all_placements
async def test_signals_run_beside_async_jobs_and_between_others(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """An `async def` handler runs while a job does; a `def` one waits for the job's end, and the next job for it."""
    story: Notes[tuple[float, str]] = Notes()
    began = trio.current_time()

    def note(what: str) -> None:
        story.append((round(trio.current_time() - began, 1), what))

    @uwsgi_registry.spooler
    async def work(job: uwsgi.Job) -> None:
        note("job")
        await trio.sleep(10)
        note("end")

    @uwsgi_registry.signal_handler(1, target="spooler")
    async def beside(signum: int) -> None:
        note("beside")

    @uwsgi_registry.signal_handler(2, target="spooler1")
    def between(signum: int) -> None:
        trio.from_thread.run_sync(note, "between")
        trio.from_thread.run(trio.sleep, 3)

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        await runtime.spool()
        await runtime.spool()
        await trio.sleep(5)
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(30)
    assert [
        (0.0, "job"),
        (5.0, "beside"),
        (10.0, "end"),
        (10.0, "between"),
        (13.0, "job"),
        (23.0, "end"),
    ] == story


@all_placements
async def test_several_directories_and_spoolers(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """Each spooler runs one job at a time of its own directory; a job may choose the directory by its name."""
    ran: Notes[tuple[float, str, str]] = Notes()
    began = trio.current_time()

    @uwsgi_registry.spooler
    async def work(job: uwsgi.Job) -> None:
        ran.append((round(trio.current_time() - began, 1), os.path.basename(job.spooler), job["n"]))
        await trio.sleep(2)

    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    async with open_runtime(
        None, Config(spooler=folders, spooler_processes=2, placement=placement), registry=uwsgi_registry
    ) as runtime:
        assert ["spooler1", "spooler2", "spooler3", "spooler4"] == [
            member.name for member in runtime.statistics().members if member.name.startswith("spooler")
        ]
        for number in range(5):
            await runtime.spool(n=str(number), spooler=folders[1])
        await runtime.spool(n="x")
        await trio.sleep(10)
        with pytest.raises(NoSpooler, match=r"no spooler has the directory '/nowhere'; use '.*a' or '.*b'"):
            await runtime.spool(spooler="/nowhere")
    assert [(0.0, "0"), (0.0, "1"), (2.0, "2"), (2.0, "3"), (4.0, "4")] == sorted(
        (when, number) for when, name, number in ran if name == "b"
    )
    assert [(0.0, "x")] == [(when, number) for when, name, number in ran if name == "a"]


@all_placements
async def test_cheap_spoolers_start_and_stop(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """One starts for a job, a second one while the first is busy, also for a job that falls due, and for a signal; they
    stop after ten idle seconds.
    """
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def work(job: uwsgi.Job) -> None:
        ran.append(job["n"])
        await trio.sleep(5)

    @uwsgi_registry.signal_handler(1, target="spooler")
    async def note(signum: int) -> None:
        ran.append("signal")

    def states() -> list[str]:
        return [m.state for m in runtime.statistics().members if m.name.startswith("spooler")]

    config = Config(spooler=str(folder), spooler_processes=2, spooler_cheap=True, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, begin=BEGIN) as runtime:
        await trio.sleep(1)
        assert ["vacant", "vacant"] == states()
        await runtime.spool(n="1")
        await trio.sleep(1)
        assert ["ready", "vacant"] == states()
        await runtime.spool(n="2")
        await runtime.spool(n="3")
        await trio.sleep(1)
        assert (["1", "2"], ["ready", "ready"]) == (list(ran), states())
        await trio.sleep(30)
        assert (["1", "2", "3"], ["vacant", "vacant"]) == (list(ran), states())
        await runtime.spool(n="4", at=BEGIN.timestamp() + 100)
        await trio.sleep(60)
        assert ["vacant", "vacant"] == states()
        await trio.sleep(10)
        assert ["ready", "vacant"] == states()
        await trio.sleep(30)
        runtime.signal(1)
        await trio.sleep(30)
    assert (["1", "2", "3", "4", "signal"], []) == (list(ran), jobs_in(folder))


@task_placements("the spooler's process is that of the test")
async def test_what_the_spooler_shows(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """Jobs in their order, one of them read, the processes; and how often the directory is looked through."""
    shown: Notes[Any] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def look(signum: int) -> None:
        later = BEGIN.timestamp() + DAY
        paths = [await uwsgi.spool(n="2", at=later), await uwsgi.spool(n="1", at=later, priority=3, body=b"B")]
        assert paths[::-1] == await uwsgi.spooler_jobs()
        assert paths[::-1] == await uwsgi.spooler_jobs(str(folder))
        job = await uwsgi.spooler_get_task(paths[1])
        assert job is not None
        assert ("1", b"B", 1) == (job["n"], job.body, job.tries)
        assert None is await uwsgi.spooler_get_task(str(folder / "nothing"))
        with pytest.raises(NoSpooler, match="no spooler has the directory '/etc'"):
            await uwsgi.spooler_get_task("/etc/passwd")
        assert [os.getpid()] == uwsgi.spooler_pids()
        assert os.getpid() == uwsgi.spooler_pid()
        uwsgi.set_spooler_frequency(0.5)
        with pytest.raises(ValueError, match="more than 0 seconds"):
            uwsgi.set_spooler_frequency(0)
        shown.append("all")

    async with open_runtime(
        None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry, begin=BEGIN
    ) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
    assert ["all"] == shown


@all_placements
async def test_without_a_spooler(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Everything that needs one raises an error that says so."""
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        with pytest.raises(NoSpooler, match="there is no spooler; set Config"):
            await runtime.spool(a="b")
        assert () == runtime.statistics().spools


@all_placements
async def test_a_file_that_is_no_job_is_moved_to_dead_and_others_run(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Corrupt, cut off, or with an odd name: a line in the log, nothing deleted."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job.name)

    folder.mkdir()
    odd = "uwsgi_spoolfile_on_\udcff\x07_odd"
    (folder / "uwsgi_spoolfile_on_h_1_1_1_1_1").write_bytes(b"no packet at all")
    (folder / "uwsgi_spoolfile_on_h_1_2_1_1_1").write_bytes(b"\x11\x1a\0\0\x03")
    (folder / odd).write_bytes(b"\x11\0\0\0")
    for path in folder.iterdir():
        os.utime(path, (BEGIN.timestamp() - 100,) * 2)
    async with open_runtime(
        None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry, begin=BEGIN
    ) as runtime:
        await trio.sleep(60)
        assert 2 == runtime.statistics().spools[0].dead
    assert [odd] == ran
    assert 2 == len(dead_in(folder))
    assert "; moved to /" in caplog.text


@task_placements("every process that looks through the directory says so once")
async def test_a_file_from_the_future(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It waits until its time, as a job with `at` does; as that was not requested, the log says so, once."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job.name)

    folder.mkdir()
    for name, pairs in (("uwsgi_spoolfile_on_h_1_1_1_1_1", b""), ("uwsgi_spoolfile_on_h_1_2_1_1_1", b"\2\0at\1\x009")):
        path = folder / name
        path.write_bytes(b"\x11" + len(pairs).to_bytes(2, "little") + b"\0" + pairs)
        os.utime(path, (BEGIN.timestamp() + DAY,) * 2)
    async with open_runtime(
        None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry, begin=BEGIN
    ):
        await trio.sleep(DAY - 1)
        assert [] == ran
        await trio.sleep(2)
        assert 2 == len(ran)
    assert 1 == caplog.text.count("file's time is 86400 s in the future: it waits until then")
    assert "job uwsgi_spoolfile_on_h_1_1_1_1_1 has no at=" in caplog.text


async def story(registry: Registry, folder: Path) -> list[Event]:
    """Many jobs with all possible ends; returns the log."""

    @registry.spool_handler
    async def good(job: uwsgi.Job) -> None:
        await trio.sleep(0.1)

    @registry.spool_handler
    async def bad(job: uwsgi.Job) -> None:
        raise RuntimeError("bad")

    @registry.spool_handler
    def slow(job: uwsgi.Job) -> None:
        trio.from_thread.run(trio.sleep, 100)

    async def fill(runtime: RuntimeUnderTest) -> None:
        for number in range(20):
            at = BEGIN.timestamp() + 3600 * (number % 4)
            await runtime.spool(ud_spool_func="good", priority=number % 3, at=at)
        await runtime.spool(ud_spool_func="bad")
        await runtime.spool(ud_spool_func="slow", at=BEGIN.timestamp() + DAY)

    config = Config(spooler=str(folder), spooler_harakiri=5, spooler_max_tries=4, spooler_frequency=3600)
    async with open_runtime(None, config, registry=registry, begin=BEGIN, allow_failures=True) as runtime:
        await fill(runtime)
        await trio.sleep(2 * DAY)
    return list(runtime.log)


@pytest.mark.parametrize("run", [0, *(pytest.param(run, marks=pytest.mark.long) for run in range(1, 20))])
async def test_twenty_runs_give_one_log(
    run: int, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """Two days of jobs, failures and time limits: the same events at the same times, each time."""
    first = await story(uwsgi_registry, tmp_path / "first")
    second = await story(Registry(), tmp_path / "second")
    assert 20 == sum(event.what == "job good" for event in first)
    assert 4 == sum(event.what == "job bad failed: RuntimeError: bad" for event in first)
    assert 4 == sum(event.what == "job slow harakiri" for event in first)
    assert first == second


@all_placements
async def test_a_disk_that_takes_no_more(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller gets an error, nothing is queued, and what was queued runs when there is room again."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job["n"])

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        folder.chmod(0o500) if os.geteuid() else folder.rename(folder.with_name("away"))
        with pytest.raises(SpoolError, match="the job was not accepted"):
            await runtime.spool(n="lost")
        folder.chmod(0o700) if os.geteuid() else folder.with_name("away").rename(folder)
        await runtime.spool(n="kept")
        await trio.sleep(40)
    assert ["kept"] == ran
