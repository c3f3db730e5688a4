"""Options from a TOML file and the environment, their order, and what `--print-config` shows of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.test_uwsgi_files import Given
from trio_uwsgi import Cache, Daemon, Metric, Mules
from trio_uwsgi import __main__ as command
from trio_uwsgi._program.config_sources import from_environment, from_file
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.real


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with an application, which is forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shop.py").write_text("async def app(scope, receive, send): ...\n")
    yield tmp_path
    sys.modules.pop("shop", None)


def served(*words: str) -> Given:
    """What the server is given with this command line."""
    given = Given()
    assert 0 == command.main(words, given)
    return given


def test_a_table_of_pyproject_is_read(folder: Path) -> None:
    """Keys with dashes or underscores, tables for caches and mules, and the application itself."""
    (folder / "pyproject.toml").write_text(
        '[tool.trio_uwsgi]\napp = "shop:app"\nhttp = ["127.0.0.1:0"]\nstatic-map = {"/s" = "x"}\nharakiri = 3\n'
        'caches = [{name = "a", items = 4}, "name=b,items=5"]\nmetrics = ["orders"]\n'
        'attach-daemon = ["worker", {command = "beat", pidfile = "beat.pid"}]\ncron = "0 3 * * * tidy"\n'
        'mules = {min = 1, max = 2}\nlog-level = "error"\nprocesses = 2\n'
    )
    given = served()
    config = given.config
    assert "shop:app" == str(given.app)
    assert (Cache("a", items=4), Cache("b", items=5)) == tuple(config.caches)
    assert (Metric("orders"),) == tuple(config.metrics)
    assert (Mules(min=1, max=2), {"/s": "x"}, 3) == (config.mules, config.static_map, config.harakiri)
    assert (2, "process") == (config.workers, config.placement)
    assert (Daemon("worker"), Daemon("beat", pidfile="beat.pid")) == config.daemons
    assert ("0 3 * * * tidy",) == config.cron


def test_later_sources_win(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config beside the application, the file, the environment, the command line: each replaces whole values."""
    (folder / "shop.py").write_text(
        "from trio_uwsgi import Config\nconfig = Config(locks=1, mercy=1, harakiri=1, listen=1, http='127.0.0.1:1')\n"
        "async def app(scope, receive, send): ...\n"
    )
    (folder / "app.toml").write_text('mercy = 2\nharakiri = 2\nlisten = 2\nhttp = ["127.0.0.1:2", "127.0.0.1:3"]\n')
    monkeypatch.setenv("TRIO_UWSGI_HARAKIRI", "3")
    monkeypatch.setenv("TRIO_UWSGI_LISTEN", "3")
    monkeypatch.setenv("TRIO_UWSGI_HTTP", "127.0.0.1:4\n127.0.0.1:5")
    config = served("shop:app", "--config", "app.toml", "--listen", "4").config
    assert (1, 2, 3, 4) == (config.locks, config.mercy, config.harakiri, config.listen)
    assert ["127.0.0.1:4", "127.0.0.1:5"] == [str(address) for address in config.addresses]


def test_what_is_printed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option that differs from its default, with its place; nothing is served. So it is with a file of uWSGI."""
    (folder / "shop.py").write_text(
        "from trio_uwsgi import Config\nconfig = Config(locks=1, caches=[])\nasync def app(scope, receive, send): ...\n"
    )
    (folder / "app.toml").write_text('caches = [{name = "a", items = 4}]\nchain-reload = true\nmount = {"/x" = "y"}\n')
    monkeypatch.setenv("TRIO_UWSGI_APP", "shop:app")
    given = Given()
    words = ["--config=app.toml", "--http", "127.0.0.1:0", "--env", 'A="b', "--print-config", "--processes=1"]
    assert 0 == command.main(words, given)
    assert given.app is None
    rows = [tuple(part.strip() for part in line.split("# ")) for line in capsys.readouterr().out.splitlines()]
    assert [
        ('mount = [["/x", "y"]]', "app.toml"),
        ('app = "shop:app"', "TRIO_UWSGI_APP"),
        ('http = ["127.0.0.1:0"]', "command line"),
        ('caches = [{"name" = "a", "items" = 4}]', "app.toml"),
        ("locks = 1", "the config in shop:app"),
        ('placement = "process"', "command line"),
        ("chain_reload = true", "app.toml"),
        ('env = {"A" = "\\"b"}', "command line"),
    ] == rows
    monkeypatch.delenv("TRIO_UWSGI_APP")
    (folder / "uwsgi.ini").write_text("[uwsgi]\nmodule = shop:app\nprocesses = 3\n")
    assert 0 == command.main(["--ini", "uwsgi.ini", "--print-config"], given)
    assert "workers = 3" in capsys.readouterr().out


def test_no_application_anywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `pyproject.toml` of another project, or one that is broken, is left alone."""
    for text in ("[tool.other]\n", "[", "tool = 1\n"):
        (folder / "pyproject.toml").write_text(text)
        assert 2 == command.main([], Given())
        assert "no application; write trio-uwsgi module:app" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("harakri = 3", "app.toml: there is no option 'harakri'; did you mean 'harakiri'?"),
        ("zzzz = 3", "app.toml: there is no option 'zzzz'; see the page Options"),
        ("[", "app.toml is not TOML"),
        ('caches = [{name = "a", itmes = 3}]', "app.toml: Cache.__init__() got an unexpected keyword argument 'itmes'"),
        ('caches = [{name = "", items = 3}]', "app.toml: '' is not the name of a cache"),
        ("mount = 3", 'app.toml: mount = 3 is not possible; write mount = {"/shop" = "shop:app"}'),
        ("factory = 3", "app.toml: factory = 3 is not possible; write factory = true"),
        ("pythonpath = [3]", 'app.toml: pythonpath = [3] is not possible; write pythonpath = "text"'),
        ("app = 3", 'app.toml: app = 3 is not possible; write app = "text"'),
        ("harakiri = -1", "--harakiri -1 is too small"),
        ('metrics = ["name=a,type=x"]', "app.toml: "),
        ("[tool]\ntrio_uwsgi = 5", "app.toml: trio_uwsgi = 5 is no table; write [tool.trio_uwsgi]"),
    ],
)
def test_mistakes_in_a_file(folder: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    (folder / "app.toml").write_text(f"{text}\n")
    assert 2 == command.main(["shop:app", "--config", "app.toml"], Given())
    assert message in capsys.readouterr().err


def test_files_that_are_not_there(folder: Path) -> None:
    """A file that is named has to be there, with its table."""
    with pytest.raises(ConfigError, match=r"cannot read app.toml: No such file"):
        from_file("app.toml")
    (folder / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(ConfigError, match=r"pyproject.toml has no table \[tool.trio_uwsgi\]"):
        from_file("pyproject.toml")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HARAKRI", "3", "TRIO_UWSGI_HARAKRI: there is no option --harakri; did you mean --harakiri?"),
        ("MASTER", "1", "TRIO_UWSGI_MASTER: uWSGI's option --master does not exist here; leave it out"),
        ("LAZY_APPS", "maybe", "TRIO_UWSGI_LAZY_APPS: 'maybe' is neither yes nor no; write TRIO_UWSGI_LAZY_APPS=1"),
        ("THREADS", "x", "TRIO_UWSGI_THREADS: --threads: 'x' is not a whole number"),
    ],
)
def test_mistakes_in_the_environment(
    folder: Path,
    variable: str,
    value: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each variable has to be an option, with a value that it takes."""
    monkeypatch.setenv(f"TRIO_UWSGI_{variable}", value)
    assert 2 == command.main(["shop:app"], Given())
    assert message in capsys.readouterr().err


def test_variables() -> None:
    """Switches are on or off; variables that Kubernetes sets for a service of this name are left alone."""
    names = ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    env = {f"TRIO_UWSGI_{name}": "x" for name in names}
    given = from_environment({**env, "TRIO_UWSGI_CHAIN_RELOAD": "1", "TRIO_UWSGI_SPOOLER_CHEAP": "off", "OTHER": "x"})
    assert {"chain_reload": True} == given.fields
