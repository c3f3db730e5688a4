"""uWSGI's configuration in front of the server: what it is given, `trio-uwsgi check`, and the command named uwsgi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.commands import PACKAGE
from trio_uwsgi import Config
from trio_uwsgi import __main__ as command
from trio_uwsgi._program.python_setup import PythonSetup, set_up_python
from trio_uwsgi._program.uwsgi_files import is_for_uwsgi
from trio_uwsgi._runtime.opt import uwsgi_options
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.real

INI = """[uwsgi]
site = shop
chdir = %d
module = %(site):application
master = true
processes = 2
threads = 3
http-socket = 127.0.0.1:0
harakiri = 20
env = SITE=%n-%U-%k
vacuum = true
"""


class Given:
    """Takes the place of `trio_uwsgi.serve`: remembers what it was given."""

    app: Any = None  # whatever the application is
    config = Config()

    async def __call__(self, app: Any, config: Config) -> None:
        self.app, self.config = app, config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with an application and its configuration; what the command changes is undone at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["trio-uwsgi"])
    monkeypatch.setenv("SITE", "")
    (tmp_path / "shop.py").write_text("def application(environ, start_response): return []\n")
    (tmp_path / "uwsgi.ini").write_text(INI)
    yield tmp_path
    sys.modules.pop("shop", None)


def test_a_file_becomes_a_config(folder: Path) -> None:
    """Everything that the file says reaches the server; the command line around it counts as well."""
    given = Given()
    assert 0 == command.main(["--ini", "uwsgi.ini", "--mercy", "7", "-p", "3"], given)
    assert "shop:application" == str(given.app)
    expected = (3, "process", 3, 20, 7)
    config = given.config
    assert expected == (config.workers, config.placement, config.threads, config.harakiri, config.mercy)
    assert ["127.0.0.1:0"] == [str(address) for address in config.addresses]
    assert os.environ["SITE"].startswith("uwsgi-")
    assert str(folder) in sys.path


def test_the_application_sees_the_file(folder: Path) -> None:
    """`uwsgi.opt` has its settings by their own names, until the program is given other words."""
    given = Given()
    assert 0 == command.main(["--ini", "uwsgi.ini"], given)
    seen = {"site": b"shop", "http-socket": b"127.0.0.1:0", "master": b"true", "workers": b"2"}
    assert seen.items() <= uwsgi_options(given.config).items()
    assert 0 == command.main(["shop:application", "--http", "127.0.0.1:0"], given)
    assert "site" not in uwsgi_options(given.config)


@pytest.mark.parametrize(
    "line",
    ["uwsgi.ini", "-M uwsgi.ini", "-w shop:application -p 2 -M", "uwsgi shop:application", "--wsgi-file shop.py -M"],
)
def test_uwsgi_command_lines(folder: Path, line: str) -> None:
    """A file without an option, short options, and the first word `uwsgi`."""
    given = Given()
    assert 0 == command.main(line.split(), given)
    assert "process" == given.config.placement


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("app --touch-reload conf.ini", False),
        ("-w 4 app", False),
        ("-w4 app", False),
        ("-w app", True),
        ("--module=app", True),
        ("--static-map /x=y.json app", False),
        ("app", False),
        ("", False),
    ],
)
def test_whose_command_line_it_is(line: str, expected: bool) -> None:
    """It is uWSGI's if it names a configuration, or the application by an option."""
    assert expected == is_for_uwsgi(line.split())


def test_environment_variables_come_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`UWSGI_...` is read, and the command line wins; other variables with the prefix are left alone."""
    monkeypatch.setenv("UWSGI_INI", "uwsgi.ini")
    monkeypatch.setenv("UWSGI_PORT", "tcp://10.0.0.1:80")
    given = Given()
    assert 0 == command.main(["uwsgi", "--threads", "5"], given)
    assert (2, 5) == (given.config.workers, given.config.threads)


def test_a_mistake_has_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing starts, and each mistake is a line with the place."""
    (folder / "uwsgi.ini").write_text(INI + "procesess = 4\nemperor = x\nlisten = many\n")
    assert 2 == command.main(["--ini", "uwsgi.ini"], Given())
    found = capsys.readouterr().err.splitlines()
    assert [
        "trio-uwsgi: uwsgi.ini:12: procesess",
        "trio-uwsgi: uwsgi.ini:13: emperor",
        "trio-uwsgi: uwsgi.ini:14: listen",
    ] == [line.partition(" = ")[0] for line in found]
    assert (
        0 == command.main(["uwsgi", "--ini", "uwsgi.ini", "--compat"], Given()) or "emperor" in capsys.readouterr().err
    )


def test_check_explains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each option, and the same command line; exit code 0."""
    assert 0 == command.main(["check", "uwsgi.ini"])
    out = capsys.readouterr().out
    rows = [line.split(maxsplit=5) for line in out.splitlines()]
    assert ["uwsgi.ini:2", "site", "=", "shop", "placeholder", "a name for a value"] in rows
    assert ["uwsgi.ini:6", "processes", "=", "2", "mapped", "--processes 2; one process each"] in rows
    assert ["uwsgi.ini:5", "master", "=", "true", "ignored", "there is always a master"] in rows
    last = out.splitlines()[-1].split()
    assert ["trio-uwsgi", "shop:application"] == last[:2]
    assert 0 == command.main(last[1:], Given())


def test_check_of_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; an emperor gets a unit of systemd; contradictions between options are told below."""
    (folder / "uwsgi.ini").write_text(INI + "emperor = /etc/vassals/\n")
    assert 1 == command.main(["check", "--ini", "uwsgi.ini"])
    out = capsys.readouterr().out
    assert "ExecStart=/usr/local/bin/trio-uwsgi --ini /etc/vassals/%i.ini" in out
    assert "This does not start: 1 mistake." in out
    (folder / "uwsgi.ini").write_text(INI.replace("threads = 3", "threads = 0"))
    assert 1 == command.main(["check", "uwsgi.ini"])
    assert "--threads 0 is too small; use 1 or more\n" in capsys.readouterr().out


def test_check_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    for form in (["--format=json"], ["--format", "json"]):
        assert 0 == command.main(["check", *form, "uwsgi.ini"])
        found = json.loads(capsys.readouterr().out)
        assert ["trio-uwsgi", "shop:application"] == found["command"][:2]
        option = next(option for option in found["options"] if option["option"] == "harakiri")
        assert {
            "file": "uwsgi.ini",
            "line": 9,
            "option": "harakiri",
            "value": "20",
            "verdict": "supported",
            "becomes": ["--harakiri", "20"],
            "note": "",
        } == option
        assert [] == found["mistakes"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no configuration; write trio-uwsgi check uwsgi.ini"),
        ("nope.ini", "cannot read nope.ini"),
        ("--format=xml uwsgi.ini", "there is no format 'xml'; write --format=text or --format=json"),
        ("-p", "-p needs a value"),
    ],
)
def test_check_of_nothing(folder: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is exit code 2."""
    assert 2 == command.main(["check", *line.split()])
    assert message in capsys.readouterr().err


def test_help_of_check(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what the command takes."""
    assert 0 == command.main(["check", "--help"])
    assert "trio-uwsgi check [--format text|json] FILE" in capsys.readouterr().out


def test_a_command_named_uwsgi(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder for PATH has the command, which takes uWSGI's command line."""
    assert 0 == command.main(["print-path"])
    path = capsys.readouterr().out.strip()
    environment = {
        **os.environ,
        "PATH": f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PACKAGE),
    }
    (folder / "uwsgi.ini").write_text(INI + "emperor = x\n")
    done = subprocess.run(
        ["uwsgi", "--ini", "uwsgi.ini"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (2, "trio-uwsgi: uwsgi.ini:12: emperor = x") == (done.returncode, done.stderr.partition(": run")[0])
    done = subprocess.run(
        ["uwsgi", "--version"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("trio-uwsgi ")


# ----- Python


def test_python_is_set_up(folder: Path) -> None:
    """Folders come first in their order, then the packages of an environment; the arguments are split as in a shell."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "venv" / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "more.pth").write_text(f"{folder}\n")
    set_up_python(PythonSetup(pythonpath=("a", "/b"), virtualenv="venv", pyargv="x 'y z'"))
    assert [str(folder / "a"), "/b", str(packages), str(folder)] == sys.path[:4]
    assert ["trio-uwsgi", "x", "y z"] == sys.argv
    set_up_python(PythonSetup(virtualenv="venv"))
    assert 1 == sys.path.count(str(packages))


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (PythonSetup(virtualenv="nope"), "nope is not a virtual environment; name a folder"),
        (PythonSetup(virtualenv="old"), "old is an environment of python2.7, and this is python3."),
        (PythonSetup(pyargv="'"), 'pyargv="\'" cannot be split'),
    ],
)
def test_python_that_does_not_fit(folder: Path, setup: PythonSetup, message: str) -> None:
    """An environment of another Python is refused with what to do."""
    (folder / "old" / "lib" / "python2.7").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        set_up_python(setup)
    assert message in str(caught.value)


@pytest.mark.parametrize("processes", [(), ("--processes", "1", "--lazy-apps"), ("--processes", "1")])
def test_modules_are_imported_first_and_output_goes_to_the_file(folder: Path, processes: tuple[str, ...]) -> None:
    """`--import` comes before the application in the process that imports it, and `--logto` has all that is printed."""
    (folder / "first.py").write_text("print('first', flush=True)\n")
    (folder / "shop.py").write_text(
        "import os, signal, sys\nprint('then', sys.argv[1:], flush=True)\n"
        "def application(environ, start_response): return []\n"
        "from trio_uwsgi import uwsgi\n"
        "@uwsgi.post_fork\n"
        "def stop(): os.kill(uwsgi.masterpid(), signal.SIGTERM)\n"
    )
    words = ["shop", "--import", "first", "--pyargv", "a b", "--logto", "log", "--http", "127.0.0.1:0", *processes]
    done = subprocess.run(
        [sys.executable, "-m", "trio_uwsgi", *words],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    log = (folder / "log").read_text()
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr), log
    printed = [line for line in log.splitlines() if line.startswith(("first", "then"))]
    assert ["first", "then ['a', 'b']"] == printed
    assert "SIGTERM" in log


def test_a_log_file_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and what to do."""
    assert 2 == command.main(["shop", "--logto", "no/such/log"], Given())
    assert "cannot write to the log file no/such/log: No such file or directory" in capsys.readouterr().err


def test_a_module_to_import_that_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a failed start, as for the application."""
    assert 4 == command.main(["shop", "--import", "nothing_there"], Given())
    assert "there is no module nothing_there" in capsys.readouterr().err
