"""The server's own log: lines without records, in their order, and a log that does not take them."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from trio_uwsgi._units import log_handler
from trio_uwsgi._units.log_handler import KEPT, MOST, PIECE, LineFormatter, LogHandler, direct_handler, set_up_logging

FORM = "%(asctime)s %(levelname)-7s %(message)s"
LINE = "x" * 99  # and its end
ACCESS = logging.getLogger("trio_uwsgi.access")


@pytest.fixture
def handler() -> Iterator[LogHandler]:
    """The handler of the root logger, beside those of pytest."""
    level = logging.root.level
    with handlers_replaced():
        set_up_logging("INFO", "%(levelname)s %(message)s", sys.stderr)
        (made,) = logging.root.handlers
    assert isinstance(made, LogHandler)
    logging.root.addHandler(made)
    try:
        yield made
    finally:
        logging.root.removeHandler(made)
        logging.root.setLevel(level)


@contextlib.contextmanager
def handlers_replaced(*handlers: logging.Handler) -> Iterator[None]:
    """The root logger has these only, without those of pytest."""
    before = logging.root.handlers[:]
    logging.root.handlers[:] = handlers
    try:
        yield
    finally:
        logging.root.handlers[:] = before


def pipe(handler: LogHandler) -> tuple[int, TextIO]:
    """Let the handler write to a pipe; its reading end, and its writing end."""
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    handler.setStream(stream)
    return reader, stream


def read_now(reader: int) -> str:
    """What there is to read from a pipe."""
    os.set_blocking(reader, False)
    data = b""
    try:
        while piece := os.read(reader, 1 << 20):
            data += piece
    except BlockingIOError:
        pass
    return data.decode()


def test_order(handler: LogHandler, tmp_path: Path) -> None:
    """Lines are written together, and before a record that comes after them; a line may have any character."""
    with (tmp_path / "log").open("a") as stream:
        handler.setStream(stream)
        handler.lines += ["one", "two é"]
        assert "" == (tmp_path / "log").read_text()
        logging.getLogger("shop").warning("three")
        handler.lines += ["four"]
        assert handler.write_lines()
        assert handler.write_lines()
        handler.lines += ["five"]
        handler.flush()  # as at the end of the process
    assert "one\ntwo é\nWARNING three\nfour\nfive\n" == (tmp_path / "log").read_text()


@pytest.mark.parametrize("nowait", [True, False])
def test_a_pipe_that_nobody_reads(nowait: bool, handler: LogHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits, KEPT bytes are kept, the newest lines are dropped; later the others are there, and a warning says
    how many are missing. The kernel may know writes that do not wait, or not.
    """
    if not nowait:
        monkeypatch.setattr(log_handler, "_NOWAIT", 0)
    reader, stream = pipe(handler)
    written = 0
    while handler.write_lines() or written < 20_000:
        handler.lines += [f"{number:05} {LINE[6:]}" for number in range(written, written + 100)]
        written += 100
    found = ""
    while not handler.write_lines():
        found += read_now(reader)
    found += read_now(reader)
    *lines, warning = found.splitlines()
    assert [f"{number:05} {LINE[6:]}" for number in range(len(lines))] == lines
    assert (
        f"WARNING lines of the access log that were dropped here: {written - len(lines)}; nobody has read the log"
        == (warning)
    )
    assert KEPT < len(found) < KEPT + 200_000
    stream.close()
    os.close(reader)


def test_records_wait_for_their_reader(handler: LogHandler) -> None:
    """And so do the lines before them, in their order; nothing is dropped."""
    reader, stream = pipe(handler)
    while handler.write_lines():
        handler.lines += [LINE] * 100
    logged = threading.Thread(target=logging.getLogger("shop").warning, args=("at the end",), daemon=True)
    logged.start()
    with os.fdopen(reader) as text:
        lines: list[str] = []
        while not lines or lines[-1] != "WARNING at the end\n":
            lines.append(text.readline())
        logged.join(30)
        stream.close()
        assert "" == text.read()
    assert {f"{LINE}\n"} == set(lines[:-1])
    assert 0 == (len(lines) - 1) % 100


@pytest.mark.parametrize("ending", ["closed pipe", "/dev/full"])
def test_a_log_that_fails(ending: str, handler: LogHandler) -> None:
    """Nothing is raised, nothing waits, and the memory is bounded."""
    if ending == "closed pipe":
        reader, stream = pipe(handler)
        os.close(reader)
    else:
        stream = open(ending, "w")  # noqa: SIM115  # closed below
        handler.setStream(stream)
    for _ in range(40):
        handler.lines += [LINE] * 100
        assert handler.write_lines()
    assert sum(map(len, handler._unwritten)) == handler._size <= KEPT
    assert 4000 == handler._dropped + handler._size // 100
    handler.flush()
    handler.setStream(sys.stderr)
    stream.close()


def test_a_full_disk(handler: LogHandler, tmp_path: Path) -> None:
    """The rest of a line that was cut follows it once there is room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "log").open("a") as stream:
        handler.setStream(stream)
        handler.lines += [f"{number:05} {LINE[6:]}" for number in range(30)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1050, limits[1]))
        try:
            assert handler.write_lines()
            assert 1050 == (tmp_path / "log").stat().st_size
            handler.lines += [f"{number:05} {LINE[6:]}" for number in range(30, 5000)]
            assert handler.write_lines()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert handler.write_lines()
    *lines, warning = (tmp_path / "log").read_text().splitlines()
    assert [f"{number:05} {LINE[6:]}" for number in range(len(lines))] == lines
    assert f"dropped here: {5000 - len(lines)}; the log could not be written: File too large" in warning


WRITER = """
import sys
from trio_uwsgi._units.log_handler import LogHandler
handler = LogHandler(sys.stderr)
for turn in range(200):
    handler.lines += [sys.argv[1] * 80] * (turn % 90)
    handler.write_lines()
    while handler._unwritten:
        handler.flush()
"""


@pytest.mark.real
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_processes_write_whole_lines(kind: str, tmp_path: Path) -> None:
    """Those of several processes do not mix."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        # `cat` reads more slowly than three processes write.
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) if kind == "pipe" else None
        target = file if cat is None else cat.stdin
        assert target is not None
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, letter], stderr=target) for letter in "abc"]
        assert [0, 0, 0] == [process.wait(60) for process in writers]
        if cat is not None:
            cat.communicate(timeout=60)
    lines = log.read_text().splitlines()
    assert {letter * 80 for letter in "abc"} == set(lines)
    assert 3 * sum(turn % 90 for turn in range(200)) == len(lines)


def test_threads(handler: LogHandler, tmp_path: Path) -> None:
    """While a thread holds the log, lines wait for it, a bounded number; it writes them at its end."""
    inside, go_on = threading.Event(), threading.Event()

    with (tmp_path / "log").open("a") as stream:
        handler.setStream(stream)

        def hold(record: logging.LogRecord) -> bool:
            assert handler.lock is not None
            with handler.lock:
                inside.set()
                go_on.wait(30)
            return True

        logging.getLogger("shop").addFilter(hold)
        thread = threading.Thread(target=logging.getLogger("shop").warning, args=("of a thread",))
        try:
            thread.start()
            inside.wait(30)
            handler.lines += [LINE] * (MOST + 5)
            assert handler.write_lines()
            assert MOST == len(handler.lines)
        finally:
            go_on.set()
            thread.join(30)
            logging.getLogger("shop").removeFilter(hold)
        assert handler.write_lines()
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted([LINE] * MOST + ["WARNING of a thread", lines[-1]])
    assert "dropped here: 5" in lines[-1]


def test_a_forked_child_has_no_lines(handler: LogHandler, tmp_path: Path) -> None:
    """They are written once, by their process."""
    with (tmp_path / "log").open("a") as stream:
        handler.setStream(stream)
        handler.lines.append("once")
        if (child := os.fork()) == 0:
            handler.flush()
            os._exit(0)
        os.waitpid(child, 0)
        handler.flush()
    assert "once\n" == (tmp_path / "log").read_text()


def test_standard_error_that_is_no_file(handler: LogHandler) -> None:
    """It was replaced by a text, or by nothing, or was closed."""
    stream = io.StringIO()
    handler.setStream(stream)
    handler.lines.append("one")
    assert handler.write_lines()
    assert "one\n" == stream.getvalue()
    stream.close()
    handler.lines.append("two")
    assert handler.write_lines()
    handler.setStream(sys.stderr)


def test_lines_longer_than_a_pipe_takes_whole(handler: LogHandler) -> None:
    """They are written all the same."""
    reader, stream = pipe(handler)
    lines = ["a" * (PIECE + 10), "b", "c" * (PIECE * 2), "d"]
    handler.lines += lines
    assert handler.write_lines()
    assert lines == read_now(reader).splitlines()
    stream.close()
    os.close(reader)


@pytest.mark.parametrize(
    ("form", "datefmt"), [(FORM, None), ("%(name)s %(process)d", None), ("%(asctime)s|%(message)s|%(msecs)d", "%H:%M")]
)
def test_formats(form: str, datefmt: str | None) -> None:
    """What stands around a message is what `logging` makes."""
    ours, theirs = LineFormatter(form, datefmt), logging.Formatter(form, datefmt)
    sample = ACCESS.makeRecord(ACCESS.name, logging.INFO, "", 0, "", (), None)
    for _ in range(2):
        before, after = ours.around(sample)
        record = ACCESS.makeRecord(ACCESS.name, logging.INFO, "", 0, "%s", ("text",), None)
        record.created, record.msecs = sample.created, sample.msecs
        text = "text" if "message" in form else ""
        assert theirs.format(record) == ours.format(record) == f"{before}{text}{after}"
    record.whole_line = True
    assert "text" == ours.format(record)


def test_methods_that_were_replaced_before() -> None:
    """A library that did so before the server was imported is noticed, too."""
    methods = log_handler._methods()
    assert log_handler._are_originals(methods)
    assert not log_handler._are_originals((*methods[:-1], dict))
    assert not log_handler._are_originals((test_formats, *methods[1:]))
    assert not log_handler._are_originals((print, *methods[1:]))


class Other(logging.Filter):
    """A filter of the user."""


def _set(name: str, value: object) -> Callable[[pytest.MonkeyPatch, LogHandler], None]:
    return lambda patch, handler: patch.setattr(name, value)


CHANGES: dict[str, Callable[[pytest.MonkeyPatch, LogHandler], None]] = {
    "a handler of the access log": lambda patch, handler: patch.setattr(ACCESS, "handlers", [logging.NullHandler()]),
    "a handler of the server": lambda patch, handler: patch.setattr(
        logging.getLogger("trio_uwsgi"), "handlers", [logging.NullHandler()]
    ),
    "another handler": lambda patch, handler: logging.root.addHandler(logging.NullHandler()),
    "no handler": lambda patch, handler: logging.root.removeHandler(handler),
    "its own kind of handler": lambda patch, handler: logging.root.handlers.__setitem__(0, logging.NullHandler()),
    "a filter": lambda patch, handler: patch.setattr(ACCESS, "filters", [Other()]),
    "a filter of the handler": lambda patch, handler: handler.addFilter(Other()),
    "a formatter": lambda patch, handler: handler.setFormatter(logging.Formatter("%(message)s")),
    "a level": lambda patch, handler: ACCESS.setLevel(logging.WARNING),
    "a level of the handler": lambda patch, handler: handler.setLevel(logging.WARNING),
    "no propagation": lambda patch, handler: patch.setattr(ACCESS, "propagate", False),
    "a library that replaces methods": _set("logging.Logger.callHandlers", lambda self, record: None),
    "a factory of records": _set("logging._logRecordFactory", dict),
}


@pytest.mark.parametrize("change", CHANGES)
def test_lines_go_straight_unless_the_user_changes_something(
    change: str, handler: LogHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change is noticed, whenever it is made."""
    level = ACCESS.level
    with handlers_replaced(handler), monkeypatch.context() as patch:
        try:
            assert direct_handler(ACCESS, logging.INFO) is handler
            CHANGES[change](patch, handler)
            assert direct_handler(ACCESS, logging.INFO) is None
        finally:
            ACCESS.setLevel(level)


class Interrupted(io.FileIO):
    """A file in the middle of whose first write a signal handler logs."""

    interrupted = False

    def write(self, data: Any) -> int:  # Any: what has a buffer
        if not self.interrupted:
            self.interrupted = True
            logging.getLogger("trio_uwsgi").warning("from the signal handler")
        return super().write(data)


def test_a_signal_handler_logs_in_the_middle_of_a_record(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both lines are there, and `logging` has nothing to complain of."""
    stream = io.TextIOWrapper(io.BufferedWriter(Interrupted(tmp_path / "log", "w")))
    handler.setStream(stream)
    with handlers_replaced(handler):
        logging.getLogger("trio_uwsgi").warning("the record")
    stream.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert ["WARNING from the signal handler", "WARNING the record"] == sorted(lines)
    assert "" == capsys.readouterr().err
