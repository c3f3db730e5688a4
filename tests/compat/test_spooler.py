"""The spooler of the module `uwsgi`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.errors import RegistrationError
from trio_uwsgi.testing import Notes, open_runtime


@all_modes
async def test_a_job_as_uwsgi_passes_it(
    mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """The assigned function gets a dict: keys of bytes for the job's own vars, of str for its name and its body."""
    config = config_in(mode, spooler=[str(tmp_path)])
    uwsgi = enter(config)
    jobs: Notes[dict[Any, Any]] = Notes()

    def run(job: dict[Any, Any]) -> int:
        jobs.append({**job, "spooler": uwsgi.i_am_the_spooler(), "worker": uwsgi.worker_id()})
        return int(uwsgi.SPOOL_OK)

    uwsgi.spooler = run
    given = {b"a": b"1", b"body": b"B" * 100_000, b"priority": b"3"}
    app = asking(
        spool=lambda: uwsgi.spool(given),
        keywords=lambda: uwsgi.send_to_spooler(a=b"2"),
        jobs=lambda: uwsgi.spooler_jobs(),
    )
    async with open_runtime(app, config) as runtime:
        path = await get(runtime, "spool")
        await trio.sleep(1)
        assert (await get(runtime, "keywords")).startswith(f"b'{tmp_path}/")
        await trio.sleep(1)
        assert "[]" == await get(runtime, "jobs")
    first, second = jobs
    assert Path(path[2:-1]).name.encode() == first.pop("spooler_task_name")
    assert {b"a": b"1", b"priority": b"3", "body": b"B" * 100_000, "spooler": True, "worker": 0} == first
    assert (b"2", False) == (second[b"a"], "body" in second)
    assert {b"a", b"body", b"priority"} == set(given)


async def test_what_the_function_returns_decides(
    enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """Only SPOOL_OK ends a job; None, True and other numbers have it retried, as in uWSGI."""
    config = Config(spooler=[str(tmp_path)], spooler_retry=1, spooler_max_tries=20)
    uwsgi = enter(config)
    answers = [None, True, False, 5, "text", -1, -2]
    tries: list[int] = []

    def run(job: object) -> Any:
        tries.append(1)
        return answers[len(tries) - 1]

    uwsgi.spooler = run
    app = asking(spool=lambda: uwsgi.spool({b"a": b"b"}), jobs=lambda: len(uwsgi.spooler_jobs()))
    async with open_runtime(app, config) as runtime:
        await get(runtime, "spool")
        await trio.sleep(3600)
        assert "0" == await get(runtime, "jobs")
    assert len(answers) == len(tries)


async def test_what_cannot_be_queued(enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """A job is bytes; a value that a file cannot hold is refused and not cut."""
    config = Config(spooler=[str(tmp_path)])
    uwsgi = enter(config)
    app = asking(
        key=lambda: uwsgi.spool({"a": b"b"}),
        text=lambda: uwsgi.spool({b"a": "b"}),
        number=lambda: uwsgi.spool({b"a": 5}),
        list=lambda: uwsgi.spool([b"a"]),
        large=lambda: uwsgi.spool({b"a": b"b" * 70_000}),
        where=lambda: uwsgi.spool({b"spooler": b"/elsewhere"}),
    )
    async with open_runtime(app, config) as runtime:
        for name in ("key", "text", "number", "list"):
            assert (await get(runtime, name)).startswith("SpoolError: ")
        assert (await get(runtime, "large")).startswith("JobTooLarge: ")
        assert (await get(runtime, "where")).startswith("NoSpooler: ")


async def test_looking_at_jobs(enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """A job that waits can be listed and read; what is no job is None."""
    config = Config(spooler=[str(tmp_path)])
    uwsgi = enter(config)
    app = asking(
        spool=lambda: uwsgi.spool({b"a": b"b", b"at": b"99999999999", b"body": b"B"}),
        jobs=lambda: uwsgi.spooler_jobs(),
        task=lambda: [uwsgi.spooler_get_task(path.decode()) for path in uwsgi.spooler_jobs()],
        no_task=lambda: [uwsgi.spooler_get_task("/etc/passwd"), uwsgi.spooler_get_task(f"{tmp_path}/none")],
        pids=lambda: uwsgi.spooler_pids() == [uwsgi.spooler_pid()] != [0],
        frequency=lambda: uwsgi.set_spooler_frequency(5),
        float=lambda: uwsgi.set_spooler_frequency(0.5),
    )
    async with open_runtime(app, config) as runtime:
        path = await get(runtime, "spool")
        assert f"[{path}]" == await get(runtime, "jobs")
        expected = {"spooler_task_name": eval(path), b"a": b"b", b"at": b"99999999999", "body": b"B"}
        assert repr([expected]) == await get(runtime, "task")
        assert "[None, None]" == await get(runtime, "no_task")
        assert "True" == await get(runtime, "pids")
        assert "True" == await get(runtime, "frequency")
        assert (await get(runtime, "float")).startswith("TypeError: ")


def test_one_function_for_other_jobs(enter: Enter, tmp_path: Path) -> None:
    """The assignment and the decorator of trio_uwsgi exclude each other; a second assignment replaces the first."""
    from trio_uwsgi import uwsgi as native

    uwsgi = enter(Config(spooler=[str(tmp_path)]))
    uwsgi.spooler = print
    uwsgi.spooler = repr
    assert 1 == len(native.registry.spool)
    native.registry.spool.catch_all = None
    native.registry.spooler(lambda job: None)
    with pytest.raises(RegistrationError, match="keep one of them"):
        uwsgi.spooler = print
