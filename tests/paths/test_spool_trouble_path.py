"""Jobs whose spooler, disk, directory or sender fails: the others run, and nothing is lost."""

from __future__ import annotations

import datetime
import itertools
import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.paths.placements import Placement, all_placements, task_placements
from tests.spool.test_files import failing
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._link.frames import Stop
from trio_uwsgi._protocol.packet import PING, SPOOL, encode_packet, encode_vars
from trio_uwsgi._runtime.spooler import TURN
from trio_uwsgi._spool import directory as spool_module
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._spool.rules import SpoolIndex
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import NoSpooler, SpoolError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of the spooler, which it makes."""
    return tmp_path / "jobs"


# ----- spoolers


# A process that is killed lets go of its locks one after the other: another spooler may be between the two.
@pytest.mark.parametrize(
    ("placement", "processes"), [("task", 1), ("task", 3), ("memory", 1), ("memory", 3), ("process", 1)]
)
async def test_a_spooler_that_dies_has_failed_its_job(
    processes: int,
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The job is retried after a pause, by any spooler, and moved to `dead/` after as many deaths as attempts are
    allowed; the log says where it is.
    """
    ran: Notes[tuple[int, int, str]] = Notes()

    @uwsgi_registry.spool_handler
    async def deadly(job: uwsgi.Job) -> None:
        ran.append((job.tries, round(trio.current_time()), UNIT.get().member.name))
        await trio.sleep(100)

    config = Config(spooler=str(folder), spooler_processes=processes, spooler_max_tries=2, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        await runtime.spool(ud_spool_func="deadly")
        for tries in (1, 2):
            while len(ran) < tries:  # noqa: ASYNC110  # it may be begun in another process
                await trio.sleep(0.1)
            await trio.sleep(2)
            runtime.kill(ran[-1][2])
        await trio.sleep(60)
        statistics = runtime.statistics().spools[0]
    (first, begun, _), (second, again, _) = ran
    assert (1, 2) == (first, second)
    assert 2 + 5 <= again - begun <= 2 + 5 * 1.25 + 1
    assert (0, 2, 1, 0) == (statistics.done, statistics.failed, statistics.dead, statistics.running)
    (report,) = (folder / "dead").glob("*.report")
    assert "tries: 2\n\nits process died while it ran" == report.read_text()
    (line,) = (text for text in caplog.messages if "moved to" in text)
    assert line.endswith(f"; this was the last attempt, moved to {str(report).removesuffix('.report')}")


@task_placements("a disk that fails is one of the test's own process")
async def test_a_job_that_cannot_be_moved_to_dead_is_kept(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is kept, is not counted as dead, and is retried a minute later."""
    ran: list[float] = []

    @uwsgi_registry.spool_handler(max_tries=1)
    async def fail(job: uwsgi.Job) -> int:
        ran.append(trio.current_time())
        return uwsgi.SPOOL_RETRY

    config = Config(spooler=str(folder), placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, begin=BEGIN) as runtime:
        path = (await runtime.spool(ud_spool_func="fail", at=BEGIN.timestamp() + 1)).decode()
        with failing("rename"):
            await trio.sleep(2)
        assert (1, 0) == (len(ran), runtime.statistics().spools[0].dead)
        assert os.path.exists(path)
        assert f"(the function returned SPOOL_RETRY); retrying in 60 s: {path}" in caplog.text
        assert "; moved to" not in caplog.text
        await trio.sleep(120)
        assert (2, 1) == (len(ran), runtime.statistics().spools[0].dead)
        assert os.path.exists(f"{folder}/dead/{os.path.basename(path)}")


@all_placements
async def test_a_death_is_seen_by_the_next_spooler(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """A job that ends its process is not run by all spoolers of the directory at once, whichever runtime they belong
    to.
    """
    ran: Notes[tuple[str, int, int]] = Notes()

    def declare(registry: Registry, where: str) -> Registry:
        @registry.spooler
        async def deadly(job: uwsgi.Job) -> None:
            ran.append((where, job.tries, round(trio.current_time())))
            await trio.sleep(1000)

        return registry

    config = Config(spooler=str(folder), mercy=0, placement=placement)
    async with (
        open_runtime(None, config, registry=declare(uwsgi_registry, "first")) as first,
        open_runtime(None, config, registry=declare(Registry(), "second")) as second,
    ):
        await first.spool(a="b")
        await trio.sleep(1)
        assert 1 == len(ran)
        {"first": first, "second": second}[ran[0][0]].kill("spooler1")
        await trio.sleep(20)
    assert [1, 2] == [tries for _, tries, _ in ran]
    assert 1 + 5 <= ran[1][2] - ran[0][2] <= 1 + 5 * 1.25 + 1


@all_placements
async def test_a_death_counts_against_the_functions_own_limit(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """A job with a limit of one attempt is not run again, whatever the limit of other jobs."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spool_handler(max_tries=1)
    async def once(job: uwsgi.Job) -> None:
        ran.append("once")
        await trio.sleep(100)

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        await runtime.spool(ud_spool_func="once")
        await trio.sleep(1)
        runtime.kill("spooler1")
        await trio.sleep(3600)
    assert ["once"] == ran
    assert 1 == len(list((folder / "dead").glob("*.report")))


@pytest.mark.parametrize("run", range(5))  # who is first in one step is chance
@pytest.mark.parametrize("cheap", [False, True])
async def test_a_stop_between_two_jobs(
    run: int, cheap: bool, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """A `Stop` that arrives during the spooler's checkpoint between two jobs is not missed: no other job begins."""
    instances: Notes[object] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        instances.append(runtime.runtime._tree.member_factory.calls["spooler1"])
        if len(instances) == TURN - 1:
            runtime.runtime._tree.master._instances["spooler1"].link.send(Stop())

    config = Config(spooler=str(folder), spooler_cheap=cheap)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for _ in range(TURN - 1):
            await runtime.spool(a="b")
        await trio.sleep(1)
        assert TURN - 1 == len(instances)
        assert instances[0] is not runtime.runtime._tree.member_factory.calls["spooler1"]


@all_placements
async def test_a_failed_unpickling_ends_only_its_attempt(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """Whatever it raises, `sys.exit` included."""

    class Exits:
        def __reduce__(self) -> tuple[object, ...]:
            return exit, ()

    @uwsgi_registry.spool_handler(pass_arguments=True, pickle=True, max_tries=1)
    async def f() -> None: ...

    config = Config(spooler=str(folder), placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        await runtime.spool(ud_spool_func="f", args=pickle.dumps(Exits()), kwargs=pickle.dumps({}))
        await trio.sleep(60)
        assert 1 == runtime.statistics().spools[0].dead


# ----- the disk, and the directory


async def test_jobs_run_on_a_full_disk(
    autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The record of the running job cannot be written then, which is logged; the job runs, as it may make room."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job["n"])

    async with open_runtime(None, Config(spooler=str(folder)), registry=uwsgi_registry, begin=BEGIN) as runtime:
        await runtime.spool(n="1", at=BEGIN.timestamp() + 50)
        with failing("pwrite"):
            await trio.sleep(100)
    assert ["1"] == ran
    assert 1 == caplog.text.count(".running cannot be written (No space left on device)")


async def test_a_body_that_cannot_be_read_is_a_failed_attempt(
    autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """The spooler runs the others, and reads the body at the next attempt."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(f"{job['n']}, {job.tries}. time, {len(job.body)} bytes")

    config = Config(spooler=str(folder))
    async with open_runtime(None, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("trio_uwsgi._spool.claim.Claim.read_body", _bad_sector)
            await runtime.spool(n="large", body=b"x" * 100_000)
            await runtime.spool(n="other")
            await trio.sleep(1)
        await trio.sleep(10)
    assert ["other, 1. time, 0 bytes", "large, 2. time, 100000 bytes"] == ran


def _bad_sector(claim: object) -> bytes:
    raise OSError(5, "Input/output error")


@task_placements("the next spooler's process makes the directory again")
async def test_a_directory_that_is_removed_and_made_again(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """Until then callers get an error, and spoolers may die; from the next scan on, jobs are noticed at once again."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.append(job["n"])

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        await runtime.spool(n="1")
        await trio.sleep(1)
        shutil.rmtree(folder)
        runtime.kill("spooler1")
        await trio.sleep(1)
        with pytest.raises(SpoolError, match="create the directory, or restart"):
            await runtime.spool(n="lost")
        folder.mkdir()
        await trio.sleep(31)
        for number in (2, 3):
            await runtime.spool(n=str(number), priority=None if number == 2 else 5)
            await trio.sleep(1)
            await wait_all_tasks_blocked()
        assert ["1", "2", "3"] == ran


async def test_more_unknown_functions_than_memory_holds(
    autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read once, and the jobs behind them are found."""
    ran: Notes[str] = Notes()
    claims: Notes[str] = Notes()
    claim = SpoolFolder.claim

    def count(self: SpoolFolder, name: str) -> object:
        claims.append(name)
        return claim(self, name)

    monkeypatch.setattr(SpoolFolder, "claim", count)
    monkeypatch.setattr(spool_module, "SpoolIndex", lambda: SpoolIndex(8))

    @uwsgi_registry.spool_handler
    async def known(job: uwsgi.Job) -> None:
        ran.append(job.name)

    files = SpoolFolder(str(folder), lambda: 1_700_000_000.0)
    files.prepare()
    for name in (*["stranger"] * 50, "known"):
        files.write([(b"ud_spool_func", name.encode())], sync=False)
    config = Config(spooler=str(folder), spooler_frequency=3600)
    async with open_runtime(None, config, registry=uwsgi_registry):
        await trio.sleep(10)
    assert 1 == len(ran)
    assert 51 == len(claims)


async def test_jobs_run_while_the_directory_is_scanned(
    autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new job does not wait until a million others are scanned."""
    looking, go_on = trio.Event(), trio.Event()
    ran = trio.Event()

    @uwsgi_registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.set()

    async with open_runtime(None, Config(spooler=str(folder)), registry=uwsgi_registry) as runtime:

        async def slowly(self: object, watch: object) -> None:
            looking.set()
            await go_on.wait()

        monkeypatch.setattr(spool_module.Spool, "_scan", slowly)
        (folder / "7").mkdir()  # another priority: there may be jobs in it
        with trio.fail_after(1):
            await looking.wait()
        await runtime.spool(a="b")
        with trio.fail_after(1):
            await ran.wait()
        go_on.set()


# ----- callers


@all_placements
async def test_a_directory_that_cannot_be(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """It is refused as not a spooler's, for a member and for another node, and only that call fails."""
    config = Config(spooler=str(folder), modifiers={"spool": "any", "ping": "any"}, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for directory in ("a\0b", "\udcff"):
            with pytest.raises(NoSpooler):
                await runtime.spool(a="b", spooler=directory)
        async with runtime.connect("uwsgi") as stream:
            await stream.send_all(encode_packet(SPOOL, 0, encode_vars([(b"spooler", b"a\0b")])))
            assert b"\xff\0\0\0" == await stream.receive_some()
        async with runtime.connect("uwsgi") as other:
            await other.send_all(encode_packet(PING, 0, b""))
            assert PING == (await other.receive_some())[0]


@all_placements
async def test_a_job_that_spools_itself_again(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """With its vars as it has them, also where those are no UTF-8."""
    got: Notes[dict[bytes, bytes]] = Notes()

    run = itertools.count(1)

    @uwsgi_registry.spooler
    async def again(job: uwsgi.Job) -> None:
        got.append(dict(job.vars))
        if next(run) == 1:
            await uwsgi.spool(job)

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        await runtime.spool({b"\xfe": b"\xff"})
        await trio.sleep(1)
    assert [{b"\xfe": b"\xff"}] * 2 == got


@all_placements
async def test_a_pipe_among_the_jobs(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, folder: Path
) -> None:
    """The spooler does not block on its other end."""
    got: Notes[object] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def look(signum: int) -> None:
        got.append(await uwsgi.spooler_get_task(str(folder / "uwsgi_spoolfile_on_pipe")))

    async with open_runtime(None, Config(spooler=str(folder), placement=placement), registry=uwsgi_registry) as runtime:
        os.mkfifo(folder / "uwsgi_spoolfile_on_pipe")
        runtime.signal(1)
        await trio.sleep(1)
        assert [None] == got
