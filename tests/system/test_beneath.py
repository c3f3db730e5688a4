"""Files below a folder are opened, and others never are: by one system call, and component by component."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_uwsgi._system import beneath
from trio_uwsgi._system.beneath import open_beneath, open_path


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way in which names are resolved."""
    if request.param == "walk":
        monkeypatch.setattr(beneath, "HAS_BENEATH", False)
        monkeypatch.setattr(beneath, "HAS_CACHED", False)
    elif not beneath.HAS_BENEATH:
        pytest.skip("this system has no openat2")
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files and links, and a secret beside it."""
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "file").write_text("inside")
    (root / "secret").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "safe").mkdir()
    (tmp_path / "safe" / "file").write_text("safe")
    links: dict[str, str | Path] = {
        "relative": "sub/file",
        "absolute": root / "sub" / "file",
        "folder": "sub",
        "absolute folder": root / "sub",
        "sub/deep/up": "../file",
        "out": "../secret",
        "absolute out": tmp_path / "secret",
        "parent": "..",
        "slash": "/",
        "proc": "/proc/self/root",
        "safe": tmp_path / "safe" / "file",
        "safe folder": tmp_path / "safe",
        "loop": "loop",
        "dangling": "nowhere",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    return root


def read(folder: Path, name: str, safe: list[Path] | None = None, *, wait: bool = True) -> str:
    """The text of a file that was opened, `folder`, or the class of the error."""
    try:
        descriptor = open_beneath(
            os.fsencode(folder), name.encode(), [os.fsencode(path) for path in safe or ()], wait=wait
        )
    except OSError as error:
        return type(error).__name__
    try:
        return os.read(descriptor, 100).decode()
    except IsADirectoryError:
        return "folder"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub/file", "inside"),
        ("sub//file", "inside"),
        ("./sub/./file", "inside"),
        ("sub", "folder"),
        ("sub/", "folder"),
        ("relative", "inside"),
        ("absolute", "inside"),
        ("folder/file", "inside"),
        ("absolute folder/file", "inside"),
        ("sub/deep/up", "inside"),
        ("sub/file/", "NotADirectoryError"),
        ("sub/file/x", "NotADirectoryError"),
        ("nowhere", "FileNotFoundError"),
        ("nowhere/file", "FileNotFoundError"),
        ("dangling", "FileNotFoundError"),
        ("loop", "OSError"),
        ("out", "Outside"),
        ("absolute out", "Outside"),
        ("parent/secret", "Outside"),
        ("parent/root/sub/file", "inside"),
        ("slash/etc/passwd", "Outside"),
        ("proc/etc/passwd", "Outside"),
        ("..", "Outside"),
        ("../secret", "Outside"),
        ("sub/../../secret", "Outside"),
        ("sub/../sub/file", "Outside"),
        ("sub/file\0.css", "Outside"),
        ("safe", "Outside"),
        ("safe folder/file", "Outside"),
        ("n" * 300, "OSError"),
    ],
)
def test_names(way: str, folder: Path, name: str, expected: str) -> None:
    """A name leads to a file below the folder, by links, too, or to an error."""
    assert expected == read(folder, name)


def test_safe_folders(way: str, folder: Path) -> None:
    """A link may lead into a folder that is declared safe, and not to one whose name only begins alike."""
    safe = [folder.parent / "safe"]
    assert ["safe", "safe", "Outside"] == [read(folder, name, safe) for name in ("safe", "safe folder/file", "out")]
    assert "Outside" == read(folder, "safe", [folder.parent / "saf"])
    assert "safe" == read(folder, "safe", [Path("/")])


def test_without_waiting(folder: Path) -> None:
    """What is in memory is opened; a link that needs its real path has to wait."""
    if not beneath.HAS_CACHED:
        pytest.skip("this system does not open files without waiting")
    assert "inside" == read(folder, "sub/file")
    assert "inside" == read(folder, "sub/file", wait=False)
    assert "inside" == read(folder, "relative")
    assert "inside" == read(folder, "relative", wait=False)
    for name in ("absolute", "absolute out"):
        assert "BlockingIOError" == read(folder, name, wait=False)
    path = os.fsencode(folder / "sub" / "file")
    for wait in (True, False):
        os.close(open_path(path, wait=wait))


def test_a_system_that_always_waits(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Without the flag of the system call everything has to wait."""
    monkeypatch.setattr(beneath, "HAS_CACHED", False)
    assert "BlockingIOError" == read(folder, "sub/file", wait=False)
    assert "inside" == read(folder, "sub/file")
    with pytest.raises(BlockingIOError):
        open_path(os.fsencode(folder / "sub" / "file"), wait=False)


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """A folder inside that becomes a link to the outside, and a folder again, all the time."""
    done = threading.Event()
    inside, link, name = folder / "real", folder / "link", folder / "changes"
    inside.mkdir()
    (inside / "secret").write_text("inside")
    link.symlink_to("..")
    inside.rename(name)

    def change() -> None:
        while not done.is_set():
            name.rename(inside)
            link.rename(name)
            name.rename(link)
            inside.rename(name)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(60)


def test_a_race(way: str, folder: Path) -> None:
    """While a folder is replaced by a link to the outside, its file is found or not; the one outside never is."""
    with changing(folder):
        seen = {read(folder, "changes/secret") for _ in range(3000)}
    assert "inside" in seen
    assert seen <= {"inside", "Outside", "FileNotFoundError", "OSError", "NotADirectoryError"}
