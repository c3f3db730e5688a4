"""The `config` in an application's module is used by the command line, and overridden by its options."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trio_uwsgi import __main__ as command
from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._program import module_config as _module_config
from trio_uwsgi.config import Cache, Config, Metric, Mules, Tls
from trio_uwsgi.errors import BootError, ConfigError

pytestmark = pytest.mark.real

_PREPARE = "trio_uwsgi._member_entry:prepare"
_REHEARSING = "trio_uwsgi._member_entry:rehearsing"
UID, GID = (65534, 65533) if os.getuid() == 0 else (os.getuid(), os.getgid())
ROOT = Path(command.__file__).parent.parent
APP = "def app(environ, start_response): return 'served'\n"


class Serve:
    """Takes the place of `trio_uwsgi.serve`, and remembers what it was given."""

    app: Any = None  # whatever the test's application is
    config = Config()

    async def __call__(self, app: Any, config: Config) -> None:
        self.app = app
        self.config = config


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory; what is imported from it is gone after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def shop(text: str, name: str = "shop.py") -> None:
    """Write an application with this beside it."""
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(f"import trio_uwsgi\n{text}\n{APP}")


def started(*words: str) -> Serve:
    """What `serve` was given by this command line."""
    serve = Serve()
    assert 0 == command.main(words, serve)
    return serve


# ----- what counts


@pytest.mark.parametrize("words", [[], ["-p", "1"]], ids=["tasks", "processes"])
def test_the_config_counts_but_for_what_is_given(words: list[str]) -> None:
    """Each option that is given replaces that of the config; the others stay, also those that need each other."""
    shop(
        "config = trio_uwsgi.Config(http=':1', mules=3, farms={'a': [3]}, threads=2, harakiri=5, disable_logging=True)"
    )
    found = started("shop:app", "--threads", "4", "--farm", "b:2", "--http", ":2", *words).config
    assert (3, {"b": (2,)}, 4, 5, True) == (
        found.mules,
        found.farms,
        found.threads,
        found.harakiri,
        found.disable_logging,
    )
    assert [":2"] == [str(address) for address in found.addresses]
    assert [":1"] == [str(address) for address in started("shop:app", *words).config.addresses]


@pytest.mark.parametrize("words", [[], ["-p", "1"]], ids=["tasks", "processes"])
@pytest.mark.parametrize("text", ["config = {'mules': 2}", "def config(): pass", "import json as config", ""])
def test_other_things_of_that_name_are_not_meant(text: str, words: list[str]) -> None:
    """A dict, a function or a module called config is the application's own."""
    shop(text)
    assert 0 == started("shop.py", *words).config.mules


def test_the_config_may_set_the_placement() -> None:
    """With processes `serve` gets the application's name; options that need processes work with such a config."""
    shop("config = trio_uwsgi.Config(placement='process', workers=3)")
    serve = started("shop", "--lazy-apps", "--max-requests", "5")
    assert AppReference("name", "shop") == serve.app
    assert (3, True, 5) == (serve.config.workers, serve.config.lazy_apps, serve.config.max_requests)
    shop("config = trio_uwsgi.Config(placement='process', workers=3)", "one.py")
    assert ("served", 3) == ((serve := started("one", "--placement", "task")).app({}, None), serve.config.workers)


def test_options_that_do_not_fit_the_config_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is the same as for options that do not fit each other."""
    shop("config = trio_uwsgi.Config(mules=1)")
    for words in (["--farm", "a:2"], ["--farm", "a:2", "-p", "1"]):
        assert 2 == command.main(["shop:app", *words], Serve())
        assert "farm 'a' has mule 2, which does not exist; use 1" in capsys.readouterr().err
    shop("", "plain.py")
    assert 2 == command.main(["plain:app", "--lazy-apps"], Serve())
    assert "plain" not in sys.modules


def test_a_factory_has_a_config_beside_it() -> None:
    """It is the module's, and the factory is not called to find it."""
    shop("config = trio_uwsgi.Config(mules=2)\ndef create_app():\n    open('called', 'a').close()\n    return app")
    assert 2 == started("--factory", "shop", "-p", "1").config.mules
    assert not Path("called").exists()
    assert 2 == started("--factory", "shop:create_app").config.mules
    assert Path("called").exists()


# ----- in a process of its own


def test_processes_import_nothing_here() -> None:
    """The module is imported by a process that ends; one without a config, by none, and no package above it either."""
    shop("import os\nopen('by', 'a').write(f'{os.getpid()} ')\nconfig = trio_uwsgi.Config(mules=2)", "store/web.py")
    Path("store/__init__.py").write_text("open('package', 'a').close()\n")
    assert 2 == started("store.web:app", "-p", "1").config.mules
    assert "store" not in sys.modules
    (pid,) = map(int, Path("by").read_text().split())
    assert os.getpid() != pid
    assert not Path(f"/proc/{pid}").exists()
    Path("package").unlink()
    shop("def other():\n    config = 1", "store/plain.py")
    started("store.plain:app", "-p", "1")
    assert not Path("package").exists()


@pytest.mark.parametrize(
    ("source", "may"),
    [
        ("config = 1", True),
        ("config: object = 1", True),
        ("if True:\n    from a import b as config", True),
        ("from settings import *", True),
        ("import config", True),
        ("try:\n    (config, x) = 1, 2\nfinally: pass", True),
        ("def f():\n    config = 1", False),
        ("class A:\n    config = 1", False),
        ("app.config['x'] = 1", False),
        ("config(", False),
    ],
)
def test_whether_a_module_may_have_a_config(source: str, may: bool) -> None:
    """Its source tells, without an import; what is bound inside of functions and classes is not the module's."""
    Path("one.py").write_text(source)
    Path("two").mkdir()
    Path("two/__init__.py").write_text(source)
    for spec in ("one", "one:app", "one.py", "./one.py:app", "two:app"):
        assert may == _module_config.may_have_config(spec)
    for spec in ("none", "none.py", "one.none:app", ""):
        assert not _module_config.may_have_config(spec)


def test_every_option_arrives() -> None:
    """A config is the same after its way as data, whatever the option."""
    config = Config(
        http=["127.0.0.1:0", "/run/a.sock", "[::1]:80", "fd://3"],
        socket="@app",
        chmod_socket=0o660,
        modifiers={"rpc": ["unix", "10.0.0.0/8"], "cache": "any"},
        mules=Mules(min=1, max=4, idle=math.inf),
        farms={"address": [2, 1]},
        caches=[Cache("a", items=3, store="a.cache"), Cache("b", items=1, lru=True)],
        metrics=[Metric("orders"), Metric("load", type="gauge", initial_value=4)],
        alarms={"cache": "log:x"},
        alarm_log=["cache ^panic"],
        env={"mules": "1"},
        spooler=["jobs", "mails"],
        keep_alive_timeout=math.inf,
        placement="process",
        touch_reload="x",
        timezone="Europe/Rome",
        https=["127.0.0.1:0,c.pem,k.pem", Tls(address="@a", certificate="c", sni={"a.example": ("c", "k")})],
        forwarded_allow=["loopback", "10.0.0.0/8"],
        forwarded_headers="forwarded",
        proxy_protocol=":8443",
        root_path="/shop",
        manage_script_name=True,
        static_map={"/static": "/srv"},
        static_expires={r"\.css$": 60},
        static_index=["index.html"],
        check_static="/srv",
        stop_streams=3,
        drain_delay=math.pi,
    )
    read = _module_config.from_plain(json.loads(json.dumps(_module_config.plain(config))))
    assert dataclasses.asdict(config) == dataclasses.asdict(read)
    assert {} == _module_config.plain(Config())
    assert dataclasses.asdict(Config(mules=2)) == dataclasses.asdict(
        _module_config.from_plain(_module_config.plain(Config(mules=2)))
    )


def test_alarms_that_are_functions(capsys: pytest.CaptureFixture[str]) -> None:
    """They work where this process imports the application; from another process they are refused."""
    shop("def tell(message): pass\nconfig = trio_uwsgi.Config(alarms={'a': tell})")
    assert callable(started("shop").config.alarms["a"])
    assert 2 == command.main(["shop", "-p", "1"], Serve())
    assert "config: alarm 'a' is a function, which the command line cannot use" in capsys.readouterr().err


def test_a_context_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    """The same holds for TLS."""
    tls = "trio_uwsgi.Tls(address='127.0.0.1:0', context=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))"
    shop(f"import ssl\nconfig = trio_uwsgi.Config(https={tls})")
    assert started("shop").config.tls[0].context is not None
    assert 2 == command.main(["shop", "-p", "1"], Serve())
    assert "config: https has a context= of its own, which the command line cannot use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "failed: SystemExit: 3"),
        (
            "import os; os._exit(3)",
            "the process that reads the config of shop:app ended before it was done: exit code 3",
        ),
        ("trio_uwsgi.Config(threads=0)", "failed: ConfigError: threads=0 is too small"),
    ],
)
def test_a_module_that_cannot_be_imported(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the same as for an application: exit code 4, its traceback, and one line."""
    shop(f"config = trio_uwsgi.Config()\n{text}")
    assert 4 == command.main(["shop:app", "-p", "1"], Serve())
    assert message in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(BootError) as caught:
        _module_config.config_read_elsewhere("shop:app", None, None, _PREPARE, {}, _REHEARSING, Config())
    assert ("shop.py" in str(caught.value.__cause__)) == ("os._exit" not in text)


def test_a_module_that_serves_when_it_is_imported() -> None:
    """Its config exists by then."""
    shop(
        "import trio\nconfig = trio_uwsgi.Config(mules=2)\ndef app(environ, start_response): pass\n"
        "trio.run(trio_uwsgi.serve, app, config)"
    )
    assert 2 == started("shop.py", "-p", "1").config.mules


def test_threads_of_the_import_hold_up_nothing() -> None:
    """The process ends when it has sent its answer, whatever the module has started."""
    threads = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"
    shop(f"{threads}\nconfig = trio_uwsgi.Config(mules=2)")
    began = time.monotonic()
    assert 2 == started("shop.py", "-p", "1").config.mules
    assert 30 > time.monotonic() - began


def test_another_user_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--uid` the module is imported as that user, and its config cannot set what root does before."""
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's own are root's alone
        Path(open_to_all).chmod(0o755)
        monkeypatch.chdir(open_to_all)
        shop(f"import os\nassert os.getuid() == {UID}\nconfig = trio_uwsgi.Config(mules=2)")
        serve = started("shop", "--uid", str(UID), "--gid", str(GID))
        assert (AppReference("name", "shop"), 2, UID) == (serve.app, serve.config.mules, serve.config.uid)
        shop("config = trio_uwsgi.Config(pidfile='/run/x', gid='root')", "greedy.py")
        with pytest.raises(
            ConfigError, match="the config of greedy sets gid and pidfile, which code that runs as another"
        ):
            _module_config.config_read_elsewhere("greedy", UID, GID, _PREPARE, {}, _REHEARSING, Config())
        monkeypatch.chdir("/")


def test_a_killed_command_leaves_no_import_behind(folder: Path) -> None:
    """The process that imports ends with the command."""
    shop("import os, time\nopen('pid', 'w').write(f'{os.getpid()}\\n')\ntime.sleep(60)\nconfig = trio_uwsgi.Config()")
    line = [sys.executable, "-m", "trio_uwsgi", "shop.py", "-p", "1", "--http", "127.0.0.1:0"]
    with subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        try:
            until(lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
            importer = int(Path("pid").read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    until(lambda: not alive(importer))


def alive(pid: int) -> bool:
    """Whether this process runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def until(condition: Any) -> None:
    """Wait for something that happens elsewhere; at most 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert deadline > time.monotonic()
        time.sleep(0.01)
