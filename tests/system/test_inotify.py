"""Watching directories for changes. The kernel reports them; no test waits for real time."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_uwsgi._spool.claim import Claim
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._system.inotify import RESCAN, Change, Watch, open_watch

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system has no inotify"),
]


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    """The test's directory, watched."""
    watch = open_watch()
    assert watch is not None
    with watch:
        assert watch.add(str(tmp_path))
        yield watch


async def reported(watch: Watch) -> list[Change]:
    """The changes that are reported now, without the directory's own name."""
    with trio.fail_after(10):
        return await watch.changes()


async def silent(watch: Watch) -> bool:
    """Whether nothing is reported."""
    with trio.move_on_after(0) as scope:
        await watch.changes()
    return scope.cancelled_caught


async def test_what_is_reported(watch: Watch, tmp_path: Path) -> None:
    """Files that are closed after writing, are moved in, or change their time; and new directories."""
    here = str(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    assert [Change(here, "outside", True)] == await reported(watch)
    with open(tmp_path / "a\udcff", "w"):
        assert await silent(watch)
    assert [Change(here, "a\udcff", False)] == await reported(watch)
    os.rename(tmp_path / "a\udcff", outside / "b")
    assert await silent(watch)
    os.rename(outside / "b", tmp_path / "c")
    os.utime(tmp_path / "c", (1, 1))
    assert [Change(here, "c", False)] * 2 == await reported(watch)
    os.rename(outside, tmp_path / "5")
    (tmp_path / "c").read_bytes()
    os.chmod(tmp_path / "5", 0o700)
    (tmp_path / "c").unlink()
    assert [Change(here, "5", True)] == await reported(watch)


async def test_the_life_of_jobs(watch: Watch, tmp_path: Path) -> None:
    """A job is reported when it can be claimed, again when it is kept, and not when it is done."""
    folder = SpoolFolder(str(tmp_path))
    name = os.path.basename(folder.write([(b"a", b"1")], at=0))
    changes = await reported(watch)
    assert Change(str(tmp_path), name, False) == changes[-1]
    assert {name} == {change.file for change in changes if not change.file.startswith(".new_")}
    for end in ("keep", "done"):
        claim = folder.claim(name)
        assert isinstance(claim, Claim)
        assert await silent(watch)
        getattr(claim, end)()
        if end == "keep":
            assert [Change(str(tmp_path), name, False)] == await reported(watch)
    assert await silent(watch)


async def test_a_change_wakes_a_waiting_task(watch: Watch, tmp_path: Path) -> None:
    """A task that waits in `changes` gets it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reported, watch)
        await trio.testing.wait_all_tasks_blocked()
        (tmp_path / "a").touch()


async def test_a_cancel_loses_nothing(watch: Watch, tmp_path: Path) -> None:
    """Whether a change was pending or not."""
    with trio.CancelScope() as scope:
        (tmp_path / "a").touch()
        scope.cancel()
        await watch.changes()
    assert scope.cancelled_caught
    assert {"a"} == {change.file for change in await reported(watch)}


async def test_close(watch: Watch) -> None:
    """Waiting and later tasks get an error; closing twice has no effect."""
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await watch.changes()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        watch.close()
    watch.close()
    with pytest.raises(trio.ClosedResourceError, match="the watch was closed"):
        await watch.changes()


async def test_several_directories(watch: Watch, tmp_path: Path) -> None:
    """Each change names its directory; a removed one is reported, and can be watched again."""
    below = tmp_path / "5"
    for _ in range(2):
        below.mkdir()
        assert watch.add(str(below))
        assert watch.add(str(below))
        (below / "a").touch()
        changes = await reported(watch)
        assert Change(str(tmp_path), "5", True) == changes[0]
        assert {Change(str(below), "a", False)} == set(changes[1:])
        shutil.rmtree(below)
        assert [RESCAN] == await reported(watch)


async def test_too_much_at_once(watch: Watch, tmp_path: Path) -> None:
    """When the kernel has dropped events, a rescan is reported."""
    path = str(tmp_path / "a")
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit):  # two in turn, because the kernel merges repeated events
        os.utime(path if number % 2 else str(tmp_path / "b"), (number, number))
    changes: list[Change] = []
    while RESCAN not in changes:
        changes = await reported(watch)
    assert await silent(watch)


async def test_what_cannot_be_watched(watch: Watch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged: a missing directory, or one too many for the system."""
    assert not watch.add(str(tmp_path / "no"))
    assert f"cannot watch {tmp_path}/no (No such file or directory)" in caplog.text

    def full(*_: object) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1

    with open_watch() or watch as other:
        other._add = full
        assert not other.add("/x")
    assert "cannot watch /x (No space left on device); raise fs.inotify.max_user_watches" in caplog.text


def test_systems_without_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """`open_watch` returns None, and logs why."""
    caplog.set_level("INFO")

    class Library:
        """A C library."""

        inotify_add_watch = ctypes.CDLL(None).inotify_add_watch
        inotify_rm_watch = ctypes.CDLL(None).inotify_rm_watch

        def __init__(self, *_: object, use_errno: bool) -> None:
            pass

    class Exhausted(Library):
        """One whose user has reached the limit of watches."""

        @property
        def inotify_init1(self) -> Any:  # Any: a function of a C library
            def none(flags: int) -> int:
                ctypes.set_errno(errno.EMFILE)
                return -1

            return none

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert open_watch() is None
    assert "the C library has no inotify: changes by other processes" in caplog.text
    monkeypatch.setattr(ctypes, "CDLL", Exhausted)
    assert open_watch() is None
    assert "cannot watch directories (Too many open files)" in caplog.text
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_watch() is None
    assert "this system has no inotify" in caplog.text


async def test_files_that_are_gone(tmp_path: Path) -> None:
    """With `removals` removed and moved files are reported; otherwise they are not."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
    reported = []
    for removals in (True, False):
        watch = open_watch(removals=removals)
        assert watch is not None
        with watch:
            watch.add(str(tmp_path))
            (tmp_path / "a").unlink()
            (tmp_path / "b").rename(tmp_path / "c")
            reported.append([change.file for change in await watch.changes()])
            (tmp_path / "c").rename(tmp_path / "b")
            (tmp_path / "a").touch()
    assert [["a", "b", "c"], ["c"]] == reported
