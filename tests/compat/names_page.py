"""Writes the tables of docs/reference/uwsgi_module.md: every name of uWSGI's module, from the docstrings and from the
table of what is not here.

    python -m tests.compat.names_page
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from trio_uwsgi.compat import (
    caches,
    cores,
    counters,
    files,
    locks,
    mules,
    process,
    queue,
    requests,
    rpc,
    shared_areas,
    signals,
    spooler,
    websockets,
    workers,
)
from trio_uwsgi.compat.absent import NEVER, WITHOUT

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "uwsgi_module.md"

SUBJECTS: dict[str, ModuleType] = {
    "Signals, timers and crons": signals,
    "RPC": rpc,
    "Caches": caches,
    "Metrics": counters,
    "The shared queue": queue,
    "Locks": locks,
    "Mules and farms": mules,
    "The spooler": spooler,
    "Processes, the log and time": process,
    "Shared areas": shared_areas,
    "Workers and listening sockets": workers,
    "Files": files,
    "Async cores and connections": cores,
    "The current request": requests,
    "WebSockets": websockets,
}

VALUES = {
    "SPOOL_OK": ("-2: the job is done", ""),
    "SPOOL_RETRY": (
        "-1: the job is run again",
        "With a growing pause, and not for ever: see `Config.spooler_max_tries`.",
    ),
    "SPOOL_IGNORE": ("0: the job is left to another program", ""),
    "applications": (
        "applications by prefix, to assign while the application is imported",
        "Prefixes are whole segments.",
    ),
    "buffer_size": ("the largest head of a request, `Config.max_header_size`", ""),
    "cores": ("how many requests a worker runs at once in threads", ""),
    "decorators": ("the module `uwsgidecorators`", ""),
    "has_threads": ("1", ""),
    "hostname": ("the name of the machine, as bytes", ""),
    "is_a_reload": ("whether a reload imports the application", ""),
    "loop": ("None", ""),
    "magic_table": ("an empty dict", "There it has the values of `%` in a configuration."),
    "numproc": ("the number of workers", ""),
    "opt": (
        "the options, by uWSGI's names: bytes, or True for a switch",
        "Of options that were given several times, the last. The settings of a configuration of uWSGI are there as "
        "they are written, and so are names of your own; beside them are those of ours.",
    ),
    "pidfile": ("the path of the pidfile, as bytes; only with one", ""),
    "sockets": (
        "the descriptors of the listening sockets that this process has",
        "Workers have them, and every member where members are tasks; there is none while the application is imported.",
    ),
    "queue_size": ("the number of slots of the queue; only with one", ""),
    "spoolers": ("the directories of spoolers, as bytes; only with one", ""),
    "started_on": ("the time of the start, in seconds since the epoch", ""),
    "unbit": ("None", ""),
    "version": ("the version of uWSGI whose module this is, as bytes", ""),
    "version_info": ("the same as a tuple", ""),
}

HOOKS = {
    "post_fork_hook": (
        "called without arguments in each member when it starts",
        "An exception is logged. In a mule, a chain of `uwsgidecorators` with a program runs beside its handlers.",
    ),
    "atexit": (
        "called without arguments in each member when it ends gracefully",
        "Busy workers and spoolers call it too.",
    ),
    "spooler": (
        "called with each job, a dict",
        "A job that is retried waits longer each time; after `Config.spooler_max_tries` attempts it is in `dead/`.",
    ),
    "mule_msg_hook": ("called with each message of a mule", ""),
}

MARK = "\n<!-- What follows is written by `python -m tests.compat.names_page`. -->\n"


def page() -> str:
    """The whole page; what is above the mark is kept."""
    parts = [PAGE.read_text().partition(MARK)[0], MARK]
    for title, module in SUBJECTS.items():
        parts.append(_table(title, _functions(module)))
    parts.append(_table("Values", ((f"`{name}`", *texts) for name, texts in sorted(VALUES.items()))))
    parts.append(_table("Assigned by the application", ((f"`{name}`", *texts) for name, texts in HOOKS.items())))
    never = sorted((f"`{name}`", f"raises `NotSupported`: {reason}", "") for name, reason in NEVER.items())
    parts.append(_table("What cannot be here", never))
    families = sorted((f"`{name}`", f"uWSGI has it only with {option}", "") for name, option in _families())
    parts.append(_table("What needs an option", families))
    return "".join(parts)


def _families() -> Iterator[tuple[str, str]]:
    for name, option in WITHOUT.items():
        shown = {*HOOKS, *VALUES, *spooler.__all__}
        if name not in shown and name not in ("queue_", "sharedarea_"):
            yield (f"{name}…" if name.endswith("_") else name), option


def _functions(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    for name in module.__all__:
        if name == "job_dict":
            continue
        doc = inspect.getdoc(getattr(module, name)) or ""
        difference = re.search(r"^uWSGI: (.*(?:\n +.*)*)", doc, re.MULTILINE)
        text = re.sub(r"\s+", " ", difference[1]) if difference else ""
        yield f"`{name}`", doc.partition("\n")[0].rstrip("."), text[:1].upper() + text[1:]


def _table(title: str, rows: Iterator[tuple[str, str, str]] | list[tuple[str, str, str]]) -> str:
    lines = [f"| {name} | {what} | {difference} |" for name, what, difference in rows]
    return f"\n## {title}\n\n| name | here | different from uWSGI |\n|---|---|---|\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
