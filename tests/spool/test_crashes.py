"""A crash at any step of what the spooler does to its files loses no accepted job, and shows no half one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.spool.crashes import Disk, Killed, KilledOs, build
from trio_uwsgi._spool.claim import Claim, release
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._spool.running_jobs import Running, recover
from trio_uwsgi._spool.tools import dead, find, record_of, requeue

PAIRS = [(b"ud_spool_func", b"send"), (b"number", b"17")]
BODY = b"body" * 25


@dataclass
class Scenario:
    """Something that is done to a directory; what was there before, and whether a job is in it at any time then."""

    before: Callable[[SpoolFolder], object]
    act: Callable[[SpoolFolder], object]
    always: bool = True


def folder_at(path: Path) -> SpoolFolder:
    """The directory, in the far future: whatever is in it is due."""
    return SpoolFolder(str(path), lambda: 5e9)


def claimed(folder: SpoolFolder) -> Claim:
    """The one job."""
    (found,) = folder.scan()
    claim = folder.claim(found.name)
    assert isinstance(claim, Claim)
    return claim


def write(folder: SpoolFolder, priority: int | None = None) -> None:
    """Spool the job."""
    folder.write(PAIRS, BODY, priority=priority)


def write_5(folder: SpoolFolder) -> None:
    """Spool it with a priority."""
    write(folder, 5)


def fail(folder: SpoolFolder) -> None:
    """Spool it, and have it failed once."""
    write_5(folder)
    claimed(folder).retry(0, "it failed")


def move_to_dead(folder: SpoolFolder) -> None:
    """Spool it, and have it dead."""
    fail(folder)
    claimed(folder).move_to_dead("it failed again")


def die(folder: SpoolFolder) -> None:
    """Spool it, and have it killed with its process."""
    write(folder)
    running = Running(folder)
    claim = claimed(folder)
    running.begin(claim)
    claim.keep()
    release(running._fd)  # the process's end


SCENARIOS = {
    "write": Scenario(lambda folder: None, write, always=False),
    "write with priority": Scenario(lambda folder: None, write_5, always=False),
    "done": Scenario(write, lambda folder: claimed(folder).done(), always=False),
    "done after a failure": Scenario(fail, lambda folder: claimed(folder).done(), always=False),
    "keep": Scenario(write_5, lambda folder: claimed(folder).keep(7)),
    "retry": Scenario(write, lambda folder: claimed(folder).retry(0, "no")),
    "retry again": Scenario(fail, lambda folder: claimed(folder).retry(0, "no")),
    "bury": Scenario(write, lambda folder: claimed(folder).move_to_dead("no")),
    "bury with priority": Scenario(fail, lambda folder: claimed(folder).move_to_dead("no")),
    "requeue": Scenario(move_to_dead, lambda folder: [requeue(folder, found) for found in list(dead(folder))]),
    "recover": Scenario(die, lambda folder: recover(folder, lambda claim, tries: -1.0)),
    "recover and bury": Scenario(die, lambda folder: recover(folder, lambda claim, tries: None)),
}


def jobs(folder: SpoolFolder) -> int:
    """How many there are, alive and dead. What can be claimed is whole; so is what is dead."""
    for found in list(folder.scan()):
        claim = folder.claim(found.name)
        assert isinstance(claim, Claim), claim
        assert (PAIRS, BODY) == (claim.pairs, claim.read_body())
        claim.keep()
    dead_folders = list(dead(folder))
    for grave in dead_folders:
        assert Path(folder.path, grave.name).read_bytes().endswith(BODY)
    return len(list(folder.scan())) + len(dead_folders)


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_9(name: str, tmp_path: Path) -> None:
    """At any step: the job is there, whole and once; and what was begun can be cleared away and done again."""
    scenario = SCENARIOS[name]
    for steps in itertools.count():
        folder = folder_at(tmp_path / str(steps))
        folder.prepare()
        scenario.before(folder)
        ended = True
        with pytest.MonkeyPatch.context() as monkeypatch:
            KilledOs(steps).install(monkeypatch)
            try:
                scenario.act(folder_at(tmp_path / str(steps)))
            except Killed:
                ended = False
        count = jobs(folder)
        assert count in ((1,) if scenario.always else (0, 1))
        folder.prepare()
        assert count == jobs(folder)
        if ended:
            break
    assert steps > 0
    assert (0 if name.startswith("done") else 1) == count


@pytest.mark.parametrize("name", SCENARIOS)
def test_power_cut(name: str, tmp_path: Path) -> None:
    """At any step, whatever the disk took of what was not fsynced: the job is there and whole."""
    scenario = SCENARIOS[name]
    folder = folder_at(tmp_path / "before")
    folder.prepare()
    scenario.before(folder)
    disk = Disk(tmp_path / "before")
    with pytest.MonkeyPatch.context() as monkeypatch:
        recorder = KilledOs()
        recorder.install(monkeypatch)
        scenario.act(folder_at(tmp_path / "before"))
    seen: list[dict[str, bytes | None]] = []
    for number, step in enumerate([None, *recorder.done]):
        if step is not None:
            disk.happen(step)
        accepted = scenario.always or (name.startswith("write") and number == len(recorder.done))
        for there in disk.after_a_power_cut():
            if there in seen and not accepted:
                continue
            seen.append(there)
            path = tmp_path / str(len(seen))
            build(path, there)
            after = folder_at(path)
            after.prepare()
            assert jobs(after) in ((1,) if accepted else (0, 1)), (number, step, there)


def test_a_failure_is_counted_once_wherever_its_counting_is_killed(tmp_path: Path) -> None:
    """Whoever counts again afterwards comes to one try, and has nothing left to count."""
    for steps in itertools.count():
        folder = folder_at(tmp_path / str(steps))
        folder.prepare()
        die(folder)
        ended = True
        with pytest.MonkeyPatch.context() as monkeypatch:
            KilledOs(steps).install(monkeypatch)
            try:
                recover(folder, lambda claim, tries: -1.0)
            except Killed:
                ended = False
        recover(folder, lambda claim, tries: -1.0)
        (found,) = folder.scan()
        assert (1, "its process died while it ran") == record_of(folder, find(folder, found.name))
        assert [] == list((tmp_path / str(steps) / ".running").iterdir())
        assert [] == recover(folder, lambda claim, tries: -1.0)
        if ended:
            break
    assert steps > 3
