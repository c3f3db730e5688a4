"""The command line: options, their mistakes, exit codes, and finding the application by its name."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trio_uwsgi import __main__ as command
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._process.loader import load_app
from trio_uwsgi._program import command_hints as _command_hints
from trio_uwsgi._program import command_options as _command_options
from trio_uwsgi._system.privileges import user_name
from trio_uwsgi.config import Cache, Config, Metric
from trio_uwsgi.errors import BootError, ConfigError, ListenError

pytestmark = pytest.mark.real


class FakeServe:
    """Takes the place of `trio_uwsgi.serve`: remembers what it was given, and does what the test says."""

    def __init__(self, act: Callable[[], None] | None = None) -> None:
        self.act = act
        self.app: Any = None  # whatever the test's application is
        self.config = Config()

    async def __call__(self, app: Any, config: Config) -> None:
        self.app = app
        self.config = config
        if self.act is not None:
            self.act()


def raising(error: BaseException) -> FakeServe:
    """A serve that fails."""

    def act() -> None:
        raise error

    return FakeServe(act)


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports, and puts on `sys.path`, is gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an application, `hello.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.py").write_text(
        "import types\n"
        "def application(environ, start_response): return 'application'\n"
        "def other(environ, start_response): return 'other'\n"
        "def create_app(): return application\n"
        "async def slow_factory(): return application\n"
        "def broken_factory(): raise LookupError('no database')\n"
        "deep = types.SimpleNamespace(inner=other)\n"
        "text = 'not callable'\n"
    )
    return tmp_path


# ----- the application's name


@pytest.mark.parametrize(
    ("spec", "factory", "answer"),
    [
        ("hello", False, "application"),
        ("hello:other", False, "other"),
        ("hello:deep.inner", False, "other"),
        ("hello.py", False, "application"),
        ("./hello.py:other", False, "other"),
        ("hello", True, "application"),
        ("hello.py:create_app", True, "application"),
    ],
)
def test_names_of_applications(folder: Path, spec: str, factory: bool, answer: str) -> None:
    """A module or a file, with or without an attribute, names an application; a factory makes it."""
    assert answer == load_app(spec, factory=factory)({}, None)
    assert str(folder) == sys.path[0]


def test_a_file_elsewhere_imports_its_neighbours(folder: Path) -> None:
    """The folder of a file is importable, and the file is found under its own name by the modules beside it."""
    (folder / "site").mkdir()
    (folder / "site" / "shop.py").write_text(
        "import shop_pages\ndef app(scope, receive, send): return shop_pages.NAME\n"
    )
    (folder / "site" / "shop_pages.py").write_text("import shop\nNAME = shop.__name__\n")
    assert "shop" == load_app("site/shop.py")(None, None, None)


def test_a_file_never_replaces_a_module(folder: Path) -> None:
    """A file with the name of a module that is in use is imported under another name."""
    (folder / "json.py").write_text("def app(scope, receive, send): return __name__\n")
    assert "uwsgi_file_json" == load_app("json.py")(None, None, None)
    assert hasattr(sys.modules["json"], "dumps")


def test_packages(folder: Path) -> None:
    """A module inside of a package is named with dots, and close names are looked for in that package."""
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "shop" / "web.py").write_text("def app(scope, receive, send): return 'web'\n")
    assert "web" == load_app("shop.web")(None, None, None)
    with pytest.raises(BootError, match=r"no module shop\.wen: looked in .*shop and .* did you mean 'shop\.web'\?"):
        load_app("shop.wen:app")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can switch to a user without access")
@pytest.mark.parametrize(("name", "mode"), [("app.py", 0o700), ("app:app", 0o700), ("app:app", 0o711)])
def test_a_folder_that_the_user_may_not_enter(monkeypatch: pytest.MonkeyPatch, name: str, mode: int) -> None:
    """It is that which is said, with the user's name, and not that there is no such file or module."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, mode)
        Path(folder, "app.py").write_text("def app(environ, start_response): ...\n")
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", sys.path[:])
        os.seteuid(65534)
        try:
            with pytest.raises(BootError) as refused:
                load_app(name)
        finally:
            os.seteuid(0)
            monkeypatch.chdir("/")
    who = f"{user_name(65534)} has no access to {folder}, where the application is looked for"
    assert f"{who}; make it readable and searchable for that user, or move the application" == str(refused.value)


@pytest.mark.parametrize(
    ("spec", "factory", "message"),
    [
        ("helo", False, "there is no module helo: looked in {} and along sys.path; did you mean 'hello'?"),
        ("zzz:app", False, "there is no module zzz: looked in {} and along sys.path"),
        ("hello.application", False, "hello is a module, not a package; write hello:application"),
        ("hello:aplication", False, "has no 'aplication'; did you mean 'application'?"),
        ("hello:server", False, "has no 'server'; did you mean 'application'?"),
        ("hello:deep.iner", False, "has no 'deep.iner': looked for 'iner'; did you mean 'inner'?"),
        ("hello:text", False, "hello:text is not an application: it is of type str"),
        ("hello:text", True, "hello:text is not a factory: it is of type str"),
        ("hello:slow_factory", True, "is async, but is called before Trio runs"),
        ("hello:broken_factory", True, "calling hello:broken_factory failed: LookupError: no database"),
        ("hello:create_app()", False, "write hello:create_app with --factory"),
        ("hllo.py", False, "there is no file {}/hllo.py; did you mean 'hello.py'?"),
        ("no/such/folder/app.py", False, "there is no file {}/no/such/folder/app.py"),
        ("hello:", False, "'hello:' does not name an application"),
        (":app", False, "':app' does not name an application"),
        ("", False, "'' does not name an application"),
    ],
)
def test_wrong_names_say_what_was_looked_for(folder: Path, spec: str, factory: bool, message: str) -> None:
    """A name that leads nowhere is refused with what was looked for, where, and what is like it."""
    with pytest.raises(BootError) as caught:
        load_app(spec, factory=factory)
    assert message.format(folder) in str(caught.value)


@pytest.mark.parametrize("target", ["broken", "broken.py"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_dependency\n", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("import uwsgi\n", "No module named 'uwsgi'; start without --no-uwsgi-module"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("def app(:\n", "SyntaxError: invalid syntax"),
    ],
)
def test_an_import_that_fails_keeps_its_error(folder: Path, target: str, text: str, message: str) -> None:
    """What the application raises at import becomes the cause, with only its own frames in the traceback."""
    (folder / "broken.py").write_text(text)
    with pytest.raises(BootError) as caught:
        load_app(target)
    assert message in str(caught.value)
    cause = caught.value.__cause__
    assert cause is not None
    if cause.__traceback__ is not None:
        assert str(folder / "broken.py") == cause.__traceback__.tb_frame.f_code.co_filename
    assert "broken" not in sys.modules


def test_an_application_without_a_usual_name_is_asked_for(folder: Path) -> None:
    """Without `application` or `app` the error says so, with what is close to them."""
    (folder / "odd.py").write_text("def my_app(scope, receive, send): ...\n")
    with pytest.raises(BootError, match="odd has neither 'application' nor 'app'; did you mean 'my_app'\\?; name it"):
        load_app("odd")


# ----- options


def test_options_become_a_config(folder: Path) -> None:
    """Options are read into the fields of Config with their types; `--http` may be repeated."""
    serve = FakeServe()
    line = (
        "hello --http :0 --http /tmp/x.sock --chmod-socket 660 --workers 2 --threads=4 --mules 1 --harakiri 0.5 "
        "--timezone Europe/Rome --disable-logging --lifespan auto --max-body 100"
    )
    assert 0 == command.main(line.split(), serve)
    expected = Config(
        http=[":0", "/tmp/x.sock"],
        chmod_socket=0o660,
        workers=2,
        threads=4,
        mules=1,
        harakiri=0.5,
        timezone="Europe/Rome",
        disable_logging=True,
        max_body=100,
    )
    assert expected == serve.config
    assert "application" == serve.app({}, None)


def test_processes_are_workers_in_processes(folder: Path) -> None:
    """`-p` says how many workers there are, and that members are processes, which import the application themselves."""
    for line in ("hello:app -p 2", "hello:app --workers 2 --placement process"):
        serve = FakeServe()
        assert 0 == command.main(line.split(), serve)
        assert Config(workers=2, placement="process") == serve.config
        assert AppReference("name", "hello:app") == serve.app
    assert 2 == command.main(["hello:app", "-p", "2", "--workers", "3"])


def test_options_with_parts_become_a_config(folder: Path) -> None:
    """Caches, alarms and access rules are collected; `--socket` alone serves no HTTP."""
    serve = FakeServe()
    line = [
        *("hello", "-s", "127.0.0.1:3031", "--uwsgi-socket", "@app", "--modifier", "rpc=unix,10.0.0.0/8"),
        *("--cache2", "name=a,items=10,purge_lru=1,blocksize=100", "--cache2", "name=b,maxitems=2,store=b.cache"),
        *("--alarm", "note log:so it is", "--alarm", "tell signal:17", "--alarm-log", "note,tell ^panic"),
        *("--queue", "5", "--queue-blocksize", "100", "--queue-store", "queue", "--queue-store-sync", "1.5"),
        *("--metric", "orders", "--metric", "name=load,type=gauge"),
        *("--sharedarea", "2", "--sharedarea", "pages=1", "--sharedarea", "size=100", "--logformat", "%(uri)"),
        *("--locks", "3", "--node-timeout", "2.5", "--alarm-freq", "1"),
        *("-Q", "jobs", "--spooler", "mails", "--spooler-processes", "2", "--spooler-no-fsync", "--spooler-cheap"),
    ]
    assert 0 == command.main(line, serve)
    expected = Config(
        socket=["127.0.0.1:3031", "@app"],
        modifiers={"rpc": ["unix", "10.0.0.0/8"]},
        caches=[Cache("a", items=10, max_value=100, lru=True), Cache("b", items=2, store="b.cache")],
        queue=5,
        queue_blocksize=100,
        queue_store="queue",
        queue_store_sync=1.5,
        metrics=[Metric("orders"), Metric("load", type="gauge")],
        alarms={"note": "log:so it is", "tell": "signal:17"},
        alarm_log=["note,tell ^panic"],
        sharedarea=[8192, 4096, 100],
        log_format="%(uri)",
        locks=3,
        node_timeout=2.5,
        alarm_freq=1,
        spooler=["jobs", "mails"],
        spooler_processes=2,
        spooler_fsync=False,
        spooler_cheap=True,
    )
    assert dataclasses.asdict(expected) == dataclasses.asdict(serve.config)
    assert () == serve.config.addresses


def test_no_options_are_the_defaults(folder: Path) -> None:
    """Only Config knows the defaults; the command line adds none."""
    serve = FakeServe()
    assert 0 == command.main(["--factory", "hello:create_app"], serve)
    assert Config() == serve.config


def test_every_field_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Each field of Config is on the command line; `--help` shows them in groups."""
    options = {option.field for option in _command_options.OPTIONS}
    assert {field.name for field in dataclasses.fields(Config)} == options
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    assert 0 == caught.value.code
    text = capsys.readouterr().out
    for group in {option.group for option in _command_options.OPTIONS} | {"others"}:
        assert f"\n{group}:\n" in text
    for option in _command_options.OPTIONS:
        assert (option.flag or f"--{option.field.replace('_', '-')}") in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program, and says how it was built."""
    with pytest.raises(SystemExit) as caught:
        command.main(["--version"])
    assert 0 == caught.value.code
    assert re.fullmatch(r"trio-uwsgi [0-9.]+ \((compiled|pure Python)\)\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no application; write trio-uwsgi module:app"),
        ("--mules 2", "no application"),
        ("hello extra", "only one application can be served; 'extra' is unexpected"),
        ("--harakri 30 hello", "there is no option --harakri; did you mean --harakiri?"),
        ("hello --htp=:80", "there is no option --htp; did you mean --http?"),
        ("hello --mule 2", "--mule 2 is a number, not a script; write --mules 2"),
        ("hello --harak 3", "there is no option --harak; did you mean --harakiri?"),
        ("hello --keep_alive_timeout 3", "did you mean --keep-alive-timeout?"),
        ("hello --zzzz", "there is no option --zzzz; see trio-uwsgi --help"),
        ("hello --master", "uWSGI's option --master does not exist here; leave it out"),
        ("hello --http-socket :80", "uWSGI's option --http-socket does not exist here; write --http"),
        ("hello --umask 9", "'9' is not an octal number"),
        ("hello --env A", "'A' is not of the form NAME=VALUE"),
        ("hello --chown-socket www", "uWSGI's option --chown-socket does not exist here; leave it out"),
        ("hello --emperor dir", "command line: emperor = dir: run one server for each file"),
        ("hello --mules", "--mules needs a value"),
        ("uwsgi.ini", "command line: cannot read uwsgi.ini: No such file or directory; name a file that can be read"),
        (
            "hello --mules two",
            "trio-uwsgi: --mules: 'two' is neither a number nor a range",
        ),
        ("hello --harakiri soon", "trio-uwsgi: --harakiri: 'soon' is not a number of seconds"),
        ("hello --harakiri -1", "trio-uwsgi: --harakiri -1.0 is too small; use 0 for no limit"),
        ("hello --chmod-socket 999", "'999' is not an octal number"),
        (
            "hello --chmod-socket 660",
            "trio-uwsgi: --chmod-socket is set, but neither --http nor --socket names a unix socket file",
        ),
        ("hello --interface wsgy", "'wsgy' is not auto or wsgi or asgi; did you mean 'wsgi'?"),
        ("hello --log-level loud", "'loud' is not debug or info"),
        ("hello --http localhost", "'localhost' has no port; write localhost:8000"),
        ("hello --cache2 name=a,itmes=3", "cache2: there is no 'itmes'; did you mean 'items'?"),
        ("hello --cache2 name=a,items=3 --cache2 name=a,items=4", "two caches are called 'a'"),
        ("hello --metric name=a,typ=gauge", "metric: there is no 'typ'; did you mean 'type'?"),
        ("hello --queue-store q", "--queue-store is set, but there is no queue; add --queue 100"),
        ("hello --enable-metrics", "uWSGI's option --enable-metrics does not exist here; leave it out"),
        ("hello --sharedarea file=x", "a shared area has no 'file' here; write PAGES, pages=PAGES or size=BYTES"),
        ("hello --sharedarea 0", "a shared area of 0 bytes is not possible; use a whole number from 1 to"),
        ("hello --log-format %()", "--log-format has a variable without a name; use addr, cl"),
        ("hello --cache 10", "uWSGI's option --cache does not exist here; write --cache2"),
        ("hello --alarm a", "'a' is not of the form 'NAME KIND:ARGUMENT'"),
        ("hello --modifier rpc", "'rpc' is not of the form NAME=SOURCE,SOURCE"),
        ("hello --modifier spoon=any", "trio-uwsgi: --modifier: there is no 'spoon'"),
        ("hello --threads 0", "trio-uwsgi: --threads 0 is too small; use 1 or more\n"),
        ("hello --http :80 --chmod-socket 1", "; add one, as in --http /run/app.sock, or leave --chmod-socket out"),
        ("hello --lazy-apps", "--lazy-apps is set, but members are tasks of one process"),
        ("hello --lazy-apps", "; add --processes N, or leave --lazy-apps out\n"),
        ("hello --interface wsgi --lifespan on", "--interface wsgi contradicts --lifespan on"),
        ("hello --http :80 --http :80", "trio-uwsgi: --http names :80 twice"),
        ("hello --http :80 --socket :80", "trio-uwsgi: --http and --socket both name :80"),
        ("hello --keep-alive-timeout 0", "; use more than 0, or inf for no limit"),
        ("hello --timezone Rom", "trio-uwsgi: --timezone Rom does not exist on this machine"),
        ("hello --spooler-cheap", "trio-uwsgi: --spooler-cheap is set, but there is no spooler; add --spooler jobs"),
        (
            "hello --spooler-retry 10 --spooler-retry-longest 9",
            "--spooler-retry-longest 9 is less than --spooler-retry",
        ),
        ("hello --farm a:2 --mules 1", "farm 'a' has mule 2, which does not exist; use 1, or set mules higher"),
        ("hello --disable-logging=1", "--disable-logging takes no value"),
        ("hello --max-fd 9", "uWSGI's option --max-fd does not exist here; leave it out, set the limit with"),
        ("hello --compat", "--compat is for a configuration of uWSGI, as in trio-uwsgi --ini uwsgi.ini --compat"),
        ("hello --thunder-lock", "uWSGI's option --thunder-lock does not exist here; leave it out"),
        ("hello -b :80", "another server's option -b does not exist here; write --http HOST:PORT"),
        ("hello -b:80", "another server's option -b does not exist here; write --http HOST:PORT"),
        ("hello --timeout=30", "another server's option --timeout does not exist here; write --harakiri SEC"),
        ("hello -k uvicorn.workers.UvicornWorker", "another server's option -k does not exist here; leave it out"),
        (
            "hello --chdir /no/such/folder",
            "cannot change to the directory /no/such/folder: No such file or directory; use an existing one",
        ),
    ],
)
def test_mistakes_in_options_are_one_line(
    folder: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option or value is exit code 2 and one line, which says what was probably meant."""
    assert 2 == command.main(line.split(), FakeServe())
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("trio-uwsgi: ")
    assert 1 == error.count("\n")


def test_all_mistakes_are_told_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that do not exist, values that cannot be read, and then values that are impossible: a line for each."""
    line = ["-w", "4", "-b", ":80", "hello", "--thunder-lock", "--mules", "two", "--harakri", "3", "--umask", "--locks"]
    assert 2 == command.main([*line, "--reload=yes"], FakeServe())
    assert [
        "--umask needs",
        "--locks needs",
        "--reload takes",
        "-w",
        "-b",
        "--thunder-lock",
        "--harakri",
        "--mules",
    ] == [
        " ".join(re.findall(r"(?<!\S)--?[a-z-]+(?: needs| takes)?", line)[:1])
        for line in capsys.readouterr().err.replace(":", "").splitlines()
    ]
    assert 2 == command.main(["hello", "--threads", "0", "--harakiri", "-1", "--http", "nowhere"], FakeServe())
    assert 3 == len(capsys.readouterr().err.splitlines())


def test_hints_name_options_that_exist() -> None:
    """What another server's option is to be replaced by is one of ours, and no hint is for one of ours."""
    hints = _command_hints.FOREIGN_OPTIONS
    ours = {name for option in _command_options.OPTIONS for name in (_command_options.flag_of(option), *option.aliases)}
    ours |= {"--processes", "--factory", "--mount", "--config", "--print-config", "--logto"}
    assert set() == set(re.findall(r"(?<!\S)--[a-z0-9-]+", " ".join(hints.values()))) - ours
    assert set() == {f"--{name}" for name in hints} & ours


@pytest.mark.parametrize("option", _command_options.OPTIONS, ids=lambda option: str(option.field))
def test_refusals_are_in_the_words_of_the_command_line(option: _command_options.Option) -> None:
    """No refusal of a value tells to write a field of Config."""
    values: tuple[Any, ...] = (-1, "", "\0", ["\0", ""], {"": ""}, {"a b": "c"})
    for value in values:
        try:
            Config(**{option.field: value})
        except (ConfigError, TypeError) as error:  # a TypeError for what no command line gives
            lines = str(error).splitlines() if isinstance(error, ConfigError) else []
        else:
            lines = []
        for line in lines:
            told = _command_hints.in_options(line)
            assert not re.search(rf"\b({'|'.join(field.name for field in dataclasses.fields(Config))})=", told), told


def test_chdir_comes_before_the_application(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--chdir` makes the application of that directory importable."""
    monkeypatch.chdir("/")
    serve = FakeServe()
    assert 0 == command.main(["--chdir", str(folder), "hello"], serve)
    assert str(folder) == str(Path.cwd())
    assert serve.app is not None


def test_options_of_the_process_come_before_the_application(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and the umask are set when it is imported; with another user, `serve` imports it."""
    (folder / "shop.py").write_text("import os\nNAME = os.environ['SHOP']\ndef app(environ, respond): return NAME\n")
    monkeypatch.setenv("SHOP", "before")
    former = os.umask(0o022)
    serve = FakeServe()
    try:
        assert 0 == command.main(["shop", "--env", "SHOP=a=b", "--env", "B=", "--umask", "027"], serve)
        assert ("a=b", 0o027) == (serve.app({}, None), os.umask(former))
        monkeypatch.delenv("B")
    finally:
        os.umask(former)
    assert {"SHOP": "a=b", "B": ""} == serve.config.env
    assert 0 == command.main(["shop", "--uid", "33", "--gid", "www-data", "--pidfile", "p"], serve)
    assert (33, "www-data", "p") == (serve.config.uid, serve.config.gid, serve.config.pidfile)
    assert AppReference("name", "shop") == serve.app


# ----- exit codes


def test_an_app_that_does_not_import_is_exit_code_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own traceback is shown, and then one line with what was looked for."""
    (folder / "broken.py").write_text("def load():\n    raise LookupError('no database')\nload()\n")
    assert 4 == command.main(["broken:app"], FakeServe())
    error = capsys.readouterr().err
    assert "broken.py" in error
    assert "in load" in error
    assert "importlib" not in error
    assert "trio-uwsgi: importing broken failed: LookupError: no database" == error.splitlines()[-1]
    assert 4 == command.main(["helo"], FakeServe())
    assert "did you mean 'hello'?" in capsys.readouterr().err


def test_an_address_in_use_is_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line says which address, also when the error comes out of nurseries."""

    class Serve(FakeServe):
        async def __call__(self, app: Any, config: Config) -> None:
            async with open_listeners(config.addresses, config.socket_options):
                pytest.fail("it was opened")

    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert 3 == command.main(["hello", "--http", address], Serve())
        line = f"trio-uwsgi: cannot listen on {address}: the address is in use; stop the server that listens there"
        assert line in capsys.readouterr().err
    grouped = ExceptionGroup(
        "", [ExceptionGroup("", [ListenError("fd://3", "the descriptor is not open", "check it")])]
    )
    assert 3 == command.main(["hello"], raising(grouped))
    assert "trio-uwsgi: cannot listen on fd://3: the descriptor is not open; check it\n" == capsys.readouterr().err


def test_what_else_leaves_serve(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed start is 4, a wrong option found late 2, an interrupt 130 or 143; a crash leaves with its traceback."""
    assert 4 == command.main(["hello"], raising(BootError("lifespan startup failed")))
    assert 2 == command.main(["hello"], raising(ConfigError("it is neither", "say interface=")))
    assert 130 == command.main(["hello"], raising(KeyboardInterrupt()))
    assert 130 == command.main(["hello"], raising(BaseExceptionGroup("", [KeyboardInterrupt()])))
    assert "trio-uwsgi: lifespan startup failed\ntrio-uwsgi: it is neither; say interface=\n" == capsys.readouterr().err
    for stop in (SystemExit(143), BaseExceptionGroup("", [SystemExit(143)])):
        with pytest.raises(SystemExit, match="143"):
            command.main(["hello"], raising(stop))
    with pytest.raises(OSError, match="too many"):
        command.main(["hello"], raising(OSError(errno.EMFILE, "too many files")))
    with pytest.raises(BaseExceptionGroup, match="two"):
        command.main(["hello"], raising(BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()])))


# ----- as a process of its own

SLEEPY = """
import time
import trio

async def app(scope, receive, send):
    if scope["path"] == "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"wait", "more_body": True})
        await trio.sleep_forever()
    if scope["path"] == "/block":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"wait", "more_body": True})
        time.sleep(3600)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"quick"})
"""


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the command line in a process of its own until the body ends; gives it, and the port it serves."""
    root = Path(command.__file__).parent.parent
    line = [sys.executable, "-m", "trio_uwsgi", "--lifespan", "off", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            for text in process.stderr:
                if found := re.search(r"http on 127\.0\.0\.1:(\d+)", text):
                    yield process, int(found.group(1))
                    break
            else:
                pytest.fail("it ended before it served")
        finally:
            guard.cancel()
            process.kill()


def get(port: int, path: str) -> socket.socket:
    """Send a request, and give back the connection once its answer has begun."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert b"HTTP/1.1 200 OK" == client.recv(15)
    return client


@pytest.mark.parametrize("posix_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_graceful_stop_is_exit_code_0(folder: Path, posix_signal: signal.Signals) -> None:
    """The application is served until SIGINT or SIGTERM, and the socket file is gone after it."""
    (folder / "sleepy.py").write_text(SLEEPY)
    with running("sleepy.py", "--http", "127.0.0.1:0", "--http", "./s.sock") as (process, port):
        with get(port, "/") as client:
            answer = b"".join(iter(lambda: client.recv(1000), b""))
            assert answer.endswith(b"quick")
        assert (folder / "s.sock").exists()
        process.send_signal(posix_signal)
        assert 0 == process.wait(30)
    assert not (folder / "s.sock").exists()


@pytest.mark.parametrize("posix_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait(folder: Path, posix_signal: signal.Signals) -> None:
    """A request that does not end holds up a graceful stop; a second signal cuts it, and the exit code says which."""
    (folder / "sleepy.py").write_text(SLEEPY)
    with running("sleepy:app", "--http", "127.0.0.1:0") as (process, port), get(port, "/slow") as client:
        process.send_signal(posix_signal)
        assert process.stderr is not None
        assert any(posix_signal.name in line for line in process.stderr)  # it was seen: two at once would be one
        process.send_signal(posix_signal)
        assert 128 + posix_signal == process.wait(30)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(1000):
                pass


@pytest.mark.parametrize("posix_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_blocked_server_can_be_ended(folder: Path, posix_signal: signal.Signals) -> None:
    """An application that blocks Trio's thread can keep the first two signals from being seen, and not the third."""
    (folder / "sleepy.py").write_text(SLEEPY)
    with running("sleepy:app", "--http", "127.0.0.1:0") as (process, port), get(port, "/block"):
        while process.poll() is None:
            process.send_signal(posix_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert -posix_signal == process.returncode


def test_options_are_refused_as_a_process(folder: Path) -> None:
    """`python -m trio_uwsgi` gives the exit code to the shell and the line to standard error."""
    root = Path(command.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "trio_uwsgi", "hello", "--harakri", "3"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert 2 == done.returncode
    assert "" == done.stdout
    assert "trio-uwsgi: there is no option --harakri; did you mean --harakiri?\n" == done.stderr
