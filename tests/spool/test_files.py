"""Jobs as files: written, found, claimed, and how they end. Crashes have tests of their own."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.spool.crashes import MODULES, KilledOs
from trio_uwsgi._spool.claim import Claim, NotClaimed, release
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._spool.paths import Found, read_record
from trio_uwsgi._spool.running_jobs import Running, RunningRecords, recover
from trio_uwsgi._spool.tools import (
    dead,
    delay_reason,
    find,
    make_due,
    names,
    purge,
    read_details,
    requeue,
    state_of,
)
from trio_uwsgi._system import file_locks as file_lock
from trio_uwsgi.errors import ConfigError, JobTooLarge, SpoolError

NOW = 1_795_327_801.25
PAIRS = [(b"ud_spool_func", b"send"), (b"n", b"1")]
ODD = "uwsgi_spoolfile_on_\udcff\udcfe name\n\x1b[1m_1_2_3_4_5"


class Clock:
    """The time of day, which stands still."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of the directory."""
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> SpoolFolder:
    """A directory, prepared."""
    folder = SpoolFolder(str(tmp_path / "spool"), clock)
    folder.prepare()
    return folder


def put(folder: SpoolFolder, data: bytes, name: str = "uwsgi_spoolfile_on_x_1_1_1_1_1", age: float = 60) -> str:
    """A file that somebody else wrote."""
    path = os.path.join(folder.path, name)
    Path(path).write_bytes(data)
    os.utime(path, (NOW - age, NOW - age))
    return name


def spooled(folder: SpoolFolder, **options: Any) -> str:  # Any: those of `write`
    """A new job; its name."""
    return os.path.relpath(folder.write(PAIRS, **options), folder.path)


def claimed(folder: SpoolFolder, name: str) -> Claim:
    """It, claimed."""
    claim = folder.claim(name)
    assert isinstance(claim, Claim), claim
    return claim


def refused(folder: SpoolFolder, name: str) -> NotClaimed:
    """Why it is not."""
    claim = folder.claim(name)
    assert isinstance(claim, NotClaimed)
    return claim


def listing(folder: SpoolFolder) -> list[str]:
    """All files below the directory."""
    root = Path(folder.path)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class FailingOs(KilledOs):
    """`os`, whose call of this name fails."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__()
        self._call = call
        self._number = number

    def __getattr__(self, name: str) -> Any:  # Any: whatever os has
        if name != self._call:
            return getattr(os, name)

        def fail(*args: Any, **keywords: Any) -> Any:
            raise OSError(self._number, os.strerror(self._number), *args[:1])

        return fail


@contextlib.contextmanager
def failing(call: str, number: int = errno.ENOSPC) -> Iterator[None]:
    """A disk that does not do this."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        FailingOs(call, number).install(monkeypatch)
        yield


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, who may write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_place() -> Iterator[str]:
    """A directory that everybody can come to; pytest's own are for one user."""
    place = tempfile.mkdtemp()
    os.chmod(place, 0o755)
    yield place
    shutil.rmtree(place)


# ----- prepare


def test_prepare_makes_the_directory(tmp_path: Path) -> None:
    """And those above it, for this user alone; a second time changes nothing."""
    folder = SpoolFolder(str(tmp_path / "a" / "b"))
    folder.prepare()
    folder.prepare()
    assert 0o700 == stat.S_IMODE(os.stat(folder.path).st_mode)
    assert [".running", ".tries", "dead"] == sorted(os.listdir(folder.path))
    assert f"<SpoolFolder '{tmp_path}/a/b'>" == repr(folder)


def test_prepare_refuses_a_file(tmp_path: Path) -> None:
    """With its path, and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: Not a directory; it belongs to user"):
        SpoolFolder(str(tmp_path / "file")).prepare()
    with pytest.raises(ConfigError, match=r"Not a directory; create it, writable by user \S+, or"):
        SpoolFolder(str(tmp_path / "file" / "below")).prepare()


def test_prepare_says_who_may_write(open_place: str) -> None:
    """The error names the owner, the mode, and who we are."""
    with as_nobody():
        if os.geteuid() != 65534:
            os.chmod(open_place, 0o555)
        with pytest.raises(ConfigError, match=r"Permission denied; it belongs to user \S+, group \S+, with mode 0\d55"):
            SpoolFolder(open_place).prepare()
    os.chmod(open_place, 0o755)


def test_prepare_clears_what_crashes_left(folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old files without a lock that never got their names, records and reports without jobs; and nothing else."""
    root = Path(folder.path)
    name, priority = spooled(folder), spooled(folder, priority=5)
    claimed(folder, priority).retry(0, "no")
    (root / ".tries" / name).write_text("tries: 1\n\n")  # as a crash leaves it
    for orphan in (
        ".new_1",
        "5/.new_2",
        "dead/.new_3",
        ".tries/uwsgi_spoolfile_on_gone",
        "dead/uwsgi_spoolfile_on_g.report",
    ):
        (root / orphan).write_text("half")
    (root / "other").write_text("not ours")
    locked = os.open(root / ".new_4", os.O_RDWR | os.O_CREAT)
    assert file_lock.try_lock(locked)
    kept = sorted([name, priority, f".tries/{priority}", f".tries/{name}", "other", ".new_4"])
    folder.prepare()
    assert {".new_1", "5/.new_2", "dead/.new_3", "dead/uwsgi_spoolfile_on_g.report"} < set(listing(folder))
    monkeypatch.setattr("trio_uwsgi._spool.files._STALE", -1)
    folder.prepare()
    assert kept == listing(folder)
    release(locked)


# ----- write


def test_a_job_is_one_file(folder: SpoolFolder) -> None:
    """With uWSGI's name and format, for this user alone, due at once."""
    path = folder.write([(b"foo", b"bar"), (b"at", b"2000000000")], b"BODY")
    recorded = (Path(__file__).parents[1] / "fixtures" / "uwsgi" / "spool_simple_at.bin").read_bytes()
    assert recorded + b"BODY" == Path(path).read_bytes()
    assert (0o600, NOW) == (stat.S_IMODE(os.stat(path).st_mode), os.stat(path).st_mtime)
    assert path.startswith(f"{folder.path}/uwsgi_spoolfile_on_{os.uname().nodename}_{os.getpid()}_")
    assert path.endswith("_1795327801_250000")
    assert [os.path.basename(path)] == listing(folder)


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("priority", [None, 0, 12])
def test_write_and_find(folder: SpoolFolder, sync: bool, priority: int | None) -> None:
    """A job comes back as it was spooled, at the microsecond it was spooled for."""
    at = 1_795_327_900.123457
    body = memoryview(bytes(range(256)) * 1000)
    name = spooled(folder, body=body, priority=priority, at=at, sync=sync)
    (found,) = folder.scan()
    assert (name, at, priority) == (found.name, found.due, found.priority)
    assert found == folder.stat_job(name)
    assert NotClaimed("delayed", until=at) == refused(folder, name)
    folder.now = lambda: at
    claim = claimed(folder, name)
    assert (PAIRS, bytes(body), len(body), 0) == (claim.pairs, claim.read_body(), claim.body_size, 0)
    claim.keep()


def test_a_job_that_is_too_large_leaves_nothing(folder: SpoolFolder) -> None:
    """It is refused before anything is written."""
    with pytest.raises(JobTooLarge):
        folder.write([(b"a", b"x" * 70_000)])
    assert [] == listing(folder)


@pytest.mark.parametrize(
    ("call", "number", "sentence"),
    [
        ("open", errno.EACCES, "Permission denied; make it writable by user"),
        ("writev", errno.ENOSPC, "No space left on device; make room"),
        ("utime", errno.EPERM, "Operation not permitted; make it writable by user"),
        ("fsync", errno.EIO, "Input/output error; check the disk"),
        ("rename", errno.ENOENT, "No such file or directory; create the directory, or restart"),
        ("mkdir", errno.EROFS, "Read-only file system; make it writable by user"),
    ],
)
def test_a_disk_that_fails(folder: SpoolFolder, call: str, number: int, sentence: str) -> None:
    """The job is not accepted, the error says why and what to do, and no file is left."""
    with failing(call, number), pytest.raises(SpoolError, match=f"the job was not accepted: .*/5: {sentence}"):
        folder.write(PAIRS, b"body", priority=5)
    assert [] == listing(folder)


@pytest.mark.real
def test_a_file_that_gets_too_long(folder: SpoolFolder) -> None:
    """The system takes a part of it and refuses the rest: nothing is left of it."""
    program = f"""
        import resource
        from trio_uwsgi._spool.files import SpoolFolder
        from trio_uwsgi.errors import SpoolError
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        folder = SpoolFolder({folder.path!r})
        folder.write([(b"n", b"1")], b"x" * 4000)
        try:
            folder.write([(b"n", b"2")], b"x" * 100_000)
        except SpoolError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "the job was not accepted" in done.stdout
    assert "File too large; check the disk" in done.stdout
    assert 1 == len(listing(folder))


def test_a_directory_that_may_not_be_written(open_place: str) -> None:
    """The error names the user who has to be let in."""
    with as_nobody():
        if os.geteuid() != 65534:
            os.chmod(open_place, 0o555)
        with pytest.raises(
            SpoolError, match=r"Permission denied; make it writable by user \w+ and spool the job again"
        ):
            SpoolFolder(open_place).write(PAIRS)
    os.chmod(open_place, 0o755)


def test_partial_writes_are_completed(folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system takes at once: less than the head, or less than the body."""

    class Slow(KilledOs):
        def __getattr__(self, name: str) -> Any:  # Any: whatever os has
            if name == "writev":
                return lambda fd, pieces: os.write(fd, b"".join(map(bytes, pieces))[:amount])
            if name == "write":
                return lambda fd, data: os.write(fd, data[:7])
            return getattr(os, name)

    Slow().install(monkeypatch)
    for amount in (1, 20, 40, 60):  # noqa: B007 (the class above reads it)
        name = spooled(folder, body=b"body" * 10)
        claim = claimed(folder, name)
        assert (PAIRS, b"body" * 10) == (claim.pairs, claim.read_body())
        claim.done()


# ----- scan


def test_scan_finds_jobs_and_nothing_else(folder: SpoolFolder) -> None:
    """Whatever else is there: links, directories, files of others, jobs that are dead, priorities that are none."""
    root = Path(folder.path)
    put(folder, b"")
    for place in ("007", "3", "high", "-1"):
        (root / place).mkdir()
        put(folder, b"x" * 5, f"{place}/uwsgi_spoolfile_on_y")
    put(folder, b"x", "other")
    put(folder, b"x", "dead/uwsgi_spoolfile_on_dead")
    put(folder, b"x", ODD)
    (root / "uwsgi_spoolfile_on_folder").mkdir()
    (root / "uwsgi_spoolfile_on_link").symlink_to(root / "other")
    (root / "4").symlink_to(root / "3")
    expected = [
        ("007/uwsgi_spoolfile_on_y", NOW - 60, 5),
        ("3/uwsgi_spoolfile_on_y", NOW - 60, 5),
        ("uwsgi_spoolfile_on_x_1_1_1_1_1", NOW - 60, 0),
        (ODD, NOW - 60, 1),
    ]
    assert sorted(expected) == sorted(folder.scan())
    assert expected == [folder.stat_job(name) for name, *_ in expected]
    assert {name for name, *_ in expected} < set(names(folder))
    for name in ("other", "uwsgi_spoolfile_on_folder", "uwsgi_spoolfile_on_link", "uwsgi_spoolfile_on_no", "dead/x"):
        assert folder.stat_job(name) is None


def test_a_directory_that_cannot_be_read(folder: SpoolFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Is an error; one of a priority is left out with a line in the log, and the others go on."""
    spooled(folder, priority=1)
    spooled(folder)

    class Blind(KilledOs):
        def __getattr__(self, name: str) -> Any:  # Any: whatever os has
            if name != "scandir":
                return getattr(os, name)

            def scandir(path: str) -> Any:
                if path.endswith("/1/"):
                    raise PermissionError(errno.EACCES, "Permission denied")
                return os.scandir(path)

            return scandir

    with pytest.MonkeyPatch.context() as monkeypatch:
        Blind().install(monkeypatch)
        assert [None] == [found.priority for found in folder.scan()]
    assert "priority folder 1 cannot be read (Permission denied)" in caplog.text
    shutil.rmtree(folder.path)
    with pytest.raises(SpoolError, match="No such file or directory"):
        list(folder.scan())
    with pytest.raises(SpoolError, match="No such file or directory; create the directory, or restart"):
        folder.write(PAIRS)


# ----- claims


def test_two_claims_in_one_process(folder: SpoolFolder) -> None:
    """One of them gets the job; when it is done, it is gone for the other."""
    name = spooled(folder)
    claim = claimed(folder, name)
    assert f"<Claim '{name}'>" == repr(claim)
    assert NotClaimed("locked") == refused(folder, name)
    claim.done()
    assert f"<Claim '{name}', ended>" == repr(claim)
    assert NotClaimed("gone") == refused(folder, name)
    assert [] == listing(folder)


def test_asking_again_opens_nothing_for_writing(folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches the directory would be told that the job can be claimed, and ask again at once, for ever."""
    locked, unfinished = spooled(folder), put(folder, b"\x11", age=0)
    claim = claimed(folder, locked)
    flags = []

    class Noting(KilledOs):
        def __getattr__(self, name: str) -> Any:  # Any: whatever os has
            if name != "open":
                return getattr(os, name)

            def opened(path: str, flag: int) -> int:
                flags.append(flag & os.O_RDWR)
                return os.open(path, flag)

            return opened

    Noting().install(monkeypatch)
    for expected in (os.O_RDWR, 0, 0):
        assert "locked" == refused(folder, locked).why
        assert ("unfinished", NOW + 10) == ((again := refused(folder, unfinished)).why, again.until)
        assert [expected] * 2 == flags
        flags.clear()
    claim.keep()
    claim = claimed(folder, locked)
    assert "locked" == refused(folder, locked).why
    with failing("pread", errno.EIO):
        assert "unreadable" == refused(folder, unfinished).why
    with failing("open", errno.EIO):
        assert "unreadable" == refused(folder, unfinished).why
    claim.done()
    os.unlink(f"{folder.path}/{unfinished}")
    assert ["gone", "gone"] == [refused(folder, name).why for name in (locked, unfinished)]


HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.readline()
os.rename(sys.argv[1], sys.argv[2]) if len(sys.argv) > 2 else None
"""


@contextlib.contextmanager
def holder(*paths: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with a POSIX lock, as uWSGI takes it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "locked\n" == process.stdout.readline()
        yield process
        process.communicate("\n", timeout=60)


@pytest.mark.real
def test_a_posix_lock_of_another_process(folder: SpoolFolder) -> None:
    """Keeps us out and is seen; and ours keeps such a process out."""
    name = spooled(folder)
    with holder(f"{folder.path}/{name}"):
        assert NotClaimed("locked") == refused(folder, name)
        assert "running" == state_of(folder, find(folder, name))
        with pytest.raises(SpoolError, match="is running"):
            purge(folder, find(folder, name))
    claim = claimed(folder, name)
    failed = subprocess.run(
        [sys.executable, "-c", HOLDER, claim.path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "BlockingIOError" in failed.stderr
    assert "running" == state_of(folder, find(folder, name))
    claim.keep()
    assert "waiting" == state_of(folder, find(folder, name))


@pytest.mark.real
def test_a_child_of_user_code_does_not_keep_the_lock(folder: SpoolFolder) -> None:
    """A fork has the same open file; the job is free nevertheless when its claim ends."""
    name = spooled(folder)
    claim = claimed(folder, name)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    claim.keep()
    claimed(folder, name).keep()
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for fd in (*ready, *go):
        os.close(fd)


@pytest.mark.parametrize("moved", [True, False])
def test_a_file_that_its_owner_moved_before_we_had_the_lock(folder: SpoolFolder, moved: bool) -> None:
    """It is gone, whether it is elsewhere or nowhere."""
    name = spooled(folder)

    class Late(KilledOs):
        def __getattr__(self, attribute: str) -> Any:  # Any: whatever os has
            if attribute != "open":
                return getattr(os, attribute)

            def opened(path: str, *args: Any) -> int:
                fd = os.open(path, *args)
                if moved:
                    os.rename(path, f"{folder.path}/dead/{name}")
                    put(folder, b"another", name)
                else:
                    os.unlink(path)
                return fd

            return opened

    with pytest.MonkeyPatch.context() as monkeypatch:
        Late().install(monkeypatch)
        assert NotClaimed("gone") == refused(folder, name)


@pytest.mark.parametrize("data", [b"", b"\x11", b"\x11\x10\x00\x00abc"])
def test_a_file_that_is_cut_off(folder: SpoolFolder, clock: Clock, data: bytes) -> None:
    """May be being written for ten seconds; then it is moved to dead/, with a report, and not deleted."""
    name = put(folder, data, age=3)
    claim = refused(folder, name)
    assert ("unfinished", NOW + 7) == (claim.why, claim.until)
    assert f"{name}: not a complete spool file: it ends after {len(data)} bytes" in claim.detail
    clock.now += 7
    claim = refused(folder, name)
    assert ("dead", None) == (claim.why, claim.until)
    assert claim.detail.endswith(f"; moved to {folder.path}/dead/{name}")
    assert [f"dead/{name}", f"dead/{name}.report"] == listing(folder)
    assert data == Path(folder.path, "dead", name).read_bytes()


@pytest.mark.parametrize("name", ["uwsgi_spoolfile_on_x", ODD, "5/uwsgi_spoolfile_on_x", "uwsgi_spoolfile_on_.report"])
def test_a_corrupt_file(folder: SpoolFolder, name: str) -> None:
    """Is moved to dead/ at once; what died there before stays."""
    os.mkdir(f"{folder.path}/5")
    for data in (b"garbage", b"more garbage", b"%PDF"):
        assert "dead" == refused(folder, put(folder, data, name, age=0)).why
    there = [Path(folder.path, found.name).read_bytes() for found in dead(folder)]
    assert [b"%PDF", b"garbage", b"more garbage"] == sorted(there)
    assert 6 == len(listing(folder))


def test_a_corrupt_file_that_cannot_be_moved(folder: SpoolFolder) -> None:
    """Stays where it is, and the log line says so."""
    name = put(folder, b"garbage")
    with failing("rename"):
        claim = refused(folder, name)
    assert "unreadable" == claim.why
    assert claim.detail.endswith("it cannot be moved to dead/ (No space left on device)")
    assert name in listing(folder)
    folder.now = lambda: NOW + 60
    assert "dead" == refused(folder, name).why


@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
def test_a_file_that_cannot_be_read(folder: SpoolFolder, call: str) -> None:
    """Stays where it is, and the log line says why."""
    name = spooled(folder)
    with failing(call, errno.EACCES):
        claim = refused(folder, name)
    assert ("unreadable", None) == (claim.why, claim.until)
    assert f"{folder.path}/{name} cannot be " in claim.detail
    assert "(Permission denied)" in claim.detail
    if call == "pread":
        assert NotClaimed("delayed", until=NOW + 60) == refused(folder, name)
        folder.now = lambda: NOW + 60
    claimed(folder, name).done()


def test_what_is_no_file(folder: SpoolFolder) -> None:
    """A link, a pipe and a directory with the name of a job are not opened for long, and stay."""
    path = f"{folder.path}/uwsgi_spoolfile_on_x"
    for kind in ("link", "pipe"):
        os.symlink("/etc/passwd", path) if kind == "link" else os.mkfifo(path)
        assert "unreadable" == refused(folder, "uwsgi_spoolfile_on_x").why
        os.unlink(path)
    os.mkdir(path)
    assert "unreadable" == refused(folder, "uwsgi_spoolfile_on_x").why


def test_a_file_that_gets_shorter(folder: SpoolFolder) -> None:
    """Reading its body ends."""
    name = spooled(folder, body=b"x" * 200_000)
    claim = claimed(folder, name)
    os.truncate(claim.path, 100_000)
    assert 100_000 > len(claim.read_body())
    claim.done()


def test_a_file_from_the_future(folder: SpoolFolder) -> None:
    """It can be told whether somebody meant it."""
    year = NOW + 365 * 86400
    odd = put(folder, Path(folder.write(PAIRS)).read_bytes(), age=NOW - year)
    meant = os.path.relpath(folder.write([*PAIRS, (b"at", b"%d" % year)], at=year), folder.path)
    failed = spooled(folder, body=b"2")
    claimed(folder, failed).retry(year, "no")
    assert NotClaimed("delayed", until=year) == refused(folder, odd)
    assert [None, "at", "retry"] == [delay_reason(folder, find(folder, name)) for name in (odd, meant, failed)]


# ----- how jobs end


def test_retry(folder: SpoolFolder) -> None:
    """The job waits, and knows how often it failed, and how; done removes that too."""
    name = spooled(folder, priority=3)
    claimed(folder, name).retry(NOW + 0.5, "first\ntraceback")
    assert NotClaimed("delayed", until=NOW + 0.5) == refused(folder, name)
    folder.now = lambda: NOW + 0.5
    claim = claimed(folder, name)
    assert (1, "first\ntraceback") == (claim.tries, claim.record.report)
    claim.retry(NOW, "second \udcff")
    claim = claimed(folder, name)
    assert (2, "second ?") == claim.record
    claim.done()
    assert [] == listing(folder)


def test_keep(folder: SpoolFolder) -> None:
    """Is no try; the job may be delayed."""
    name = spooled(folder)
    claimed(folder, name).keep()
    claim = claimed(folder, name)
    assert 0 == claim.tries
    claim.keep(NOW + 1)
    assert NotClaimed("delayed", until=NOW + 1) == refused(folder, name)


@pytest.mark.parametrize("priority", [None, 4])
def test_bury_and_requeue(folder: SpoolFolder, priority: int | None) -> None:
    """The job is in dead/ with its last report beside it, until it is put back, as new."""
    name = spooled(folder, priority=priority, body=b"body")
    claimed(folder, name).retry(NOW, "first")
    claimed(folder, name).move_to_dead("second")
    assert [f"dead/{name}", f"dead/{name}.report"] == listing(folder)
    assert "tries: 2\n\nsecond" == Path(folder.path, f"dead/{name}.report").read_text()
    (grave,) = dead(folder)
    assert (f"dead/{name}", priority) == (grave.name, grave.priority)
    assert 60 > abs(time.time() - grave.due)
    assert (grave, grave) == (find(folder, name), find(folder, f"{folder.path}/dead/{name}"))
    found = read_details(folder, grave, preview=3)
    assert ("dead", PAIRS, b"bod", 4, (2, "second"), "") == (
        found.state,
        found.pairs,
        found.body,
        found.body_size,
        found.record,
        found.problem,
    )
    assert name == requeue(folder, grave)
    claim = claimed(folder, name)
    assert 0 == claim.tries
    claim.keep()
    assert [name] == listing(folder)


@pytest.mark.parametrize(
    ("call", "end", "sentence"),
    [
        ("unlink", lambda claim: claim.done(), "is done, but cannot be removed, so it will run again"),
        ("utime", lambda claim: claim.keep(NOW), "is kept, but cannot be delayed"),
        ("utime", lambda claim: claim.retry(NOW, "x"), "has failed, but the failure cannot be recorded"),
        ("write", lambda claim: claim.retry(NOW + 9, "x"), "has failed, but the failure cannot be recorded"),
        ("rename", lambda claim: claim.move_to_dead("x"), "has used up its attempts, but cannot be moved to dead/"),
    ],
)
def test_a_disk_that_does_not_do_its_part(folder: SpoolFolder, call: str, end: Any, sentence: str) -> None:
    """The claim ends with an error; the job is still there, and free."""
    name = spooled(folder)
    claim = claimed(folder, name)
    with failing(call), pytest.raises(SpoolError, match=f"{sentence} \\(No space left on device\\); check the disk"):
        end(claim)
    folder.now = lambda: NOW + 60
    claimed(folder, name).done()


def test_a_full_disk_does_not_make_a_failing_job_spin(folder: SpoolFolder) -> None:
    """Its failure cannot be written down, but it waits."""
    name = spooled(folder)
    claim = claimed(folder, name)
    with failing("write"), pytest.raises(SpoolError):
        claim.retry(NOW + 9, "x")
    assert NotClaimed("delayed", until=NOW + 9) == refused(folder, name)


def test_a_report_that_cannot_be_written_is_logged(folder: SpoolFolder, caplog: pytest.LogCaptureFixture) -> None:
    """The job goes to dead/ without it."""
    name = spooled(folder)
    claim = claimed(folder, name)
    with failing("write"):
        claim.move_to_dead("what went wrong")
    assert [f"dead/{name}"] == listing(folder)
    assert f"{name} cannot be written (No space left on device): what went wrong" in caplog.text


def test_damaged_records(tmp_path: Path) -> None:
    """Count as none."""
    for content in (b"", b"tries: \n\nx", b"\0\0\0\0", b"tries: -1\n\n", b"tries: 2147483648", b"tries: 3"):
        (tmp_path / "record").write_bytes(content)
        assert ((3 if content.endswith(b"3") else 0), "") == read_record(str(tmp_path / "record"))


# ----- what ran when a process died


def test_a_killed_job_is_counted(folder: SpoolFolder) -> None:
    """As a failed try, once; it waits as long as it is told, and at last is dead."""
    name = spooled(folder)
    asked: list[int] = []

    def delay_after_failure(claim: Claim, tries: int) -> float | None:
        asked.append(tries)
        return 10 if tries < 2 else None

    for expected in (NOW + 10, None):
        running = Running(folder)
        claim = claimed(folder, name)
        running.begin(claim)
        assert [] == recover(folder, delay_after_failure)  # it is alive
        release(running._fd)  # both locks end with the process
        assert [] == recover(folder, delay_after_failure)  # somebody else has the job already
        release(claim._fd)
        assert [name if expected else f"dead/{name}"] == recover(folder, delay_after_failure)
        assert [] == recover(folder, delay_after_failure)
        assert expected == next((found.due for found in folder.scan()), None)
        folder.now = lambda: NOW + 20
    assert [1, 2] == asked
    assert "tries: 2\n\nits process died while it ran" == Path(folder.path, f"dead/{name}.report").read_text()
    assert [f"dead/{name}", f"dead/{name}.report"] == listing(folder)


def test_what_ended_before_the_process_did_is_not_counted(folder: SpoolFolder) -> None:
    """Whether it was done, kept, or has been counted already."""
    for end in ("done", "retry", "keep"):
        running = Running(folder)
        claim = claimed(folder, spooled(folder))
        running.begin(claim)
        if end == "done":
            claim.done()
        elif end == "retry":
            claim.retry(NOW, "x")
        else:
            running.end()
            claim.keep()
        release(running._fd)
        assert [] == recover(folder, lambda claim, tries: 100)
    assert [0, 1] == sorted(claimed(folder, found.name).tries for found in folder.scan())


def test_a_spooler_that_ends_leaves_nothing(folder: SpoolFolder) -> None:
    """Its record goes with it, also if somebody removed that before."""
    Running(folder).close()
    for remove in (False, True):
        running = Running(folder)
        running.end()
        assert 1 == len(listing(folder))
        if remove:
            shutil.rmtree(f"{folder.path}/.running")
        running.close()
        assert [] == listing(folder)
    assert [] == recover(folder, lambda claim, tries: 0)


def test_a_death_is_seen_before_anything_is_counted(folder: SpoolFolder) -> None:
    """Who is about to run a job asks whether somebody has died: not while all live, and not once it was dealt with."""
    records = RunningRecords(folder)
    assert not records.has_leftover()
    others = [Running(folder), Running(folder)]
    for other in others:
        other.end()
    os.utime(f"{folder.path}/.running", (1, 1))  # so that a coarse clock does not hide the next change
    assert not records.has_leftover()
    others[0].abandon()
    assert records.has_leftover()
    assert [] == recover(folder, lambda claim, tries: 0)
    assert not records.has_leftover()
    others[1].close()
    assert not records.has_leftover()
    shutil.rmtree(f"{folder.path}/.running")
    assert not records.has_leftover()
    records.close()


def test_odd_records_of_what_ran(folder: SpoolFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Names that are none lead nowhere; a job that is none is told about."""
    bad = put(folder, b"garbage")
    for name in (b"../x", b"uwsgi_spoolfile_on_\0", b"uwsgi_spoolfile_on_gone", bad.encode()):
        running = Running(folder)
        running.end()
        os.pwrite(running._fd, b"\0\0\0\0" + len(name).to_bytes(2, "little") + name, 0)
        release(running._fd)
    assert [] == recover(folder, lambda claim, tries: 0)
    assert [f"dead/{bad}", f"dead/{bad}.report"] == listing(folder)
    assert "it begins with byte 103" in caplog.text


def test_a_failure_that_cannot_be_counted_is_left_for_later(
    folder: SpoolFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk does not make it forgotten."""
    name = spooled(folder)
    running = Running(folder)
    claim = claimed(folder, name)
    running.begin(claim)
    claim.keep()
    release(running._fd)
    with failing("write"):
        assert [] == recover(folder, lambda claim, tries: 0)
    assert "the job of a process that died could not be checked, trying again later" in caplog.text
    assert [name] == recover(folder, lambda claim, tries: 0)


@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_what_runs_is_not_written_down_by_force(
    folder: SpoolFolder, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    """A disk that does not take it is told about, once; jobs run all the same, and it is written as soon as it can."""
    name = spooled(folder)
    running, claim = Running(folder), claimed(folder, name)
    with failing(call):
        running.begin(claim)
        running.begin(claim)
    assert 1 == caplog.text.count(".running cannot be written (No space left on device): if a job kills its process")
    running.begin(claim)
    running.abandon()
    claim.abandon()
    assert [name] == recover(folder, lambda claim, tries: 0)


def test_care_is_not_taken_for_ever(folder: SpoolFolder) -> None:
    """Of a job that somebody else had, and has done, nothing is heard any more: it is forgotten with the next look."""
    name = spooled(folder)
    other = claimed(SpoolFolder(folder.path, folder.now), name)
    assert "locked" == refused(folder, name).why
    assert {name} == folder._probe_first
    other.done()
    assert [] == list(folder.scan())
    assert set() == folder._probe_first


# ----- tools


def test_states(folder: SpoolFolder) -> None:
    """What becomes of a job now."""
    waiting, delayed, running = spooled(folder), spooled(folder, at=NOW + 1), spooled(folder)
    claim = claimed(folder, running)
    assert ["waiting", "delayed", "running"] == [
        state_of(folder, find(folder, name)) for name in (waiting, delayed, running)
    ]
    for act, what in ((make_due, "is running; stop its spooler"), (purge, "is running")):
        with pytest.raises(SpoolError, match=what):
            act(folder, find(folder, running))
    claim.keep()


def test_make_due(folder: SpoolFolder) -> None:
    """A job that was to wait does not."""
    name = spooled(folder, at=NOW + 1)
    found = find(folder, name)
    make_due(folder, found)
    claimed(folder, name).done()
    with pytest.raises(SpoolError, match="does not exist any more; it may have been run"):
        make_due(folder, found)


def test_purge(folder: SpoolFolder) -> None:
    """What is thrown away leaves nothing, dead or alive."""
    alive, gone = spooled(folder, at=NOW + 1), spooled(folder)
    claimed(folder, gone).move_to_dead("x")
    for name in (alive, gone):
        purge(folder, find(folder, name))
    assert [] == listing(folder)


def test_requeue_replaces_nothing(folder: SpoolFolder) -> None:
    """A job of the same name that waits is not lost."""
    name = spooled(folder)
    claimed(folder, name).move_to_dead("x")
    put(folder, b"", name)
    with pytest.raises(SpoolError, match=r"there is a job .* already"):
        requeue(folder, next(dead(folder)))
    assert [f"dead/{name}", f"dead/{name}.report", name] == listing(folder)


@pytest.mark.parametrize(
    ("act", "call", "sentence"),
    [(make_due, "utime", "changed"), (purge, "unlink", "removed"), (requeue, "rename", "put back")],
)
def test_tools_on_a_disk_that_fails(folder: SpoolFolder, act: Any, call: str, sentence: str) -> None:
    """Say so, and the job is still there."""
    name = spooled(folder)
    if act is requeue:
        claimed(folder, name).move_to_dead("x")
    found = find(folder, name)
    with failing(call), pytest.raises(SpoolError, match=f"cannot be {sentence} \\(No space"):
        act(folder, found)
    assert found == find(folder, name) or act is requeue


def test_peek_at_what_cannot_be_read(folder: SpoolFolder) -> None:
    """It says why, and does nothing to it."""
    bad = find(folder, put(folder, b"garbage"))
    assert "it begins with byte 103" in read_details(folder, bad).problem
    assert "No such file or directory" == read_details(folder, Found("uwsgi_spoolfile_on_no", 0, 0)).problem
    with failing("open", errno.EACCES):
        assert "waiting" == state_of(folder, bad)


@pytest.mark.parametrize("name", ["x", "../uwsgi_spoolfile_on_x", "dead/dead/uwsgi_spoolfile_on_x", ""])
def test_names_that_are_none(folder: SpoolFolder, name: str) -> None:
    """Lead nowhere."""
    with pytest.raises(SpoolError, match="is not the name of a job"):
        find(folder, name)


def test_a_job_that_is_not_there(folder: SpoolFolder) -> None:
    """Is told from a name that is none."""
    with pytest.raises(SpoolError, match="there is no job 'uwsgi_spoolfile_on_x'"):
        find(folder, "uwsgi_spoolfile_on_x")


# ----- locks


@pytest.mark.parametrize("open_file", [True, False])
def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_file: bool) -> None:
    """Belong to an open file, with the system's best kind of lock and with the other."""
    monkeypatch.setattr(file_lock, "_OPEN_FILE", open_file and file_lock._OPEN_FILE)
    path = tmp_path / "file"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert file_lock.try_lock(first)
    assert not file_lock.try_lock(second)
    assert file_lock.locked_elsewhere(second)
    file_lock.unlock(first)
    assert not file_lock.locked_elsewhere(second)
    assert file_lock.try_lock(second)
    os.close(first)
    os.close(second)


def test_all_modules_can_be_crashed() -> None:
    """Each uses `os` by that name, so that the doubles above take its place."""
    assert [os] * len(MODULES) == [vars(module)["os"] for module in MODULES]
