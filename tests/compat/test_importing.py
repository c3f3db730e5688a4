"""Where the modules `uwsgi` and `uwsgidecorators` are importable, and what the module says of the runtime."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.compat.conftest import OURS
from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Cache, Config, Registry, compat
from trio_uwsgi._process.loader import load_app
from trio_uwsgi.compat.absent import NEVER, NotSupported
from trio_uwsgi.errors import BootError
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    import trio.testing


def _module() -> object:
    return importlib.import_module("uwsgi")


@all_modes
async def test_members_have_the_module(
    mode: Mode, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """While members run, `import uwsgi` works in their code, and before and afterwards it does not."""
    app = asking(name=lambda: importlib.import_module("uwsgi").worker_id())
    with pytest.raises(ModuleNotFoundError):
        _module()
    async with open_runtime(app, config_in(mode), registry=uwsgi_registry) as runtime:
        assert "1" == await get(runtime, "name")
        assert ("uwsgi" in sys.modules) is (mode.get("placement") != "process")
    with pytest.raises(ModuleNotFoundError):
        _module()


async def test_it_is_left_out(autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry) -> None:
    """With compat=False no code can import it."""
    app = asking(name=_module)
    async with open_runtime(app, Config(compat=False), registry=uwsgi_registry) as runtime:
        assert "ModuleNotFoundError: No module named 'uwsgi'" == await get(runtime, "name")


async def test_two_runtimes_follow_each_other(autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry) -> None:
    """The module of the second runtime is another one, with its own values."""
    seen = []
    for workers in (1, 2):
        async with open_runtime(None, Config(workers=workers), registry=uwsgi_registry):
            seen.append(sys.modules["uwsgi"])
            assert workers == seen[-1].numproc
    assert seen[0] is not seen[1]


async def test_two_runtimes_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """They share the module until the last one has ended."""
    async with open_runtime(None, Config(workers=1), registry=Registry()):
        async with open_runtime(None, Config(workers=2), registry=Registry()):
            module = sys.modules["uwsgi"]
            assert 2 == module.numproc
        assert module is sys.modules["uwsgi"]
        assert 1 == module.numproc
    assert "uwsgi" not in sys.modules


def test_another_module_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of this name from before, and one that the application puts in its place, are respected."""
    before, own = types.ModuleType("uwsgi"), types.ModuleType("uwsgi")
    monkeypatch.setitem(sys.modules, "uwsgi", before)
    with compat.entered():
        assert before is not sys.modules["uwsgi"]
        sys.modules["uwsgi"] = own
        with compat.entered():
            assert own is sys.modules["uwsgi"]
    assert before is sys.modules["uwsgi"]


def test_values(enter: Enter) -> None:
    """Attributes have uWSGI's types: bytes for texts, numbers, None for what is not there."""
    config = Config(
        workers=3,
        threads=4,
        spooler=["jobs"],
        pidfile="run.pid",
        max_header_size=5000,
        caches=[Cache("a", items=5), Cache("b", items=6)],
    )
    uwsgi = enter(config)
    assert (3, 4, 5000, 1) == (uwsgi.numproc, uwsgi.cores, uwsgi.buffer_size, uwsgi.has_threads)
    assert (b"2.0.31", (2, 0, 31, 0, b"")) == (uwsgi.version, uwsgi.version_info)
    assert os.uname().nodename.encode() == uwsgi.hostname
    assert (b"jobs",) == uwsgi.spoolers
    assert b"run.pid" == uwsgi.pidfile
    assert (None, None, None, False) == (uwsgi.applications, uwsgi.loop, uwsgi.unbit, uwsgi.is_a_reload)
    assert (-2, -1, 0) == (uwsgi.SPOOL_OK, uwsgi.SPOOL_RETRY, uwsgi.SPOOL_IGNORE)
    assert os.getpid() == uwsgi.masterpid()
    assert isinstance(uwsgi.started_on, int)
    assert b"3" == uwsgi.opt["workers"]
    assert b"name=b,items=6" == uwsgi.opt["cache2"]  # the last one, as in uWSGI
    assert True is uwsgi.opt["master"]
    assert uwsgi.decorators is sys.modules["uwsgidecorators"]


def test_what_an_option_would_bring(enter: Enter) -> None:
    """Names that uWSGI has only with an option say which; one that it never has is an ordinary error."""
    uwsgi = enter(Config())
    for name, text in (("spool", "--spooler DIR"), ("spoolers", "--spooler DIR"), ("snmp_set_gauge", "no SNMP agent")):
        assert not hasattr(uwsgi, name)
        with pytest.raises(AttributeError, match=text):
            getattr(uwsgi, name)
    with pytest.raises(AttributeError, match=r"^module 'uwsgi' has no attribute 'spooool'$"):
        uwsgi.spooool  # noqa: B018


def test_what_cannot_be(enter: Enter) -> None:
    """Functions that uWSGI always has, and that cannot exist outside of it, say so when they are called."""
    uwsgi = enter(Config())
    for name, reason in NEVER.items():
        with pytest.raises(NotSupported, match=f"uwsgi.{name}\\(\\) is not supported: ") as caught:
            getattr(uwsgi, name)("argument")
        assert reason in str(caught.value)


def test_decorators_are_ours_where_there_are_no_others(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    """`uwsgidecorators` is found on the path first, and in this package where it is not there."""
    enter(Config())
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    found = importlib.util.find_spec("uwsgidecorators")
    assert found is not None
    assert str(OURS) == found.origin


def test_assigned_applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`uwsgi.applications` has applications by prefix, some by name; a name that is none is refused."""
    monkeypatch.chdir(tmp_path)
    Path("several.py").write_text(
        textwrap.dedent("""
            import uwsgi
            def one(environ, start_response):
                start_response("200 OK", [])
                return [b"one ", environ["SCRIPT_NAME"].encode(), b" ", environ["PATH_INFO"].encode()]
            uwsgi.applications = {"/": one, "/two": "one"}
        """)
    )
    Path("none.py").write_text("import uwsgi\nuwsgi.applications = {'': 'missing'}\n")

    def answer(path: str) -> bytes:
        return b"".join(app({"PATH_INFO": path, "SCRIPT_NAME": ""}, lambda *args: None))

    with compat.entered():
        app = load_app("several.py")
        assert [b"one  /a", b"one /two /a"] == [answer("/a"), answer("/two/a")]
        with pytest.raises(BootError, match="has 'missing', which is not an application"):
            load_app("none.py")


@pytest.mark.real
@pytest.mark.parametrize("options", [[], ["--placement", "process"], ["--placement", "process", "--lazy-apps"]])
def test_the_command_imports_an_application_of_uwsgi(options: list[str], tmp_path: Path) -> None:
    """The application's import finds the module, also where the command line reads a `config` in it, and the master
    that does not import it has none.
    """
    (tmp_path / "old.py").write_text(
        textwrap.dedent("""
            import os, signal, uwsgi
            from trio_uwsgi import Config
            config = Config(mules=1, http="127.0.0.1:0")
            assert uwsgi.masterpid()
            def started():
                with open(f"{uwsgi.worker_id()}{uwsgi.mule_id()}", "w") as file:
                    file.write(f"{uwsgi.masterpid()} {sorted(uwsgi.opt)}")
                if uwsgi.worker_id():
                    os.kill(uwsgi.masterpid(), signal.SIGTERM)
            uwsgi.post_fork_hook = started
            def application(environ, start_response): ...
        """)
    )
    command = [sys.executable, "-m", "trio_uwsgi", "old:application", *options]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100)
    assert 0 == ended.returncode, ended.stderr.decode()
    assert (tmp_path / "10").exists(), ended.stderr.decode()
    assert "'mules'" in (tmp_path / "10").read_text()


@pytest.mark.real
def test_the_command_leaves_it_out(tmp_path: Path) -> None:
    """With --no-uwsgi-module the import of an application fails as it does elsewhere."""
    (tmp_path / "old.py").write_text("import uwsgi\n")
    command = [sys.executable, "-m", "trio_uwsgi", "old:application", "--no-uwsgi-module", "--http", "127.0.0.1:0"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100)
    assert 4 == ended.returncode
    assert b"No module named 'uwsgi'" in ended.stderr
