"""One directory of jobs for a real uWSGI and ours: each runs what the other queued, and both run side by side.

uWSGI runs jobs that have a priority only with `--spooler-ordered`; it looks for work once a second here.
"""

from __future__ import annotations

import ast
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.peers import TIMEOUT, Node, exchange, our_command, uwsgi_command
from trio_uwsgi._protocol.packet import encode_packet, encode_vars

if TYPE_CHECKING:
    from tests.interop.conftest import Nodes

pytestmark = pytest.mark.real

Vars = dict[bytes, bytes]


@contextlib.contextmanager
def node(kind: str, uwsgi: str, home: Path, *, runs: bool) -> Iterator[Node]:
    """A server with a spooler for `home`/jobs, which runs jobs or only queues them."""
    folder = home / f"{kind}-{'runs' if runs else 'queues'}"
    folder.mkdir()
    (home / "jobs").mkdir(exist_ok=True)
    if runs:
        (folder / "run").touch()
    options = ["--spooler-frequency", "1", "--spooler", str(home / "jobs")]
    if kind == "uwsgi":
        command = uwsgi_command(uwsgi, "spool_uwsgi.py", "--spooler-ordered", *options)
    else:
        command = our_command("spool_trio.py", *options)
    node = Node(kind, command, folder)
    try:
        yield node
    finally:
        node.kill()


def jobs_in(home: Path) -> list[str]:
    """The files of the jobs that are there."""
    return sorted(path.name for path in (home / "jobs").rglob("uwsgi_spoolfile_on_*"))


def ran(home: Path) -> list[tuple[str, Vars, bytes]]:
    """What was run: by whom, its vars, its body; in order for each kind."""
    lines = [line for record in sorted(home.glob("*/ran")) for line in record.read_text().splitlines()]
    return [ast.literal_eval(line) for line in lines]


def wait_until_empty(home: Path, *nodes: Node) -> None:
    """Wait until the directory has no job left."""
    deadline = time.monotonic() + TIMEOUT
    while jobs_in(home):
        logs = "\n".join(node.log.read_text()[-3000:] for node in nodes)
        assert time.monotonic() < deadline, f"{jobs_in(home)} are left:\n{logs}"
        time.sleep(0.02)


def expected(job: Vars) -> tuple[Vars, bytes]:
    """What a function is given of a job."""
    return {name: value for name, value in job.items() if name != b"body"}, job.get(b"body", b"")


@pytest.mark.parametrize(("first", "second"), [("uwsgi", "ours"), ("ours", "uwsgi")])
def test_each_runs_what_the_other_queued(first: str, second: str, uwsgi_program: str, tmp_path: Path) -> None:
    """Vars, bodies of any bytes and size, priorities in their order, and times, which are not run too early."""
    at = int(time.time()) + 4
    jobs: list[Vars] = [
        {b"number": b"4", b"\xff\x00odd": bytes(range(256))},
        {b"number": b"5", b"body": b"B" * 200_000},
        {b"number": b"3", b"priority": b"20"},
        {b"number": b"1", b"priority": b"3", b"body": b"\x00\xff"},
        {b"number": b"2", b"priority": b"3"},
        {b"number": b"6", b"at": b"%d" % at},
    ]
    with node(first, uwsgi_program, tmp_path, runs=False) as queues:
        assert len(jobs) == queues.run("fill", jobs)
    assert len(jobs) == len(jobs_in(tmp_path))
    with node(second, uwsgi_program, tmp_path, runs=True) as runs:
        wait_until_empty(tmp_path, runs)
        assert time.time() >= at
    found = ran(tmp_path)
    assert {second} == {kind for kind, _, _ in found}
    by_number = sorted(jobs, key=lambda job: job[b"number"])
    in_order = sorted(found, key=lambda entry: entry[1][b"number"])
    assert [expected(job) for job in by_number] == [(given, body) for _, given, body in in_order]
    numbers = [given[b"number"] for _, given, _ in found]
    assert [b"1", b"2", b"3"] == [number for number in numbers if number in b"123"]
    assert b"6" == numbers[-1]


def test_both_share_a_directory(uwsgi_program: str, tmp_path: Path) -> None:
    """Each job is run once, by one of the two; a file that one has locked is left alone by the other."""
    jobs = [{b"number": b"%03d" % number} for number in range(400)]
    with (
        node("uwsgi", uwsgi_program, tmp_path, runs=True) as theirs,
        node("ours", uwsgi_program, tmp_path, runs=True) as ours,
    ):
        for begin in range(0, len(jobs), 50):
            (ours if begin % 100 else theirs).run("fill", jobs[begin : begin + 50])
        wait_until_empty(tmp_path, theirs, ours)
    found: list[Any] = sorted(given[b"number"] for _, given, _ in ran(tmp_path))
    assert [job[b"number"] for job in jobs] == found


@pytest.mark.parametrize("kind", ["uwsgi", "ours"])
def test_a_job_for_another_node(kind: str, uwsgi_program: str, tmp_path: Path) -> None:
    """Modifier 17 stores a job at either, which says so in the same four bytes; ours also asks uWSGI."""
    packet = encode_packet(17, 0, encode_vars([(b"number", b"1"), (b"odd", b"\xff\0")]))
    with node(kind, uwsgi_program, tmp_path, runs=True) as callee:
        for address in (callee.unix, callee.tcp):
            assert b"\xff\0\0\1" == exchange(address, packet)
        (tmp_path / "other").mkdir()
        with node("ours", uwsgi_program, tmp_path / "other", runs=False) as caller:
            assert None is caller.run("remote_spool", callee.unix, {b"number": b"2"})
        wait_until_empty(tmp_path, callee)
    given = [vars for _, vars, _ in ran(tmp_path)]
    expected = {b"number": b"1", b"odd": b"\xff\0"}
    assert [expected, expected, {b"number": b"2"}] == sorted(given, key=lambda vars: vars[b"number"])


def test_a_node_that_takes_no_job(uwsgi_program: str, tmp_path: Path, nodes: Nodes) -> None:
    """Without a spooler both refuse; ours gives the reason to a client of ours."""
    with node("ours", uwsgi_program, tmp_path, runs=False) as caller:
        for name in ("uwsgi1", "ours2"):
            answer = caller.run("remote_spool", nodes.get(name).unix, {b"number": b"2"})
            assert "SpoolRefused" == answer.name
        assert "there is no spooler; set Config(spooler='DIR')" in answer.text
