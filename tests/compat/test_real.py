"""An application of uWSGI, with its decorators, behind a real server in each mode."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.real.servers import serving, until, write

pytestmark = pytest.mark.real

SOURCE = """
import uwsgi
from uwsgidecorators import farm, lock, mule, mulefunc, mulemsg, postfork, rpc, signal, spool, timer

def note(name, value=b"1"):
    uwsgi.cache_update(name, value)

@timer(1, target="mule1")
def tick(signum):
    note("timer")

@signal(99, target="mule")
def on_signal(signum):
    note("signal", b"%d" % signum)

@spool(pass_arguments=True)
def job(number, text):
    note("job", f"{number} {text}")

@mulefunc(1)
def heavy(value):
    note("mulefunc", value)

@postfork
def begin():
    uwsgi.cache_inc("begun")

@mule(2)
def program():
    note("mule", b"%d" % uwsgi.mule_id())

@mulemsg(3)
def message(data):
    note("mulemsg", data)

@farm("f")
def of_farm(data):
    note("farm", data)

@rpc("double")
def double(value):
    return value * 2

@lock
def locked():
    return uwsgi.is_locked()

def in_thread():
    uwsgi.cache_inc("thread")

def go():
    heavy(b"heavy")
    job(17, text="text")
    uwsgi.signal(99)
    uwsgi.mule_msg(b"message", 3)
    uwsgi.farm_msg("f", b"farm")
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(30)
    return uwsgi.worker_id() > 0, locked(), uwsgi.call(b"double", b"ab"), uwsgi.is_locked(1), uwsgi.cache_num("thread")

def found():
    names = ("timer", "signal", "job", "mulefunc", "mule", "mulemsg", "farm")
    return {name: uwsgi.cache_get(name) for name in names}
"""
OPTIONS = ("--mules", "4", "--farm", "f:4", "--spooler", "jobs", "--cache2", "name=c,items=100", "--locks", "1")
FOUND = {
    "timer": b"1",
    "signal": b"99",
    "job": b"17 text",
    "mulefunc": b"heavy",
    "mule": b"2",
    "mulemsg": b"message",
    "farm": b"farm",
}


@pytest.mark.parametrize("mode", ["tasks", "threads", "processes", "threaded processes"])
def test_an_application_of_uwsgi(mode: str, tmp_path: Path) -> None:
    """Every function answers in a view, every decorated function runs in its member, and the server stops in order."""
    with serving(tmp_path, SOURCE, mode, *OPTIONS) as server:
        assert "(True, True, b'abab', False, 1)" == server.get("/go", 60)
        until(lambda: server.get("/found") == repr(FOUND), 60, lambda: (server.get("/found"), server.said))
        assert 0 == server.end(seconds=60)
    assert "Traceback" not in server.said


BRAIN = """
import time
import uwsgi
while True:
    message = uwsgi.mule_get_msg()
    uwsgi.cache_update("brain", b"VERSION " + message)
    if message == b"block":
        time.sleep(1000)
"""
SENDER = """
import uwsgi
def send():
    return uwsgi.mule_msg(b"message", 1)
def block():
    return uwsgi.mule_msg(b"block", 1)
def found():
    return uwsgi.cache_get("brain")
"""


@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_a_script_that_blocks(mode: str, tmp_path: Path) -> None:
    """It handles messages, in processes also after a message that blocked past the limit and after a reload; a stop
    ends it while it waits.
    """
    script = tmp_path / "brain.py"
    script.write_text(BRAIN.replace("VERSION", "one"))
    options = ("--mule", "brain.py", "--mule-harakiri", "2", "--cache2", "name=c,items=10", "--mercy", "20")
    with serving(tmp_path, SENDER, mode, *options) as server:

        def handles(path: str, expected: bytes) -> None:
            assert "True" == server.get(path, 60)
            until(lambda: server.get("/found", 60) == repr(expected), 60, lambda: server.said)

        handles("/send", b"one message")
        if mode == "processes":
            handles("/block", b"one block")
            server.wait_for("harakiri", "is stuck", seconds=60)
            handles("/send", b"one message")
            script.write_text(BRAIN.replace("VERSION", "two"))
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("reloaded", seconds=60)
            handles("/send", b"two message")
        assert 0 == server.end(seconds=60)


READER = """
import os, signal, uwsgi
while True:
    message = uwsgi.mule_get_msg()
    with open("read", "ab") as file:
        file.write(message + b"\\n")
    if message == b"150" and not os.path.exists("killed"):
        open("killed", "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
"""
BURST = """
import uwsgi
def send():
    return all(uwsgi.mule_msg(b"%d" % number, 1) for number in range(COUNT))
"""
COUNT = 500


@pytest.mark.processes
def test_a_burst_for_a_script_that_is_killed(tmp_path: Path) -> None:
    """A script gets the messages of a burst in order, one of them twice when it is killed, and none is lost."""
    (tmp_path / "reader.py").write_text(READER)
    read = tmp_path / "read"
    options = ("--mule", "reader.py", "--mercy", "20")
    with serving(tmp_path, BURST.replace("COUNT", str(COUNT)), "processes", *options) as server:
        assert "True" == server.get("/send", 60)
        until(lambda: read.exists() and read.read_bytes().endswith(b"\n%d\n" % (COUNT - 1)), 60, lambda: server.said)
        server.wait_for("redelivering the message of 3 bytes")
        assert 0 == server.end(seconds=60)
    expected = [*range(151), *range(150, COUNT)]
    assert expected == [int(line) for line in read.read_bytes().split()]


BOTH = """
import uwsgi
from uwsgidecorators import mule
@mule(1)
def before():
    uwsgi.cache_update("before", b"1")
@mule(2)
def endless():
    uwsgi.cache_update("endless", b"2")
    while True:
        time.sleep(0.05)
def found():
    return [uwsgi.cache_get(name) for name in ("before", "endless", "brain")]
"""


@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_a_script_and_a_decorated_program(mode: str, tmp_path: Path) -> None:
    """A mule that has both runs the decorated function, then the script, and the server does not wait for their end."""
    (tmp_path / "brain.py").write_text("import uwsgi\nuwsgi.cache_update('brain', b'%d' % uwsgi.mule_id())\n")
    options = ("--mule", "brain.py", "--mule", "brain.py", "--cache2", "name=c,items=10", "--mercy", "1")
    with serving(tmp_path, BOTH, mode, *options) as server:
        until(lambda: server.get("/found", 60) == repr([b"1", b"2", b"1"]), 60, lambda: server.said)
        server.wait_for("http on")
        server.end(seconds=60)
    assert "before anything was served" not in server.said


JOBS = """
import os, uwsgi
def spooler(env):
    how = env[b"how"].decode()
    uwsgi.cache_inc(how)
    if how == "block" and uwsgi.cache_num(how) == 1:
        time.sleep(1000)
    while how == "wait" and not os.path.exists("go"):
        time.sleep(0.02)
    uwsgi.cache_update("done", b"VERSION " + env[b"how"])
    return uwsgi.SPOOL_OK
uwsgi.spooler = spooler
def block():
    return bool(uwsgi.spool({b"how": b"block"}))
def wait():
    return bool(uwsgi.spool({b"how": b"wait"}))
def found():
    return uwsgi.cache_get("done"), uwsgi.cache_num("block"), uwsgi.cache_num("wait")
"""


@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_a_spooler_that_blocks(mode: str, tmp_path: Path) -> None:
    """In processes a job that blocks past the limit is tried again, and a reload waits for the one that runs."""
    options = ("--spooler", "jobs", "--spooler-harakiri", "10", "--cache2", "name=c,items=10", "--mercy", "20")
    (tmp_path / "go").touch()
    with serving(tmp_path, JOBS.replace("VERSION", "one"), mode, *options) as server:

        def ends(path: str, expected: tuple[bytes, int, int]) -> None:
            assert "True" == server.get(path, 60)
            until(lambda: server.get("/found", 60) == repr(expected), 60, lambda: server.get("/found") + server.said)

        ends("/wait", (b"one wait", 0, 1))
        if mode == "processes":
            ends("/block", (b"one block", 2, 1))
            server.wait_for("harakiri", "is stuck", seconds=60)
            (tmp_path / "go").unlink()
            assert "True" == server.get("/wait", 60)
            until(lambda: server.get("/found", 60) == repr((b"one block", 2, 2)), 60, lambda: server.said)
            write(tmp_path, JOBS.replace("VERSION", "two"))
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("reloaded", seconds=60)
            (tmp_path / "go").touch()
            until(lambda: server.get("/found", 60) == repr((b"one wait", 2, 2)), 60, lambda: server.said)
            ends("/wait", (b"two wait", 2, 3))
        assert 0 == server.end(seconds=60)
