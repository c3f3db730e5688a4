"""Writes what was measured into docs/explanation/performance.md, and keeps it in `results/`.

The page has a section for each command, between two comments. A section comes from the record of the command alone, so
`python -m benchmarks page` writes it again when only words have changed.
"""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.contenders import REQUIREMENTS
from benchmarks.measured import Record, beside, comparison, groups, growing, markdown
from benchmarks.primitives import UWSGI

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
PLOTS = PAGE.parent / "plots"
COMMANDS = ("serving", "primitives", "growth", "memory")


def new_record(command: str, rounds: int, seconds: float, ours: Mapping[str, str], peers: Path | None) -> Record:
    """An empty one, with this machine and the versions of everybody.

    Args:
        command: as in `COMMANDS`.
        rounds: how often each number is measured.
        seconds: of each load.
        ours: interpreters by the name of their rows.
        peers: the environment of other servers.
    """
    now = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    versions = {name: own_versions(python) for name, python in ours.items()}
    if peers is not None:
        versions |= installed(peers / "bin" / "python", packages(REQUIREMENTS.read_text()))
    return Record(command, rounds, seconds, now, machine(), versions, list(ours))


def packages(requirements: str) -> list[str]:
    """The names in a file of requirements."""
    return re.findall(r"(?m)^([\w-]+)", requirements)


def installed(python: Path, names: list[str]) -> dict[str, str]:
    """The versions of these packages in the environment of an interpreter, without those that are not there."""
    code = (
        "import sys\nfrom importlib.metadata import PackageNotFoundError, version\nfor name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n    except PackageNotFoundError: pass"
    )
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=False)
    return dict(line.split() for line in done.stdout.splitlines())


def own_versions(python: str) -> str:
    """Which build of ours an interpreter has, and with which Trio."""
    code = (
        "import platform, sysconfig, trio\n"
        "pgo = '--enable-optimizations' in (sysconfig.get_config_var('CONFIG_ARGS') or '')\n"
        "print(platform.python_implementation(), platform.python_version(), 'with' if pgo else 'without', 'PGO')\n"
        "print('Trio', trio.__version__)"
    )
    found = []
    for words in (["-m", "trio_uwsgi", "--version"], ["-c", code]):
        done = subprocess.run([python, *words], capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise SystemExit(f"{python} cannot run trio_uwsgi:\n{done.stderr}")
        found += done.stdout.splitlines()
    return ", ".join(found)


def machine() -> dict[str, str]:
    """What this machine is."""
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": found[1] if found else platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def tables(record: Record) -> str:
    """All tables of a record."""
    scenarios = [one for one in record.scenarios.values() if one.values or one.absent]
    if record.command == "primitives":
        return beside(scenarios, UWSGI)
    if record.command == "growth":
        return "\n\n".join(growing(each) for each in groups(scenarios).values())
    return "\n\n".join(comparison(scenario, record.ours) for scenario in scenarios)


def section(record: Record, plots: Mapping[str, str]) -> str:
    """What the page says of a record.

    Args:
        record: what was measured.
        plots: files beside the page, with what each shows.
    """
    rounds = f"{record.rounds} of {record.seconds:g} s"
    facts = {"date": record.date, **record.machine, "rounds": rounds, **record.versions}
    return "\n\n".join(
        [
            *(f"![{title}](plots/{file})" for file, title in plots.items()),
            tables(record),
            markdown(["measured with", ""], facts.items()),
        ]
    )


def marks(command: str) -> tuple[str, str]:
    """The comments around a section."""
    return f"<!-- {command}: begin -->", f"<!-- {command}: end -->"


def with_section(page: str, command: str, text: str) -> str:
    """The page with another section.

    Raises:
        ValueError: the page has no place for it.
    """
    begin, end = marks(command)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no {begin} with {end} after it")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def plots_of(command: str) -> dict[str, str]:
    """The plots that were drawn, with the title that the page has for them."""
    begin, end = marks(command)
    text = PAGE.read_text().partition(begin)[2].partition(end)[0]
    return {file: title for title, file in re.findall(r"!\[(.*?)\]\(plots/(.*?)\)", text)}


def keep(record: Record) -> None:
    """Keep a record, draw its plots, and write its section."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{record.command}.json").write_text(record.to_json())
    write(record)


def write(record: Record) -> None:
    """Draw the plots of a record, and write its section."""
    from benchmarks.plots import drawn

    for old in plots_of(record.command):
        (PLOTS / old).unlink(missing_ok=True)
    PAGE.write_text(with_section(PAGE.read_text(), record.command, section(record, drawn(record, PLOTS))))


def recorded() -> list[Record]:
    """The records that were kept."""
    files = [RESULTS / f"{command}.json" for command in COMMANDS]
    return [Record.from_json(file.read_text()) for file in files if file.exists()]
