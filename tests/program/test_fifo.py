"""Commands from the file system: letters in a fifo, and files that are touched or changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from trio_uwsgi._program import file_watcher
from trio_uwsgi._program.fifo import open_fifo
from trio_uwsgi._program.file_watcher import stamps_of, watch_files, watch_sources
from trio_uwsgi.errors import ListenError

pytestmark = pytest.mark.real


async def test_letters_arrive_from_one_writer_after_the_other(tmp_path: Path) -> None:
    """Only the owner may use it; a writer may close it; an older fifo is replaced; it is removed afterwards."""
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o666)
    with open_fifo(str(path)) as fifo:
        assert 0o600 == path.stat().st_mode & 0o777
        for letters in ("r", "+-"):
            path.write_text(letters)
            assert letters == await fifo.read()
        with trio.move_on_after(0.01) as nothing:
            await fifo.read()
        assert nothing.cancelled_caught
    assert not path.exists()


async def test_a_fifo_that_another_user_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced between creation and opening, by a link to another file or by that file: its owner is not changed."""
    path, precious = tmp_path / "fifo", tmp_path / "precious"
    precious.write_text("precious")
    make = os.mkfifo
    for put in (path.symlink_to, path.hardlink_to):

        def mkfifo(name: str, mode: int, put: Callable[[Path], None] = put) -> None:
            make(name, mode)
            path.unlink()
            put(precious)

        monkeypatch.setattr(os, "mkfifo", mkfifo)
        with pytest.raises(ListenError), open_fifo(str(path), (os.getuid(), os.getgid())):
            raise AssertionError("it must not be opened")
        assert "precious" == precious.read_text()
        path.unlink(missing_ok=True)


async def test_other_files_stay(tmp_path: Path) -> None:
    """A regular file and a missing folder are refused; a fifo that replaced the server's is not removed."""
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ListenError, match="not a fifo"), open_fifo(str(path)):
        raise AssertionError("it must not be opened")
    assert "precious" == path.read_text()
    with pytest.raises(ListenError, match="No such file"), open_fifo(str(tmp_path / "no" / "fifo")):
        raise AssertionError("it must not be opened")
    path = tmp_path / "fifo"
    with open_fifo(str(path)):
        path.rename(tmp_path / "other")
        os.mkfifo(path)
    assert path.exists()


@pytest.mark.parametrize("watched", [True, False], ids=["inotify", "polling"])
async def test_files_that_are_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    """Touching, writing, replacing and creating are reported, each once; removal and other files are not."""
    if not watched:
        monkeypatch.setattr(file_watcher, "open_watch", lambda: None)
        monkeypatch.setattr(file_watcher, "_INTERVAL", 0.01)
    here, later, neighbour = (tmp_path / name for name in ("here", "later", "neighbour"))
    here.touch()
    send, heard = trio.open_memory_channel[str](10)
    async with trio.open_nursery() as nursery:
        known = stamps_of([str(here), str(later)])
        os.utime(here, (2, 2))  # before anybody watches
        nursery.start_soon(watch_files, known, send.send_nowait)
        with trio.fail_after(5):
            assert str(here) == await heard.receive()
        acts: list[tuple[Path, Callable[[], object]]] = [
            (here, lambda: os.utime(here, (1, 1))),
            (here, lambda: here.write_text("new")),
            (here, lambda: neighbour.write_text("x" * 7) and neighbour.rename(here)),
            (later, later.touch),
        ]
        for file, act in acts:
            act()
            with trio.fail_after(5):
                assert str(file) == await heard.receive()
        here.unlink()
        neighbour.touch()
        await trio.sleep(0.05)
        with pytest.raises(trio.WouldBlock):
            heard.receive_nowait()
        nursery.cancel_scope.cancel()


async def test_code_that_is_changed(tmp_path: Path) -> None:
    """A change of a Python file below the folder is reported, and of no other file."""
    package = tmp_path / "package"
    package.mkdir()
    send, heard = trio.open_memory_channel[str](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_sources, [str(tmp_path)], send.send_nowait)
        path = ""
        with trio.fail_after(10):
            while not path:  # until the watching has begun
                (package / "notes.txt").write_text("x")
                (package / "code.py").write_text("x")
                with trio.move_on_after(0.2):
                    path = await heard.receive()
        assert str(package / "code.py") == path
        nursery.cancel_scope.cancel()


async def test_code_that_the_system_does_not_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is one warning, and then new, changed and removed files are reported, except ignored ones."""
    monkeypatch.setattr(file_watcher, "_INTERVAL", 0.01)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / ".hidden").mkdir()
    code = tmp_path / "package" / "code.py"
    code.parent.mkdir()
    code.write_text("1")
    send, heard = trio.open_memory_channel[str](10)
    async with trio.open_nursery() as nursery:
        # One of the folders is not there: the system refuses all of them.
        nursery.start_soon(watch_sources, [str(tmp_path), str(tmp_path / "none")], send.send_nowait)
        path = ""
        with trio.fail_after(10):
            while not path:  # until the polling has begun
                code.write_text("1" * len(code.read_text()) + "1")
                with trio.move_on_after(0.2):
                    path = await heard.receive()
        assert str(code) == path
        quiet = False
        while not quiet:  # the last write, which may have been seen half
            with trio.move_on_after(0.2) as waiting:
                await heard.receive()
            quiet = waiting.cancelled_caught
        for act in (code.unlink, code.touch):
            act()
            with trio.fail_after(5):
                assert str(code) == await heard.receive()
        for ignored in ("venv/a.py", ".hidden/a.py", "package/a.txt"):
            (tmp_path / ignored).write_text("x")
        await trio.sleep(0.1)
        with pytest.raises(trio.WouldBlock):
            heard.receive_nowait()
        nursery.cancel_scope.cancel()
    assert 1 == caplog.text.count("cannot watch the code for changes (")
    assert "); checking it every 0.01 s instead" in caplog.text
