"""What becomes of options: words of our command line, and an explanation of each."""

from __future__ import annotations

import re
import shlex
import sys
from types import ModuleType

import pytest

from tests.uwsgi_config.machines import reading, translation
from trio_uwsgi._program.check_command import mistakes, with_impossible_values
from trio_uwsgi._program.command_line import takes_value
from trio_uwsgi._uwsgi_config.known_options import NAMES, OPTIONAL_VALUE, SHORT, WITHOUT_VALUE
from trio_uwsgi._uwsgi_config.reading import INCLUDES, LOGIC, PLACEHOLDERS
from trio_uwsgi._uwsgi_config.table import FAMILIES, OPTIONS, ROWS, hint_for, row_of
from trio_uwsgi._uwsgi_config.translation import translate

pytestmark = pytest.mark.pure


def words_of(text: str, *, compat: bool = False) -> str:
    """The command line of a section, without what is always there."""
    words = shlex.join(translation(text, compat=compat).words)
    return words.replace("--processes 1 ", "").replace("--pythonpath . ", "").removesuffix("--pythonpath .").strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("module = a:b", "a:b"),
        ("module = a", "a"),
        ("module = mysite.wsgi\ncallable = app", "mysite.wsgi:app"),
        ("wsgi = a:make()", "a:make --factory"),
        ("wsgi-file = a.py\ncallable = app", "./a.py:app"),
        ("file = /x/a.wsgi", "/x/a.wsgi"),
        ("module = a\nif-env = X\ncallable = b\nmodule = c\nendif =", "a"),
        ("mount = /x=a:b\nmount = /=c.py", "./c.py --mount /x=a:b"),
        ("mount = /x=a", "a --mount /x=a"),
        ("mount = /x=a.wsgi\nmodule = b", "b --mount /x=./a.wsgi"),
        ("mount = /x=a()\nmodule = b", "b --mount '/x=a()'"),
        ("mount = =a:make()", "a:make --factory"),
        ("socket = app.sock\nhttp = *:80", "--socket unix:app.sock --http :80"),
        ("socket = 127.0.0.1:0\nprotocol = http", "--http 127.0.0.1:0"),
        ("https = :443,a,b", "--https :443,a,b"),
        ("shared-socket = :443\nhttps = =0,a,b\nsocket = =0", "--https :443,a,b --socket :443"),
        ("http-socket = :80\nchmod-socket = 660", "--http :80"),
        ("socket = /s\nchmod-socket", "--socket /s --chmod-socket 666"),
        ("socket = /s\nchmod = 660", "--socket /s --chmod-socket 660"),
        ("uid = a\nchown-socket = a", "--uid a"),
        ("static-map2 = /x=/y", "--check-static /y"),
        ("static-expires = x 30", "--static-expires 'x 30'"),
        ("websockets-max-size = 2\nwebsocket-max-size = x", "--max-websocket-message 2048 --max-websocket-message x"),
        ("workers = 4", "--processes 4"),
        ("mule\nmule =", "--mules 2"),
        ("mule\nmules = 3\nfarm = a:1", "--mules 3 --farm a:1"),
        ("mule = brain.py\nmule\nmule = shop:work", "--mules 1 --mule brain.py --mule shop:work"),
        ("lazy = false\nlazy-apps = true", "--lazy-apps"),
        ("py-autoreload = 1\npy-autoreload = 0", "--reload"),
        ("touch-chain-reload = x", "--chain-reload --touch-reload x"),
        ("cache2 = name=a,items=3,blocks=4", "--cache2 name=a,items=3"),
        ("cache2 = name=a,items=3", "--cache2 name=a,items=3"),
        ("cache = 30", "--cache2 name=default,items=30"),
        ("spooler-frequency = 3", ""),
        ("spooler-frequency = 3\nspooler = d", "--spooler-frequency 3 --spooler d"),
        ("attach-control-daemon = a, b\\c", "--attach-daemon2 'cmd=a\\, b\\\\c,control=1'"),
        ("smart-attach-daemon2 = /p a b", "--smart-attach-daemon '/p a b'"),
        ("cron = 1 2 3 4 5 a b", "--cron '1 2 3 4 5 a b'"),
        ("cron2 = minute=5 a", "--cron 'minute=5 a'"),
        ("unique-cron = 1 2 3 4 -1 a b", "--cron 'minute=1,hour=2,day=3,month=4,week=-1,unique=1 a b'"),
        ("unique-cron = often", "--cron often"),
        ("exec-asap = a b", "--hook 'asap exec:a b'"),
        ("hook-in-jail = cd:/x\nhook-accepting1 = print:x", "--hook 'as-root cd:/x' --hook 'master-start print:x'"),
        ("timer = 1 2\nrbtimer = 3 4", "--timer '1 2' --timer '3 4'"),
        ("mercy = 9\nchain-reload = true\nspooler-no-fsync = off", "--mercy 9 --chain-reload"),
        ("plugins = python3, http", ""),
        ("protocol = uwsgi", ""),
        ("x = 1\nchdir = /%(x)", "--chdir /1"),
    ],
)
def test_words(text: str, expected: str) -> None:
    """What a configuration is on our command line."""
    assert expected == words_of(text)


def test_workers_are_processes() -> None:
    """One worker is a process too, and modules are looked for in the current folder, as in uWSGI."""
    assert ["a", "--processes", "1", "--pythonpath", "."] == list(translation("module = a").words)
    assert [] == [word for word in translation("module = a\nprocesses = 2").words if word == "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emperor = x", "refused uwsgi.ini:2: emperor = x: run one server for each file"),
        ("plugins = php, psgi", "there is no php and no psgi here, Python only"),
        ("protocol = fastcgi", "serve the uwsgi protocol or HTTP"),
        ("socket = =0", "there is no such shared-socket; name the address"),
        ("shared-socket = :1\nhttps = =1,a,b", "there is no such shared-socket; name the address"),
        ("chown-socket = www", "refused uwsgi.ini:2: chown-socket = www: write uid and gid"),
        ("mount = x", "refused uwsgi.ini:2: mount = x: write mount = /prefix=module:callable"),
        ("hook-as-emperor = ls", "run it around the server"),
        ("vassals-include = x", "run one server for each file"),
        ("tcp-fast-open-client", "it is not supported"),
        (
            "procesess = 3",
            "unknown uwsgi.ini:2: procesess = 3: there is no such option; write processes if "
            "you mean that, or set = procesess=... for uwsgi.opt",
        ),
        ("zzz", "unknown uwsgi.ini:2: zzz: there is no such option; remove it, or set = zzz=... for uwsgi.opt"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    """What keeps the server from starting has its line and a replacement."""
    found = translation(f"{text}\nmodule = a")
    assert 1 == len(found.wrong)
    assert message in f"{found.wrong[0].kind} {mistakes(found)[0]}"


def test_lines_that_a_disabled_log_lacks_too() -> None:
    """uWSGI logs failures with `disable-logging`, too, if `log-5xx` asks for them."""
    given = [
        translation(f"{rest}\nlog-5xx = true\nmodule = a") for rest in ("", "disable-logging = 0", "disable-logging")
    ]
    notes = [line.note for found in given for line in found.lines if line.setting.name == "log-5xx"]
    assert [
        "the access log has every request",
        "the access log has every request",
        "disable-logging disables these lines too; leave it out to have every request",
    ] == notes


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that would not start for it is told so."""
    found = translation("module = a\npy-autoreload = 1")
    monkeypatch.setitem(sys.modules, "watchfiles", ModuleType("watchfiles"))
    assert [] == mistakes(found)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert ["reload needs watchfiles; pip install 'trio-uwsgi[reload]', or use --touch-reload"] == mistakes(found)


def test_values_that_cannot_be_read_are_told_with_the_line() -> None:
    """An option's value is judged where it stands; what contradicts another option is told for all."""
    found = with_impossible_values(translation("module = a\nharakiri = soon\nthreads = 2"))
    assert ["uwsgi.ini:3: harakiri = soon: --harakiri: 'soon' is not a number of seconds"] == mistakes(found)
    assert ["--threads 0 is too small; use 1 or more"] == mistakes(translation("module = a\nthreads = 0"))
    assert () == translation("mount = x").application
    assert ["no application; write module = package.module:callable, or wsgi-file = path/to/file.py"] == mistakes(
        translation("threads = 1")
    )


def test_refused_options_and_contradictions_are_told_together() -> None:
    """One run tells all; but nothing about an option that is refused, which counts as not given."""
    found = with_impossible_values(translation("module = a\nemperor = x\nprocesses = many\nlazy-apps\nthreads = 0"))
    first, second, *others = mistakes(found)
    assert first.startswith("uwsgi.ini:3: emperor = x: ")
    assert second.startswith("uwsgi.ini:4: processes = many: ")
    assert ["--threads 0 is too small; use 1 or more"] == others
    found = with_impossible_values(translation("module = a\nmercy = soon\nstop-streams = 40"))
    assert 1 == len(mistakes(found))


def test_the_options_that_the_application_sees() -> None:
    """`uwsgi.opt` has the settings as they are written: also names of the application's own, and of switches True."""
    text = "set = shop=a\nmodule = a\nhttp-socket = :80\nif-env = X\nthreads = 2\nendif =\nharakiri = 3\nmaster"
    found = translation(text + "\nstatic-map = /a=b\nstatic-map = /c=d", "--lazy-apps")
    assert [] == mistakes(found)
    assert {
        "lazy-apps": True,
        "ini": b"uwsgi.ini",
        "set": b"shop=a",
        "shop": b"a",
        "module": b"a",
        "http-socket": b":80",
        "if-env": b"X",
        "endif": b"",
        "harakiri": b"3",
        "master": b"",
        "static-map": [b"/a=b", b"/c=d"],
    } == found.options


def test_what_is_off_is_no_mistake() -> None:
    """Switches with one of uWSGI's words for no do nothing, refused ones too."""
    text = "".join(
        f"catch-exceptions = {word}\nvacuum = {word}\nlazy-apps = {word}\n" for word in ("false", "0", "No", "off")
    )
    found = translation(f"module = a\n{text}")
    assert ((), "a --processes 1 --pythonpath .") == (found.wrong, " ".join(found.words))


def test_an_option_of_ours_is_not_refused() -> None:
    """What the table refuses counts, if our command line has an option of this name."""
    found = translate(reading("[uwsgi]\nmodule = a\ncron = x\n"), lambda name: name == "cron" or None)
    assert (("--cron", "x"), ()) == (found.words[-2:], found.wrong)


def test_compat() -> None:
    """With uWSGI's defaults its unknown options are ignored, too; what is written wins, as it comes later."""
    found = translation("module = a\nbuffer-size = 8192\nspooler = d\nzzz = 1", compat=True)
    assert () == found.wrong
    words = list(found.words)
    sizes = [words[at + 1] for at, word in enumerate(words) if word == "--max-header-size"]
    assert ["4096", "8192"] == sizes
    assert {"--listen", "--mercy", "--spooler-no-fsync", "--spooler-max-tries"} < {*words}
    assert "--spooler-no-fsync" not in translation("module = a", compat=True).words
    assert [] == [word for word in words if word.startswith("--") and takes_value(word[2:]) is None]


def test_the_table_knows_each_name_once() -> None:
    """No name has two rows, and the names are uWSGI's, or of a build with TLS, or of plugins that the wheel has not."""
    names = [name for row in ROWS for name in row.names]
    assert sorted(set(names)) == sorted(names)
    others = "asyncio cap drop-capabilities external-spooler greenlet http-to-https https https2 https-export-cert "
    others += "https-socket spooler-cheap static-check-docroot websockets ssl-sessions-use-cache sni sni-dir "
    others += "legion-cron cron-legion unique-legion-cron unique-cron-legion legion-attach-daemon "
    others += "legion-smart-attach-daemon legion-smart-attach-daemon2 "
    others += "legion legion-mcast legion-node legion-lord legion-unlord legion-setup"
    assert {*others.split()} == {*names} - NAMES
    assert set() == {*names} & (INCLUDES | LOGIC | PLACEHOLDERS)
    assert 150 < sum(row.verdict in ("supported", "mapped", "ignored") for row in ROWS for _ in row.names)


def test_words_of_the_table_exist() -> None:
    """What a row says to write is an option of ours; supported ones have its name, and take a value or not as there."""
    for row in ROWS:
        for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", f"{row.becomes} {row.note}"):
            assert takes_value(word[2:]) is not None, (row.names, word)
        if row.verdict == "supported":
            assert row.becomes.startswith(f"--{row.names[0]}")
            assert takes_value(row.names[0]) == (row.names[0] not in WITHOUT_VALUE | {"spooler-cheap"})
        assert row.note or row.verdict in ("supported", "mapped"), row.names


def test_hints() -> None:
    """On our own command line an option of uWSGI is answered with what to write."""
    assert "write --http ADDR, workers serve HTTP themselves, there is no router process" == hint_for("http-socket")
    assert "leave it out, there is always a master" == hint_for("master")
    assert "write a narrower alarm-log" == hint_for("alarm-fd")
    assert "name the application as the first argument: module:callable, or path/to/file.py" == hint_for("callable")
    assert hint_for("zzz") is None
    assert "write --lazy-apps" == hint_for("lazy")


def test_every_option_has_an_answer() -> None:
    """Each name that uWSGI knows has a row or a family, and each family has a name; letters stand for names."""
    steering = INCLUDES | LOGIC | PLACEHOLDERS
    assert set() == {name for name in NAMES - steering if row_of(name) is None}
    for beginning in FAMILIES:
        assert any(name.startswith(beginning) for name in NAMES - set(OPTIONS)), beginning
    assert set(SHORT.values()) < NAMES
    assert set() == WITHOUT_VALUE & OPTIONAL_VALUE
