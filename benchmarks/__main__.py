"""Measures this server beside others: `python -m benchmarks COMMAND`.

serving        requests per second, and processor time of each: hello, a browser's headers, large bodies, nginx, Flask
primitives     caches, locks, calls, signals, timers and harakiri, beside a real uWSGI
growth         how cost grows with connections, headers, bytes, timers, items, jobs and workers
memory         of an idle connection, and of a worker
instructions   of a request, against committed figures: `.ci/run` runs this
peers FOLDER   makes an environment of the other servers, for --peers
page           writes the page's sections anew from what --write has kept

What measures something else has a command of its own:

python -m benchmarks.workers cores|respawn    two workers against one, and how soon a killed one is back
python -m benchmarks.compat                   an application of `import uwsgi`, beside a real uWSGI
python -m benchmarks.files                    static files, beside nginx and a real uWSGI
python -m benchmarks.spool                    jobs per second and their latency, beside a real uWSGI
python -m benchmarks.threads                  a hop to a thread and back
python -m benchmarks.reload reloads           reloads under load, with every response verified
python -m benchmarks.soak                     everything at once for minutes, with kills and reloads
python -m benchmarks.spool_kills              no job is lost while spoolers are killed
python -m benchmarks.totals                   exact totals while members are killed
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import contenders, growth, idle, instructions, memory, page, primitives, serving

if TYPE_CHECKING:
    from benchmarks.measured import Record

DEFAULT_BUILD = "this Python"


def builds(words: Sequence[str]) -> dict[str, str]:
    """The interpreters of ours by the name of their rows.

    Args:
        words: as `compiled=/path/to/python`; without any, this interpreter.
    """
    pairs = [word.partition("=") for word in words] or [(DEFAULT_BUILD, "=", sys.executable)]
    for build, separator, python in pairs:
        if not (build and separator and shutil.which(python)):
            raise SystemExit(f"--ours takes NAME=PYTHON, with an executable, and not {build}{separator}{python}")
    # Not the file that a link of a virtual environment leads to: that would be the interpreter without its packages.
    return {contenders.label(build): str(Path(python).absolute()) for build, _, python in pairs}


def chosen(given: str, all_names: Sequence[str]) -> list[str]:
    """Names of a list with commas; all of them, if it is empty."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := [name for name in names if name not in all_names]:
        raise SystemExit(f"--only does not know {', '.join(unknown)}; it knows {', '.join(all_names)}")
    return names or list(all_names)


def say(text: str) -> None:
    """Tell what is done."""
    print(text, file=sys.stderr, flush=True)


def run_serving(options: argparse.Namespace, record: Record, ours: dict[str, str]) -> None:
    """The command `serving`."""
    settings = serving.Settings(record.seconds, idle.room(options.connections), list(ours))
    run = serving.Run(settings, everybody(options, ours), options.peers, record, say)
    for number in range(record.rounds):
        say(f"round {number + 1} of {record.rounds}")
        run.round(chosen(options.only, list(serving.ROWS)))


def run_primitives(options: argparse.Namespace, record: Record, ours: dict[str, str]) -> None:
    """The command `primitives`."""
    primitives.run(record, ours, options.peers, options.count, say)


def run_growth(options: argparse.Namespace, record: Record, ours: dict[str, str]) -> None:
    """The command `growth`."""
    growth.run(record, ours, chosen(options.only, list(growth.SUBJECTS)), options.sizes, say)


def run_memory(options: argparse.Namespace, record: Record, ours: dict[str, str]) -> None:
    """The command `memory`."""
    servers = memory.Servers(everybody(options, ours), list(ours), options.peers)
    memory.run(record, servers, idle.room(options.connections), say)


COMMANDS = {"serving": run_serving, "primitives": run_primitives, "growth": run_growth, "memory": run_memory}


def everybody(options: argparse.Namespace, ours: dict[str, str]) -> list[contenders.Contender]:
    """Ours, and the others if there is an environment of them."""
    return contenders.ours(ours) + (contenders.peers(options.peers) if options.peers else [])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        one = commands.add_parser(name)
        one.add_argument(
            "--ours", action="append", default=[], metavar="NAME=PYTHON", help="a build of ours; repeatable"
        )
        one.add_argument("--peers", type=Path, metavar="FOLDER", help="what `python -m benchmarks peers` has made")
        one.add_argument("--rounds", type=int, default=5)
        one.add_argument("--write", action="store_true", help="keep the numbers, and write them into the page")
        one.add_argument("--seconds", type=float, default=3, help="of each load, whole ones")
        if name in ("serving", "growth"):
            one.add_argument("--only", default="", help="rows, with commas between them")
        if name in ("serving", "memory"):
            one.add_argument("--connections", type=int, default=5000, help="idle ones")
        if name == "primitives":
            one.add_argument("--count", type=int, default=5000, help="calls of each measurement; fewer that wait")
        if name == "growth":
            one.add_argument("--sizes", type=int, help="so many sizes of each, from the smallest on")
    one = commands.add_parser("instructions")
    one.add_argument("--python", default=sys.executable, help="the interpreter that has the package")
    one.add_argument("--write", action="store_true", help="renew the committed figures")
    commands.add_parser("peers").add_argument("folder", type=Path)
    commands.add_parser("page")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    options = parser().parse_args(argv)
    if options.command == "instructions":
        return instructions.run(options.python, write=options.write)
    if options.command == "peers":
        contenders.install(options.folder)
        return 0
    if options.command == "page":
        for record in page.recorded():
            page.write(record)
        return 0
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed; the measurements need it")
    options.peers = options.peers.absolute() if options.peers else None
    ours = builds(options.ours)
    record = page.new_record(options.command, options.rounds, options.seconds, ours, options.peers)
    try:
        COMMANDS[options.command](options, record, ours)
    finally:  # what an interrupted run has measured is not lost
        print(page.tables(record))
    if options.write:
        page.keep(record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
