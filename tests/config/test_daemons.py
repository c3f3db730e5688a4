"""Programs that run beside the server: what of them is possible, and uWSGI's forms of them."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi import Config, Daemon
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


def test_commands_and_daemons() -> None:
    """One program or several, each as a command or with more."""
    beat = Daemon("beat", pidfile="/run/beat.pid", touch="restart")
    assert (Daemon("worker"),) == Config(attach_daemon="worker").daemons
    assert (beat,) == Config(attach_daemon=beat).daemons
    assert (Daemon("worker"), beat) == Config(attach_daemon=["worker", beat]).daemons
    assert ("restart",) == beat.touch
    assert "beat" == str(beat)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cmd=a -b", Daemon("a -b")),
        (r"cmd=a\,b\\n=1,stopsignal=2", Daemon("a,b\\n=1", stopsignal=2)),
        ("exec=a,pidfile=/p,control=1,freq=3,daemonize=1", Daemon("a", pidfile="/p", control=True)),
        ("command=a,control=0,touch=x;y,touch=z", Daemon("a", touch=["x", "y", "z"])),
        ("cmd=a,stop_signal=15,reload_signal=1,uid=33,gid=www", Daemon("a", reloadsignal=1, uid=33, gid="www")),
    ],
)
def test_the_form_of_uwsgi(text: str, expected: Daemon) -> None:
    """Keys with values; a backslash before a comma of a value."""
    assert expected == Daemon.parse(text)


def test_smart_daemons() -> None:
    """A pidfile, and a command behind it."""
    assert Daemon("a -b c", pidfile="/p") == Daemon.smart("/p  a -b c")
    for text in ("", "/p", "/p "):
        with pytest.raises(ConfigError, match="is not a pidfile with a command; write"):
            Daemon.smart(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pidfile=/p", "lacks a command; write cmd=COMMAND"),
        ("a", r"attach_daemon: 'a' is not of the form KEY=VALUE; write a comma of a value as \,"),
        ("cmd=a,ns_pid=1", "attach_daemon: 'ns_pid' does not exist here; leave it out: there are no namespaces"),
        ("cmd=a,pidfle=/p", "attach_daemon: there is no 'pidfle'; did you mean 'pidfile'?"),
        ("cmd=a,zzz=/p", "attach_daemon: there is no 'zzz'; use cmd, pidfile, control, touch, stopsignal,"),
        ("cmd=a,stopsignal=x", "stopsignal=-1 is not a posix signal; write a number, as in stopsignal=2"),
        ("cmd=a,stopsignal=0", "stopsignal=0 is not a posix signal"),
        ("cmd=a,reloadsignal=500", "reloadsignal=500 is not a posix signal"),
        ("cmd= ", "attach_daemon=' ' is not a command"),
    ],
)
def test_impossible_forms(text: str, message: str) -> None:
    """Each error says what to write."""
    with pytest.raises(ConfigError) as caught:
        Daemon.parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attach_daemon": 3}, "attach_daemon=3 is not a command; write"),
        ({"attach_daemon": [3]}, "attach_daemon=3 is not a command; write"),
        ({"attach_daemon": {"command": "a"}}, "is not a command; write"),
        (
            {"attach_daemon": Daemon("a", uid=33), "uid": "www"},
            "the server itself gives up root for another user; leave",
        ),
    ],
)
def test_impossible_values(options: dict[str, Any], message: str) -> None:
    """What is no program, and a user that cannot be switched to any more."""
    with pytest.raises(ConfigError) as caught:
        Config(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"touch": 3}, "touch=3 is not a path"),
        ({"touch": [""]}, "touch='' is not a path"),
        ({"pidfile": ""}, "pidfile='' is not a path"),
        ({"control": 1}, "control=1 is neither True nor False"),
        ({"uid": -1}, "uid=-1 is neither a name nor a number"),
        ({"stopsignal": "TERM"}, "stopsignal='TERM' is not a posix signal"),
    ],
)
def test_impossible_fields(options: dict[str, Any], message: str) -> None:
    """Each field has its error."""
    with pytest.raises(ConfigError) as caught:
        Daemon("a", **options)
    assert message in str(caught.value)
