"""The master's side of zygotes and their children: real processes, how they end, and that nothing is left of them."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import greenback
import pytest
import trio
import trio.testing

from tests.real import process_runtimes, zygote_members
from trio_uwsgi import Config, serve
from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._process.zygote_control import (
    Child,
    ExitStatus,
    ForkRefused,
    Plan,
    RemoteTraceback,
    Zygote,
    ZygoteDied,
    open_zygote,
)
from trio_uwsgi._units.stack_dumps import task_tree
from trio_uwsgi.errors import BootError, ConfigError

LONG = pytest.mark.long
pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

APP = AppReference("name", "tests.real.zygote_members:app")


def plan(**fields: Any) -> Plan:
    """A plan of the members beside this file; Any: each field has its own type."""
    whole: dict[str, Any] = {"app": APP, "main": "tests.real.zygote_members:tell"} | fields
    return Plan(**whole)


def open_files(pid: int | str = "self") -> dict[str, str]:
    """What a process has open, by number."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def children(pid: int | str = "self") -> set[int]:
    """The pids of a process's children, also dead ones."""
    return set(process_runtimes.children(pid))


def reap_orphans(before: set[int]) -> None:
    """Importing Trio runs ldconfig, which this process adopts if the zygote was killed in that instant. It ends by
    itself, and not in the ways in which a zygote ends.
    """
    for pid in children() - before:
        pidfd = os.pidfd_open(pid)
        ended, _, _ = select.select([pidfd], [], [], 5)
        os.close(pidfd)
        assert ended, Path(f"/proc/{pid}/cmdline").read_bytes()
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) not in (3, -signal.SIGKILL)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The members beside this file can be imported in zygotes."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test ends with the descriptors and the children it started with."""
    files, processes = set(open_files()), children()
    yield
    # Trio's own descriptors are those of a run, and pytest-trio's has ended here.
    assert files == set(open_files())
    reap_orphans(processes)
    assert processes == children()


async def line(child: Child) -> bytes:
    """The first line that a child sends."""
    data = b""
    with trio.fail_after(20):
        while not data.endswith(b"\n"):
            piece = await child.ctl.receive_some()
            if not piece:
                break
            data += piece
    return data


async def facts(child: Child) -> dict[str, Any]:
    """The line that `zygote_members.tell` sends."""
    facts_of_child: dict[str, Any] = json.loads(await line(child))
    return facts_of_child


@asynccontextmanager
async def zygote_and_child(setup: object = None, **fields: Any) -> AsyncIterator[tuple[Zygote, Child]]:
    """A zygote and a child of it."""
    async with open_zygote(plan(**fields)) as zygote, await zygote.fork("worker1", setup) as child:
        yield zygote, child


# ----- a child's life


async def test_a_child_runs_main_with_its_setup_and_descriptors() -> None:
    """The child has the zygote as its parent, the application, and `ctl` and the other descriptors in this order."""
    read, write = os.pipe()
    async with open_zygote(plan()) as zygote:
        async with await zygote.fork("worker1", {"exit": 7, "é": [1, None]}, [write, read]) as child:
            facts_of_child = await facts(child)
            os.close(read)
            os.close(write)
            assert f"<Child worker1, process {child.pid}: running>" == repr(child)
            assert ExitStatus(code=7) == await child.end(5)
            assert f"<Child worker1, process {child.pid}: exit code 7>" == repr(child)
        assert (child.pid, zygote.pid) == (facts_of_child["pid"], facts_of_child["parent"])
        assert {"exit": 7, "é": [1, None]} == facts_of_child["setup"]
        assert ("the application", zygote.pid) == (facts_of_child["app"], facts_of_child["imported_in"])
        assert sys.argv == facts_of_child["argv"]
        assert facts_of_child["idna"]
        assert [] == facts_of_child["inheritable"]
        assert ["socket", "pipe", "pipe"] == [
            facts_of_child["files"][str(fd)].partition(":")[0] for fd in facts_of_child["descriptors"]
        ]
        assert ["pipe"] == beside_its_own(facts_of_child)


def beside_its_own(facts_of_child: dict[str, Any]) -> list[str]:
    """The files of a child beside its standard streams and its descriptors: only the lifeline."""
    others = {int(name) for name in facts_of_child["files"]} - {0, 1, 2, *facts_of_child["descriptors"]}
    return [facts_of_child["files"][str(fd)].partition(":")[0] for fd in others]


@pytest.mark.parametrize(
    ("setup", "status", "words"),
    [
        ("words", ExitStatus(code=1), "these are my last words"),
        ("base", ExitStatus(code=1), "BaseExceptionGroup: several"),
        ("error", ExitStatus(code=1), "ValueError: this member fails"),
    ],
)
async def test_what_main_raises_ends_the_child(
    setup: str, status: ExitStatus, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1, the traceback is printed once, and nothing unwinds into the zygote's frames."""
    async with zygote_and_child(setup, main="tests.real.zygote_members:fail") as (_, child):
        assert status == await child.wait()
    assert 1 == capfd.readouterr().err.count(words)


async def test_the_status_of_a_killed_child() -> None:
    """The status of a death by signal has the signal; a kill after the end does nothing."""
    async with zygote_and_child() as (_, child):
        await line(child)
        child.kill(signal.SIGTERM)
        status = await child.wait()
        assert ExitStatus(signal=signal.SIGTERM) == status
        assert "killed by SIGTERM" == str(status)
        child.kill()
        assert status == await child.end(0)


def test_statuses_as_text() -> None:
    """A status is one short phrase, whatever is known."""
    expected = ["exit code 3", "killed by SIGKILL", "killed by signal 60", "exit status unknown"]
    assert expected == [
        str(status) for status in (ExitStatus.of(3), ExitStatus.of(-9), ExitStatus.of(-60), ExitStatus())
    ]


async def test_children_differ_where_forks_are_alike(capfd: pytest.CaptureFixture[str]) -> None:
    """Trio's own order is random in each child; what was printed before a fork is printed once."""
    numbers = set()
    async with open_zygote(plan()) as zygote:
        for _ in range(3):
            async with await zygote.fork("worker1", {"said": "good morning", "at_exit": "good night\n"}) as child:
                numbers.add((await facts(child))["random"])
                assert ExitStatus(code=0) == await child.end(5)
    assert 3 == len(numbers)
    out = capfd.readouterr().out
    assert (3, 3) == (out.count("good morning"), out.count("good night"))


async def test_numpy_is_seeded_anew(tmp_path: Path) -> None:
    """Its global generator would be copied by a fork. A stub module stands for it."""
    app = module(
        tmp_path,
        "import sys, types\n"
        "fake = sys.modules['numpy.random'] = types.ModuleType('numpy.random')\n"
        "fake.seeded = 0\n"
        "def seed(): fake.seeded += 1\n"
        "fake.seed = seed\n"
        "def app(): return ''\n",
    )
    async with zygote_and_child({"numpy": True}, app=app) as (_, child):
        assert 1 == (await facts(child))["numpy"]


async def test_an_interrupt_is_left_to_the_master() -> None:
    """SIGINT, which a terminal sends to the whole group, ends neither zygote nor child."""
    async with zygote_and_child() as (zygote, child):
        await line(child)
        os.kill(zygote.pid, signal.SIGINT)
        child.kill(signal.SIGINT)
        async with await zygote.fork("worker2") as second:
            await line(second)
            assert ExitStatus(code=0) == await second.end(5)
        assert ExitStatus(code=0) == await child.end(5)


async def test_several_tasks_wait_and_fork() -> None:
    """Several forks may be requested at once, and any number of tasks may wait for one child."""
    pids = []
    async with open_zygote(plan()) as zygote:

        async def one(number: int) -> None:
            async with await zygote.fork(f"worker{number}", {"exit": number}) as child, trio.open_nursery() as nursery:
                pids.append((await facts(child))["pid"])
                nursery.start_soon(child.wait)
                child.request_stop()
                assert ExitStatus(code=number) == await child.wait()

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(one, number)
    assert 8 == len(set(pids))


# ----- stuck children


@pytest.mark.parametrize("how", ["busy", *(pytest.param(how, marks=LONG) for how in ("sleep", "gil"))])
async def test_a_stuck_child_shows_its_stack_and_is_killed(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever it is stuck in, its stack is printed, and it is dead half a second after its grace."""
    async with zygote_and_child(how, main="tests.real.zygote_members:be_stuck") as (_, child):
        assert b"stuck\n" == await line(child)
        began = trio.current_time()
        assert ExitStatus(signal=signal.SIGKILL) == await child.end(0.1)
        assert trio.current_time() - began < 10  # it is stuck for ever
    err = capfd.readouterr().err
    assert "in _be_stuck" in err
    assert ("Trio tasks" in err) == (how != "gil")


async def test_the_task_tree_of_a_child_that_waits(capfd: pytest.CaptureFixture[str]) -> None:
    """A dump names every Trio task and where it waits, and does not disturb it."""
    async with zygote_and_child() as (_, child):
        await line(child)
        await child.dump_stacks()
        assert child.status is None
    err = capfd.readouterr().err
    assert f"(process {child.pid}): Trio tasks" in err
    assert f"tests.real.zygote_members._tell at {zygote_members.__file__}:" in err


async def test_a_task_tree() -> None:
    """It has the tasks below each other, by their names, with the calls that each one waits in."""

    async def waits() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits, name="the one that waits")
        await trio.testing.wait_all_tasks_blocked()
        lines = list(task_tree())
        nursery.cancel_scope.cancel()
    assert f"process {os.getpid()}: Trio tasks" == lines[0]
    found = [line for line in lines if line.strip().startswith(f"the one that waits at {__file__}:")]
    assert 1 == len(found)
    assert re.search(r" in waits > _timeouts\.py:\d+ in sleep_forever$", found[0])


async def test_a_task_tree_through_greenback() -> None:
    """Synchronous code that waits through greenback is shown with where it waits."""

    def view() -> None:
        greenback.await_(trio.sleep_forever())  # noqa: ASYNC105  # greenback awaits it

    async with trio.open_nursery() as nursery:
        nursery.start_soon(greenback.with_portal_run_sync, view, name="the one that waits")
        await trio.testing.wait_all_tasks_blocked()
        lines = list(task_tree())
        nursery.cancel_scope.cancel()
    (found,) = [line for line in lines if line.strip().startswith("the one that waits at ")]
    assert re.search(rf"{re.escape(__file__)}:\d+ in view > .*sleep_forever$", found), found


def test_a_task_tree_without_trio() -> None:
    """Where no Trio runs, it says so."""
    assert [f"process {os.getpid()}: no Trio run"] == list(task_tree())


async def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without pidfds is refused before anything is started."""
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(ConfigError, match="need Linux; run members as tasks: leave out --processes"):
        await serve(print, Config(http=(), placement="process"))


async def test_the_zygote_reaps_what_members_leave_behind() -> None:
    """A process whose parent, a member, has ended is reaped by the zygote, and is no zombie of the master."""
    async with open_zygote(plan(main="tests.real.zygote_members:leave_someone_behind")) as zygote:
        async with await zygote.fork("worker1") as child:
            orphan = int(await line(child))
            assert ExitStatus(code=0) == await child.wait()
        assert orphan in children(zygote.pid)
        assert orphan not in children()
        os.kill(orphan, signal.SIGKILL)
        async with await zygote.fork("worker2") as child:
            second = int(await line(child))
            await child.wait()
        assert {second} == children(zygote.pid)
    # What outlives the zygote as well is this process's.
    os.kill(second, signal.SIGKILL)
    assert second == os.waitpid(second, 0)[0]  # noqa: ASYNC222  # it is dead


# ----- the zygote


async def test_what_a_zygote_reports_of_its_import() -> None:
    """`prepare` comes before the import, `describe` after it, and the counts are those of the process."""
    async with open_zygote(
        plan(prepare="tests.real.zygote_members:prepare", setup=5, describe="tests.real.zygote_members:describe")
    ) as zygote:
        assert ["app", [5]] == json.loads(zygote.imported.described)
        assert (1, []) == (zygote.imported.os_threads, zygote.imported.threads)
        assert zygote.pid == zygote.imported.pid
        assert f"<Zygote, process {zygote.pid}: 0 children>" == repr(zygote)
        assert zygote.status is None
    assert ExitStatus(code=0) == zygote.status


@pytest.mark.long
async def test_children_survive_their_zygote() -> None:
    """Children keep running and their statuses stay exact; another zygote forks the next ones."""
    async with zygote_and_child({"exit": 5}) as (zygote, first), await zygote.fork("worker2") as second:
        await line(first)
        await line(second)
        os.kill(zygote.pid, signal.SIGKILL)
        with trio.fail_after(20):
            await zygote.died.wait()
        assert f"<Zygote, process {zygote.pid}: 2 children, killed by SIGKILL>" == repr(zygote)
        with pytest.raises(ZygoteDied):
            await zygote.fork("worker3")
        async with open_zygote(plan()) as next_zygote, await next_zygote.fork("worker3") as third:
            assert next_zygote.pid == (await facts(third))["parent"]
            assert first.status is second.status is None
            second.kill(signal.SIGTERM)
            assert ExitStatus(code=5) == await first.end(5)
            assert ExitStatus(signal=signal.SIGTERM) == await second.wait()


async def test_a_zygote_that_dies_during_a_fork() -> None:
    """The waiting `fork` gets an error at once."""
    async with open_zygote(plan()) as zygote:
        os.kill(zygote.pid, signal.SIGSTOP)
        with trio.fail_after(20), pytest.RaisesGroup(ZygoteDied):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(zygote.fork, "worker1")
                await trio.testing.wait_all_tasks_blocked()
                os.kill(zygote.pid, signal.SIGKILL)


async def test_a_retired_zygote_ends_with_its_last_child() -> None:
    """It forks no more, keeps its children, and its end is no death."""
    async with zygote_and_child() as (zygote, child):
        await line(child)
        await zygote.retire()
        with trio.move_on_after(0.1):
            await zygote.died.wait()
        assert not zygote.died.is_set()
        assert ExitStatus(code=0) == await child.end(5)
        with trio.fail_after(20):
            await zygote.died.wait()
        assert ExitStatus(code=0) == zygote.status


async def test_the_block_ends_with_all_children(caplog: pytest.LogCaptureFixture) -> None:
    """Children that were not ended get the grace at the end of the block, and stuck ones are killed after it."""
    async with open_zygote(plan(orphan_grace=20)) as zygote:  # as long as a busy machine may need
        good = await zygote.fork("worker1", {"exit": 3})
        await line(good)
    assert ExitStatus(code=3) == good.status
    async with open_zygote(plan(main="tests.real.zygote_members:be_stuck", orphan_grace=0.2)) as zygote:
        bad = await zygote.fork("worker1", "busy")
        await line(bad)
    assert ExitStatus(signal=signal.SIGKILL) == bad.status


async def test_a_fork_that_the_system_refuses() -> None:
    """It is an error of that call only, and the next one may work."""
    async with open_zygote(plan()) as zygote:
        limits = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
        # The descriptor of `ctl` still fits, or that and the lifeline: then there is no room for a pidfd.
        for room in (1, 3):
            free = [number for number in range(1000) if str(number) not in open_files(zygote.pid)]
            resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (free[room], limits[1]))
            with pytest.raises(ForkRefused, match=r"cannot start a process for worker1: .*Too many open files"):
                await zygote.fork("worker1")
            assert set() == children(zygote.pid)
        resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, limits)
        async with await zygote.fork("worker1") as child:
            await line(child)


# ----- imports that fail


async def refused(**fields: Any) -> BootError:
    """The error of a zygote that does not start."""
    with pytest.raises(BootError) as caught:
        async with open_zygote(plan(**fields)):
            pytest.fail("it started")
    return caught.value


def module(tmp_path: Path, text: str) -> AppReference:
    """An application in a file of its own."""
    (tmp_path / "zapp.py").write_text(text)
    return AppReference("name", f"{tmp_path}/zapp.py:app")


async def test_a_failed_import_shows_its_traceback(tmp_path: Path) -> None:
    """The error is the same as for an import in this process, and its cause has the traceback from the zygote."""
    error = await refused(app=module(tmp_path, "def broken():\n    return 1 / 0\n\nbroken()\n"))
    assert f"importing {tmp_path}/zapp.py failed: ZeroDivisionError: division by zero" == str(error)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert 'zapp.py", line 2, in broken\n    return 1 / 0' in str(error.__cause__)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("raise SystemExit('no')", "failed: SystemExit: no"),
        ("app = 5", "which cannot be called"),
        ("x = 5", "has no 'app'"),
        ("import os; os._exit(9)", "ended before it was done: exit code 9"),
        ("import os; os.kill(os.getpid(), 11)", "ended before it was done: killed by SIGSEGV"),
        ("import threading, time; threading.Thread(target=time.sleep, args=(9,), name='late', daemon=True).start()\n"
         "def app(): pass", "started threads (late)"),
        ("raise ExceptionGroup('several', [ValueError('y')])", "failed: ExceptionGroup: several"),
        ("raise BaseExceptionGroup('several', [KeyboardInterrupt()])", "failed: BaseExceptionGroup: several"),
        pytest.param("import asyncio\nraise asyncio.CancelledError('x')", "failed: CancelledError: x", marks=LONG),
        pytest.param("raise KeyboardInterrupt", "failed: KeyboardInterrupt", marks=LONG),
        pytest.param("raise type('Own', (BaseException,), {})('x')", "failed: Own: x", marks=LONG),
        pytest.param("raise GeneratorExit", "failed: GeneratorExit", marks=LONG),
    ],
)  # fmt: skip
async def test_imports_that_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    """Each error says what is wrong with the application, and no process is left."""
    assert problem in str(await refused(app=module(tmp_path, text)))


async def test_an_import_has_a_time_limit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An import that takes too long is ended, and its stack is printed."""
    app = module(tmp_path, "import time\ndef hang():\n    time.sleep(100)\nhang()\n")
    error = await refused(app=app, start_timeout=4)
    assert f"importing {app} took longer than the import_timeout of 4 s; its stack is on standard error" == str(error)
    assert "in hang" in capfd.readouterr().err


async def test_functions_of_the_plan_that_fail() -> None:
    """`prepare` and `describe` are part of the start."""
    assert "AttributeError" in str(await refused(prepare="tests.real.zygote_members:nothing"))
    assert "ModuleNotFoundError" in str(await refused(describe="nowhere:nothing"))


@pytest.mark.long
async def test_threads_may_be_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With threads="allow" it forks anyway, with a warning; threads outside of Python only cause a warning."""
    thread = "threading.Thread(target=time.sleep, args=(9,), daemon=True, name='t').start()\n"
    app = module(tmp_path, f"import threading, time\n{thread}{thread}def app(): pass\n")
    async with open_zygote(plan(app=app, threads="allow")) as zygote, await zygote.fork("worker1") as child:
        await line(child)
    assert (3, ["t", "t"]) == (zygote.imported.os_threads, zygote.imported.threads)
    assert [f"importing {app} started threads (t, t), which do not exist in forked members"] == caplog.messages
    caplog.clear()
    text = "import _thread, time\n_thread.start_new_thread(time.sleep, (9,))\ntime.sleep(0.05)\ndef app(): pass\n"
    async with open_zygote(plan(app=module(tmp_path, text))):
        pass
    assert ["1 thread outside of Python" in message for message in caplog.messages] == [True]


# ----- lazy applications


async def test_lazy_children_are_new_interpreters(tmp_path: Path) -> None:
    """Each imports the application itself, after `prepare`; everything else is as in a forked child."""
    read, write = os.pipe()
    fields = {"lazy": True, "prepare": "tests.real.zygote_members:prepare", "setup": 1}
    async with open_zygote(plan(**fields)) as zygote:
        async with await zygote.fork("worker1", {"exit": 4}, [read, write]) as child:
            facts_of_child = await facts(child)
            assert ExitStatus(code=4) == await child.end(5)
        assert b"" == zygote.imported.described
    os.close(read)
    os.close(write)
    assert (child.pid, child.pid, zygote.pid) == (
        facts_of_child["pid"],
        facts_of_child["imported_in"],
        facts_of_child["parent"],
    )
    assert [] == facts_of_child["inheritable"]
    assert ["pipe"] == beside_its_own(facts_of_child)


@pytest.mark.long
async def test_a_lazy_child_whose_import_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The zygote starts; the child ends with the error, and the next one imports the changed file."""
    app = module(tmp_path, "1 / 0\n")
    async with open_zygote(plan(app=app, lazy=True)) as zygote:
        async with await zygote.fork("worker1") as child:
            assert ExitStatus(code=1) == await child.wait()
        module(tmp_path, "def app(): return 'mended'\n")
        async with await zygote.fork("worker1") as child:
            assert "mended" == (await facts(child))["app"]
    assert "ZeroDivisionError" in capfd.readouterr().err


# ----- nothing is left


@pytest.mark.long
async def test_a_hundred_forks_leave_nothing() -> None:
    """Neither the master nor the zygote has more descriptors, children or memory after a hundred children."""
    async with open_zygote(plan(main="os:write")) as zygote:
        counts = []
        for number in range(100):
            async with await zygote.fork("worker1") as child:
                await child.wait()
            if number in (9, 99):
                pages = int(Path(f"/proc/{zygote.pid}/statm").read_text().split()[1])
                counts.append((open_files().keys(), open_files(zygote.pid).keys(), children(zygote.pid), pages))
        assert counts[0][:3] == counts[1][:3]
        assert counts[1][3] - counts[0][3] < 256  # a MiB


async def test_a_cancelled_start_leaves_nothing() -> None:
    """Whenever the start of a zygote is cancelled, no process and no descriptor is left; the fixtures check that."""
    files, processes = open_files(), children()
    for delay in (0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5):
        with trio.move_on_after(delay):
            async with open_zygote(plan()) as zygote:
                await zygote.died.wait()
        reap_orphans(processes)
        assert processes == children()
        assert files.keys() == open_files().keys()


async def test_what_an_import_had_started_is_reaped(tmp_path: Path) -> None:
    """A program of an import that was cut short leaves no zombie here, if it ends soon."""
    started = tmp_path / "started"
    program = "subprocess.Popen(['sh', '-c', 'sleep 0.2; exit 7'])"
    app = module(tmp_path, f"import subprocess, time; {program}; open({str(started)!r}, 'w'); time.sleep(60)")
    processes = children()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                async with open_zygote(plan(app=app)):
                    raise AssertionError("it must not be imported")

            nursery.start_soon(start)
            while not started.exists():  # noqa: ASYNC110  # another process makes it
                await trio.sleep(0.01)
            scope.cancel()
    assert processes == children()


async def test_a_cancelled_fork_leaves_no_child() -> None:
    """Whenever a fork is cancelled, no child is left when the call has ended."""
    async with open_zygote(plan()) as zygote:
        async with await zygote.fork("worker1") as child:
            await line(child)
        before = open_files().keys(), open_files(zygote.pid).keys()
        for delay in [n / 2000 for n in range(20)]:
            with trio.move_on_after(delay):
                async with await zygote.fork("worker2") as child:
                    await child.wait()
            with trio.fail_after(20):
                while children(zygote.pid):  # noqa: ASYNC110  # nothing tells this process of them
                    await trio.sleep(0.01)  # nothing tells this process of the zygote's children
            assert before == (open_files().keys(), open_files(zygote.pid).keys())


async def test_a_cancelled_end_kills_at_once() -> None:
    """A cancellation cuts the grace short, and the child is dead when the call has ended."""
    async with zygote_and_child("sleep", main="tests.real.zygote_members:be_stuck") as (_, child):
        await line(child)
        for _ in range(2):
            with trio.move_on_after(0.05) as scope:
                await child.end(60)
            assert ExitStatus(signal=signal.SIGKILL) == child.status
        assert not scope.cancelled_caught
