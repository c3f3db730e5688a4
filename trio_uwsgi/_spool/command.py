"""The command `trio-uwsgi spool`: inspect and repair a spool directory, also while servers use it.

Exit codes: 0 when all was done; 1 when a job was not found or could not be changed; 2 for invalid options and for a
path that is not a directory.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._spool.rules import first_names
from trio_uwsgi._spool.tools import (
    JobDetails,
    dead,
    find,
    is_dead,
    make_due,
    names,
    purge,
    read_details,
    requeue,
    state_of,
)
from trio_uwsgi.errors import SpoolError

if TYPE_CHECKING:
    from trio_uwsgi._spool.paths import Found

__all__ = ["main"]

NOT_DONE = 1
BAD_OPTIONS = 2

DEAD = "dead/"
_PREVIEW = 400  # bytes of a body that `show` prints
_COLUMNS = ("STATE", "PRIO", "DUE", "TRIES", "SIZE", "FUNCTION", "NAME")


class _UsageError(Exception):
    """The command line is invalid; the text says why."""


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error as one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def main(argv: Sequence[str]) -> int:
    """Run `trio-uwsgi spool` with these arguments and return the exit code (see the module's docstring).

    Raises:
        SystemExit: after `--help`.
    """
    try:
        arguments = _parser().parse_args(argv)
        if not os.path.isdir(arguments.dir):
            raise _UsageError(f"{arguments.dir} is not a directory; name a spool directory")
        failed: int = arguments.run(SpoolFolder(arguments.dir), arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # a reader like `head` closed the pipe; the flush at the interpreter's exit must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _UsageError as error:
        return _complain(error, BAD_OPTIONS)
    except (SpoolError, OSError) as error:
        return _complain(error, NOT_DONE)
    return NOT_DONE if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="trio-uwsgi spool",
        description="Inspect and repair a spool directory (safe while in use).",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="ls|show|retry|purge", required=True)
    ls = _command(commands, "ls", _ls, "list jobs in the order in which they will run, then dead jobs")
    ls.add_argument("--limit", type=_positive, default=50, metavar="N", help="page size [50]")
    ls.add_argument("--page", type=_positive, default=1, metavar="K", help="page number [1]")
    states = ("waiting", "delayed", "running", "dead")
    ls.add_argument("--state", choices=states, help="only jobs in this state (reads every file)")
    ls.add_argument("--json", action="store_true", help="machine-readable output")
    show = _command(commands, "show", _show, "print a job's content and its errors")
    show.add_argument("name", metavar="NAME", help="as in `ls`")
    retry = _command(commands, "retry", _retry, "retry dead jobs with all their attempts, and delayed jobs now")
    retry.add_argument("names", metavar="NAME", nargs="*", help="as in `ls`")
    retry.add_argument("--all-dead", action="store_true", help="all dead jobs")
    purge_parser = _command(commands, "purge", _purge, "delete jobs, except running ones")
    purge_parser.add_argument("names", metavar="NAME", nargs="*", help="as in `ls`")
    purge_parser.add_argument("--dead", action="store_true", help="all dead jobs")
    purge_parser.add_argument(
        "--older-than", type=float, metavar="SECONDS", help="only dead jobs that died at least SECONDS ago"
    )
    purge_parser.add_argument("--yes", action="store_true", help="confirm --dead")
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    # Any: argparse has no public type for the first, and the second is called with what argparse made.
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument("dir", metavar="DIR", help="spool directory")
    parser.set_defaults(run=run)
    return parser


def _positive(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")


# ----- ls


def _ls(folder: SpoolFolder, arguments: argparse.Namespace) -> int:
    last = arguments.limit * arguments.page
    state = arguments.state
    # Memory and time are bounded by the page, not by the number of jobs: only the names on the page are kept, and
    # without --state only their files are read.
    first, alive = first_names(names(folder) if state is None else _names_in(folder, state), last)
    dead_names = (found.name.removeprefix(DEAD) for found in dead(folder)) if state in (None, "dead") else ()
    dead_shown, dead_count = first_names(dead_names, last - len(first))
    first += [DEAD + name for name in dead_shown]
    rows = []
    for name in first[last - arguments.limit :]:
        with suppress(SpoolError):  # it has run meanwhile
            rows.append(read_details(folder, find(folder, name)))
    if arguments.json:
        jobs = [_facts(row) for row in rows]
        print(json.dumps({"jobs": jobs, "alive": alive, "dead": dead_count}, indent=1))
    else:
        _print_table(rows, folder.now())
        print(_total(state, alive, dead_count, len(rows)))
    return 0


def _names_in(folder: SpoolFolder, state: str) -> Iterator[str]:
    now = folder.now()
    for found in folder.scan() if state != "dead" else ():
        # The check of the lock comes last, because it is the most expensive.
        if (state == "running" or (found.due > now) == (state == "delayed")) and state_of(folder, found) == state:
            yield found.name


def _facts(row: JobDetails) -> dict[str, object]:
    return {
        "state": row.state,
        "priority": row.found.priority,
        "due": row.found.due,
        "tries": row.record.tries,
        "size": row.found.size,
        "function": _function(row),
        "name": row.found.name,
    }


def _function(row: JobDetails) -> str:
    return dict(row.pairs).get(b"ud_spool_func", b"").decode("utf-8", "backslashreplace")


def _print_table(rows: list[JobDetails], now: float) -> None:
    lines = [_COLUMNS]
    for row in rows:
        priority = row.found.priority
        lines.append(
            (
                row.state,
                "-" if priority is None else str(priority),
                _when(row.found.due - now),
                str(row.record.tries),
                str(row.found.size),
                "(bad file)" if row.problem else shown(_function(row)) or "-",
                shown(row.found.name),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _total(state: str | None, alive: int, dead: int, rows: int) -> str:
    of = f"{rows} shown of {{}}"
    if state is None:
        return of.format(f"{alive:,} {'job' if alive == 1 else 'jobs'} and {dead:,} dead")
    return of.format(f"{alive + dead:,} {state}")


def _when(seconds: float) -> str:
    """A distance in time, in its two largest units."""
    left = round(abs(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or parts or unit == "s":
            parts.append(f"{number}{unit}")
    text = "".join(parts[:2])
    return f"in {text}" if seconds > 0 else f"{text} ago"


def shown(text: str) -> str:
    """A name that can be printed and pasted into a shell: unprintable bytes are written as in bash's $'...'."""
    if text.isprintable():
        return text
    return "$'" + "".join(c if c.isprintable() and c not in "'\\" else _escaped(c) for c in text) + "'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


# ----- show, retry, purge


def _show(folder: SpoolFolder, arguments: argparse.Namespace) -> int:
    row = read_details(folder, find(folder, arguments.name), _PREVIEW)
    found = row.found
    due = datetime.datetime.fromtimestamp(found.due).astimezone().isoformat(" ", "microseconds")
    print(f"name      {shown(found.name)}")
    print(f"state     {row.state}")
    print(f"priority  {'-' if found.priority is None else found.priority}")
    print(f"{'died' if is_dead(found) else 'due'}".ljust(10) + f"{due}, {_when(found.due - folder.now())}")
    print(f"tries     {row.record.tries}")
    print(f"size      {found.size}")
    if row.problem:
        print(f"problem   {row.problem}")
    for name, value in row.pairs:
        print(f"var       {_text(name)} = {_text(value)}")
    if row.body_size:
        more = " ..." if row.body_size > len(row.body) else ""
        print(f"body      {row.body_size} bytes: {_text(row.body)}{more}")
    if row.record.report:
        print(f"\n{row.record.report.rstrip()}")
    return 0


def _text(data: bytes) -> str:
    """Bytes as text, without control characters that a terminal would act on."""
    text = data.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _retry(folder: SpoolFolder, arguments: argparse.Namespace) -> int:
    if bool(arguments.names) == arguments.all_dead:
        raise _UsageError("either name the jobs to retry, or write --all-dead")

    def retry(found: Found) -> None:
        if is_dead(found):
            print(f"requeued  {shown(requeue(folder, found))}")
        else:
            make_due(folder, found)
            print(f"now due   {shown(found.name)}")

    return _each(folder, dead(folder) if arguments.all_dead else arguments.names, retry)


def _purge(folder: SpoolFolder, arguments: argparse.Namespace) -> int:
    if bool(arguments.names) == arguments.dead:
        raise _UsageError("either name the jobs to purge, or write --dead")
    if arguments.older_than is not None and not arguments.dead:
        raise _UsageError("--older-than is only for dead jobs; write --dead too")

    def delete(found: Found) -> None:
        purge(folder, found)
        print(f"purged    {shown(found.name)}")

    if not arguments.dead:
        return _each(folder, arguments.names, delete)
    end = folder.now() - (arguments.older_than or 0)
    old = [found for found in dead(folder) if found.due <= end]
    if old and not arguments.yes:
        raise _UsageError(f"{len(old):,} dead jobs would be deleted permanently; write --yes to confirm")
    return _each(folder, old, delete)


def _each(folder: SpoolFolder, items: Iterable[str | Found], act: Any) -> int:  # Any: `retry` or `delete`
    """Apply `act` to each job, also after a failure. Returns the number of failures."""
    failed = 0
    for item in items:
        try:
            act(find(folder, item) if isinstance(item, str) else item)
        except (SpoolError, OSError) as error:
            failed += 1
            _complain(error, NOT_DONE)
    return failed


def _complain(error: BaseException, code: int) -> int:
    sys.stderr.write(f"trio-uwsgi spool: {shown(' '.join(str(error).split()))}\n")
    return code
