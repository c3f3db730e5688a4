"""Changes of files and directories, as the system reports them and as they are found by comparing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_uwsgi._system import path_watch
from trio_uwsgi._system.path_watch import PathWatch, open_path_watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio.testing import MockClock


@pytest.fixture(params=["noticed", "compared"])
async def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PathWatch]:
    """A watch of both kinds."""
    if request.param == "compared":
        monkeypatch.setattr(path_watch, "open_notices", lambda what, instead: None)
    opened = open_path_watch()
    yield opened
    opened.close()


async def changes(watch: PathWatch) -> list[str]:
    """The names of the files that changed within two seconds."""
    found: set[str] = set()
    with trio.move_on_after(2.5):
        while True:
            found |= await watch.changed()
    return sorted(os.path.basename(path) for path in found)


def replace(path: Path) -> None:
    """Write a file beside, and rename it."""
    new = path.with_name("new")
    new.write_text("other")
    new.replace(path)


def append(path: Path) -> None:
    """Write more to a file."""
    with path.open("a") as file:
        file.write("more")


def remove_folder(path: Path) -> None:
    """Remove the directory of a file."""
    shutil.rmtree(path.parent)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("longer than it was"),
    "appended": append,
    "touched": lambda path: os.utime(path, (5, 5)),
    "mode": lambda path: path.chmod(0o600),
    "replaced": replace,
    "removed": lambda path: path.unlink(),
    "moved away": lambda path: path.rename(path.with_name("b")),
    "directory removed": remove_folder,
    "directory moved": lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_changes_of_a_file(change: str, watch: PathWatch, tmp_path: Path, autojump_clock: MockClock) -> None:
    """Each is noticed; what happens to other files in the directory is not."""
    path = tmp_path / "folder" / "a"
    path.parent.mkdir()
    path.write_text("it")
    watch.add(str(path))
    assert [] == await changes(watch)
    (path.parent / "other").write_text("x")
    assert [] == await changes(watch)
    CHANGES[change](path)
    assert ["a"] == await changes(watch)
    assert [] == await changes(watch)
    path.parent.mkdir(exist_ok=True)
    path.write_text("it is there again")
    assert ["a"] == await changes(watch)
    path.write_text("and watched")
    assert ["a"] == await changes(watch)


async def test_a_file_in_directories_that_do_not_exist_yet(
    watch: PathWatch, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The file's creation is the change; that of the directories above it is none."""
    path = tmp_path / "some" / "where" / "a"
    watch.add(str(path))
    path.parent.parent.mkdir()
    assert [] == await changes(watch)
    path.parent.mkdir()
    assert [] == await changes(watch)
    path.write_text("it")
    assert ["a"] == await changes(watch)


async def test_entries_of_a_directory(watch: PathWatch, tmp_path: Path, autojump_clock: MockClock) -> None:
    """Files that come, change and go are changes of the directory; what happens in directories below is none."""
    folder = tmp_path / "d"
    folder.mkdir()
    watch.add(str(folder))
    (folder / "below").mkdir()
    assert ["d"] == await changes(watch)
    (folder / "a").write_text("x")
    assert ["d"] == await changes(watch)
    (folder / "a").write_text("xyz")
    assert ["d"] == await changes(watch)
    (folder / "a").unlink()
    assert ["d"] == await changes(watch)
    (folder / "below").rmdir()
    folder.rmdir()
    assert ["d"] == await changes(watch)


async def test_symbolic_links(watch: PathWatch, tmp_path: Path, autojump_clock: MockClock) -> None:
    """A path that is a link changes with what it leads to, and when it leads to another file."""
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "link"
    first.write_text("1")
    second.write_text("2")
    link.symlink_to(first)
    watch.add(str(link))
    first.write_text("1 and more")
    assert ["link"] == await changes(watch)
    (tmp_path / "other").symlink_to(second)
    (tmp_path / "other").replace(link)
    assert ["link"] == await changes(watch)
    second.write_text("2 and more")
    assert ["link"] == await changes(watch)
    first.write_text("no longer")
    assert [] == await changes(watch)


async def test_paths_that_are_removed(watch: PathWatch, tmp_path: Path, autojump_clock: MockClock) -> None:
    """A path is not reported any more; another one in the same directory is."""
    one, other = tmp_path / "one", tmp_path / "other"
    watch.add(str(one))
    watch.add(str(other))
    watch.remove(str(one))
    one.write_text("x")
    other.write_text("x")
    assert ["other"] == await changes(watch)
    watch.remove(str(other))
    other.write_text("xyz")
    assert [] == await changes(watch)


async def test_lost_changes(tmp_path: Path, autojump_clock: MockClock) -> None:
    """If the system lost changes, every path may have changed."""
    one, two, absent = (tmp_path / name for name in ("one", "two", "absent"))
    watch = open_path_watch()
    for path in (one, two):
        path.touch()
    for path in (one, two, absent):
        watch.add(str(path))
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit + 10):  # two in turn, because the kernel merges repeated ones
        os.utime(two if number % 2 else one, (number, number))
    assert ["absent", "one", "two"] == await changes(watch)
    watch.close()
    with pytest.raises(trio.ClosedResourceError):
        await watch.changed()


async def test_paths_that_the_system_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """This is logged once for a path."""
    watch = open_path_watch()
    long = tmp_path / ("x" * 300)
    watch.add(str(long))
    watch.remove(str(long))
    watch.add(str(long))
    watch.close()
    assert [f"cannot watch {long} (File name too long)"] == caplog.messages
