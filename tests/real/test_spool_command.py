"""The command `trio-uwsgi spool`: what it prints, what it changes, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trio_uwsgi import __main__ as command
from trio_uwsgi._spool.claim import Claim
from trio_uwsgi._spool.command import _when, shown
from trio_uwsgi._spool.files import SpoolFolder

pytestmark = pytest.mark.real

ODD = "uwsgi_spoolfile_on_\udcff'\n"


@pytest.fixture
def folder(tmp_path: Path) -> SpoolFolder:
    """A spooler's directory that has been used."""
    folder = SpoolFolder(str(tmp_path / "jobs"))
    folder.prepare()
    return folder


def spooled(folder: SpoolFolder, function: bytes = b"send", **options: float | int | None) -> str:
    """A new job; its name."""
    path = folder.write([(b"ud_spool_func", function)], b"the body", **options)  # type: ignore[arg-type]
    return os.path.relpath(path, folder.path)


def claimed(folder: SpoolFolder, name: str) -> Claim:
    """It, claimed."""
    claim = folder.claim(name)
    assert isinstance(claim, Claim)
    return claim


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The exit code, and what was written."""
    code = command.main(["spool", *words])
    output = capsys.readouterr()
    return code, output.out, output.err


def table(text: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in text.splitlines()]


def test_ls(folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Jobs in the order in which they will run, then dead ones, and how many there are."""
    waiting = spooled(folder)
    delayed = spooled(folder, b"later", at=folder.now() + 7300)
    first = spooled(folder, priority=3)
    running = spooled(folder)
    failed, gone = spooled(folder), spooled(folder)
    claimed(folder, failed).retry(0, "x")
    claimed(folder, gone).move_to_dead("x")
    claim = claimed(folder, running)
    Path(folder.path, "uwsgi_spoolfile_on_bad").write_text("x")
    code, out, err = run(capsys, "ls", folder.path)
    assert (0, "") == (code, err)
    head, *rows, total = table(out)
    assert ["STATE", "PRIO", "DUE", "TRIES", "SIZE", "FUNCTION", "NAME"] == head
    assert ["7", "shown", "of", "6", "jobs", "and", "1", "dead"] == total
    assert [
        ("waiting", "3", "0", "send", first),
        ("waiting", "-", "0", "send", waiting),
        ("delayed", "-", "0", "later", delayed),
        ("running", "-", "0", "send", running),
        ("waiting", "-", "1", "send", failed),
        ("waiting", "-", "0", "file)", "uwsgi_spoolfile_on_bad"),
        ("dead", "-", "1", "send", f"dead/{gone}"),
    ] == [(row[0], row[1], row[4], row[-2], row[-1]) for row in rows]
    assert "in 2h1m" in out
    claim.keep()


def test_ls_of_some(folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """One state, some pages, and for programs."""
    names = [spooled(folder) for _ in range(5)]
    later = spooled(folder, priority=0, at=folder.now() + 100)
    claimed(folder, names[4]).move_to_dead("x")
    pages = [table(run(capsys, "ls", folder.path, "--limit", "2", "--page", page)[1]) for page in "1234"]
    assert [
        [later, names[0]],
        [names[1], names[2]],
        [names[3], f"dead/{names[4]}"],
        [],
    ] == [[row[-1] for row in page[1:-1]] for page in pages]
    assert ["0", "shown", "of", "5", "jobs", "and", "1", "dead"] == pages[3][-1]
    for state, expected in (("waiting", names[:4]), ("delayed", [later]), ("running", []), ("dead", names[4:])):
        _, out, _ = run(capsys, "ls", folder.path, "--state", state, "--json")
        assert expected == [job["name"].removeprefix("dead/") for job in json.loads(out)["jobs"]]
    _, out, _ = run(capsys, "ls", folder.path, "--state", "delayed")
    assert ["1", "shown", "of", "1", "delayed"] == table(out)[-1]
    _, out, _ = run(capsys, "ls", folder.path, "--json", "--limit", "1")
    told = json.loads(out)
    assert (5, 1) == (told["alive"], told["dead"])
    due = pytest.approx(folder.now() + 100, abs=60)
    size = 4 + 2 + 13 + 2 + 4 + 8
    facts = {"state": "delayed", "priority": 0, "due": due, "tries": 0, "size": size, "function": "send", "name": later}
    assert [facts] == told["jobs"]


def test_show(folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that is in a job, without what a terminal would obey, and how it failed."""
    path = folder.write([(b"a", "b\u00e4\x1b[31m\n".encode()), (b"b", b"\xff")], b"x" * 1000, priority=7)
    name = os.path.relpath(path, folder.path)
    claimed(folder, name).retry(0, "Traceback:\n  it failed\n")
    code, out, err = run(capsys, "show", folder.path, name)
    assert (0, "") == (code, err)
    for line in (
        f"name      {name}",
        "state     waiting",
        "priority  7",
        "tries     1",
        "var       a = b\u00e4\\x1b[31m\\n",
        "var       b = \\xff",
        f"body      1000 bytes: {'x' * 400} ...",
        "Traceback:",
        "  it failed",
    ):
        assert line in out.splitlines()
    claimed(folder, name).move_to_dead("over")
    _, out, _ = run(capsys, "show", folder.path, name)
    assert "state     dead" in out
    assert "\ndied      " in out
    Path(folder.path, "uwsgi_spoolfile_on_bad").write_text("x")
    _, out, _ = run(capsys, "show", folder.path, "uwsgi_spoolfile_on_bad")
    assert "problem   it begins with byte 120" in out


def test_retry(folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Dead jobs are put back, delayed ones run now; one that cannot does not keep the others from it."""
    dead = [spooled(folder), spooled(folder, priority=1)]
    later, running = spooled(folder, at=folder.now() + 1000), spooled(folder)
    for name in dead:
        claimed(folder, name).move_to_dead("x")
    claim = claimed(folder, running)
    code, out, err = run(capsys, "retry", folder.path, running, f"dead/{dead[0]}", later, "uwsgi_spoolfile_on_no")
    assert 1 == code
    assert f"requeued  {dead[0]}\nnow due   {later}\n" == out
    assert [
        f"trio-uwsgi spool: {running} is running; stop its spooler, or wait until it has ended",
        f"trio-uwsgi spool: there is no job 'uwsgi_spoolfile_on_no' in {folder.path}; it may have been run meanwhile",
    ] == err.splitlines()
    assert (0, f"requeued  {dead[1]}\n", "") == run(capsys, "retry", folder.path, "--all-dead")
    claim.done()
    for name in (*dead, later):
        claimed(folder, name).done()


def test_purge(folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Jobs that are named go; dead ones when that is confirmed; running ones stay."""
    one, running, *dead = (spooled(folder) for _ in range(4))
    for name in dead:
        claimed(folder, name).move_to_dead("x")
    os.utime(f"{folder.path}/dead/{dead[0]}", (1, 1))
    claim = claimed(folder, running)
    assert (0, f"purged    {one}\n", "") == run(capsys, "purge", folder.path, one)
    assert 1 == run(capsys, "purge", folder.path, running)[0]
    code, out, err = run(capsys, "purge", folder.path, "--dead")
    assert (2, "", "trio-uwsgi spool: 2 dead jobs would be deleted permanently; write --yes to confirm\n") == (
        code,
        out,
        err,
    )
    code, out, _ = run(capsys, "purge", folder.path, "--dead", "--yes", "--older-than", "3600")
    assert (0, f"purged    dead/{dead[0]}\n") == (code, out)
    assert (0, f"purged    dead/{dead[1]}\n", "") == run(capsys, "purge", folder.path, "--dead", "--yes")
    assert (0, "", "") == run(capsys, "purge", folder.path, "--dead")
    claim.keep()
    assert [running] == [found.name for found in folder.scan()]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "the following arguments are required: ls|show|retry|purge"),
        (["dance", "DIR"], "invalid choice: 'dance'"),
        (["ls"], "the following arguments are required: "),
        (["ls", "DIR/no"], "DIR/no is not a directory; name a spool directory"),
        (["ls", "DIR", "--limit", "0"], "'0' is not a number of 1 or more"),
        (["ls", "DIR", "--state", "lost"], "invalid choice: 'lost'"),
        (["retry", "DIR"], "either name the jobs to retry, or write --all-dead"),
        (["retry", "DIR", "x", "--all-dead"], "either name the jobs to retry, or"),
        (["purge", "DIR"], "either name the jobs to purge, or write --dead"),
        (["purge", "DIR", "x", "--older-than", "3"], "--older-than is only for dead jobs; write --dead too"),
    ],
)
def test_mistakes(words: list[str], sentence: str, folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Are one line, and exit code 2."""
    code, out, err = run(capsys, *(word.replace("DIR", folder.path) for word in words))
    assert (2, "") == (code, out)
    assert 1 == err.count("\n")
    assert sentence.replace("DIR", folder.path) in err


@pytest.mark.parametrize("name", ["x", "../uwsgi_spoolfile_on_x"])
def test_names_that_are_none(name: str, folder: SpoolFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Are told, with exit code 1."""
    code, _, err = run(capsys, "show", folder.path, name)
    assert (1, f"trio-uwsgi spool: {name!r} is not the name of a job; use one that `spool ls` shows\n") == (code, err)


def test_names_with_odd_bytes(folder: SpoolFolder) -> None:
    """Are printed so that a shell takes them again."""
    Path(folder.path, ODD).write_bytes(Path(folder.write([(b"f", b"1")])).read_bytes())
    assert "$'uwsgi_spoolfile_on_\\xff\\x27\\x0a'" == shown(ODD)
    program = [sys.executable, "-m", "trio_uwsgi", "spool"]
    listed = subprocess.run([*program, "ls", folder.path], capture_output=True, text=True, timeout=60, check=True)
    assert shown(ODD) in listed.stdout
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(program)} purge {folder.path} {shown(ODD)}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"purged    {shown(ODD)}\n" == done.stdout
    assert 1 == len(list(folder.scan()))


def test_a_directory_that_nobody_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real uWSGI's, say: it is shown, and nothing is made in it."""
    name = spooled(SpoolFolder(str(tmp_path)))
    code, out, _ = run(capsys, "ls", str(tmp_path))
    assert (0, "1 shown of 1 job and 0 dead") == (code, out.splitlines()[-1])
    assert [name] == os.listdir(tmp_path)


def test_a_reader_that_has_seen_enough(folder: SpoolFolder) -> None:
    """Is no error."""
    for _ in range(1000):
        spooled(folder, sync=False)
    program = f"{sys.executable} -m trio_uwsgi spool ls {folder.path} --limit 1000 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (0, "", 1) == (done.returncode, done.stderr, done.stdout.count("\n"))


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Names all commands, and is named in that of the server."""
    with pytest.raises(SystemExit):
        command.main(["spool", "--help"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("ls", "show", "retry", "purge"))
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "trio-uwsgi spool ls|show|retry|purge DIR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s ago"), (-59, "59s ago"), (61, "in 1m1s"), (3600, "in 1h0m"), (-200_000, "2d7h ago")],
)
def test_times(seconds: float, expected: str) -> None:
    """Are told in their two largest units."""
    assert expected == _when(seconds)
