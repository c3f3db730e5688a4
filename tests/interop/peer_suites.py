"""The environment of other projects' test suites: `python tests/interop/peer_suites.py FOLDER` makes it.

A virtual environment of its own, because the suites pin what they test, and the source distributions of the suites,
which have their tests: they are fetched by pip, and not a part of this repository. What runs them is
`suites/over_socket.py`, a plugin of pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SUITES = Path(__file__).parent / "suites"
AUTOBAHN = "autobahntestsuite==25.10.1"
LONGEST = 400  # seconds that one run of a suite may take


class Outcome(NamedTuple):
    """How one test ended: "passed", "failed" or "skipped"; the requests that it sent over a socket; why it failed."""

    result: str
    requests: int
    reason: str


def pins() -> dict[str, str]:
    """The versions of all that is installed."""
    lines = (SUITES / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def make(folder: Path, names: list[str]) -> None:
    """Make the environment: a virtual one, and the source distributions of `names`.

    Args:
        folder: where to; what is there already is left.
        names: of the suites.
    Raises:
        subprocess.CalledProcessError: pip could not get something.
    """
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=600)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-e", str(ROOT), "-r", str(SUITES / "requirements.txt")], check=True, timeout=600)
    wanted = [f"{name}=={pins()[name]}" for name in names]
    download = ["download", "--no-deps", "--no-binary", ",".join(names), "-d", str(folder), *wanted]
    subprocess.run([*pip, *download], check=True, timeout=600)
    for archive in folder.glob("*.tar.gz"):
        shutil.unpack_archive(archive, folder)


def make_autobahn(folder: Path) -> None:
    """Install Autobahn's test suite for WebSockets, which needs Python 2.7.

    Raises:
        FileNotFoundError: there is no Python 2.7.
        subprocess.CalledProcessError: pip could not get something.
    """
    target = folder / "autobahn"
    pip = [python_2(), "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--target", str(target), AUTOBAHN], check=True, timeout=900)
    (target / "zope" / "__init__.py").touch()  # a namespace package, which is none without its .pth file


def python_2() -> str:
    """The path of a Python 2.7: on PATH, or one of pyenv's."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))
    found = str(pyenv[-1]) if pyenv else shutil.which("python2.7")
    if found is None:
        raise FileNotFoundError("Autobahn's test suite needs a python2.7 on PATH, or pyenv's")
    return found


def run(folder: Path, suite: str, mode: str, report: Path, tests: list[str]) -> dict[str, Outcome]:
    """Run tests of a suite, and give back how each of them ended.

    Args:
        folder: the environment.
        suite: its name.
        mode: as in `suites/over_socket.py`.
        report: a file that gets the outcomes; beside it come a log of the server, and what pytest prints.
        tests: arguments for pytest.
    Raises:
        AssertionError: the suite did not run to its end.
    """
    settings = {"OVER_SOCKET_MODE": mode, "OVER_SOCKET_REPORT": str(report), "PYTHONPATH": str(SUITES)}
    options = ["-q", "--tb=native", "-p", "over_socket", "-p", "no:trio_uwsgi", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestUnknownMarkWarning", "--timeout", "30"]
    said = report.with_suffix(".txt")
    with said.open("w") as output:
        subprocess.run(
            [folder / "venv/bin/python", "-m", "pytest", *options, *tests],
            cwd=folder / f"{suite}-{pins()[suite]}",
            env={**os.environ, **settings, "PYTHONDONTWRITEBYTECODE": "1", "CI": ""},
            stdout=output,
            stderr=output,
            timeout=LONGEST,
            check=False,
        )
    outcomes = json.loads(report.read_text()) if report.exists() else {}
    assert outcomes, said.read_text()[-5000:]  # nothing ran
    return {test: Outcome(*outcome) for test, outcome in outcomes.items()}


if __name__ == "__main__":
    make(Path(sys.argv[1]), ["starlette", "fastapi", "flask", "werkzeug", "cachelib"])
    make_autobahn(Path(sys.argv[1]))
