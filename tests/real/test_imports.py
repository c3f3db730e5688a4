"""What the application's code calls while it is imported, in every placement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.servers import command, environment, every_mode, serving, until, write
from trio_uwsgi._process.member_process import CANNOT_START

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

SOURCE = """
import json, uwsgi
from pathlib import Path
from trio_uwsgi import sync, uwsgi as native

ran = []

def function(*args):
    return b"-".join(args)

async def in_trio(*args):
    import trio
    await trio.sleep(0)
    return b"async"

def on_signal(signum):
    ran.append(signum)
    uwsgi.cache_inc(f"signal {signum}")

def on_message(message):
    uwsgi.cache_inc(message)

def on_job(job):
    uwsgi.cache_inc(job[b"name"])
    return uwsgi.SPOOL_OK

def of_thread():
    uwsgi.cache_inc("thread")
    uwsgi.lock(1)
    found.append(uwsgi.is_locked(1))

uwsgi.spooler, uwsgi.mule_msg_hook = on_job, on_message
uwsgi.register_signal(17, "workers", on_signal)
uwsgi.register_signal(18, "mule1", on_signal)
uwsgi.register_rpc("function", function)
uwsgi.register_rpc("in_trio", in_trio)
identity = [uwsgi.worker_id(), uwsgi.mule_id(), uwsgi.ready(), uwsgi.numproc, "cache2" in native.opt]
uwsgi.lock(0)  # with lazy applications, one import after the other
found = [
    uwsgi.cache_update("item", "value"), uwsgi.cache_get("item"), uwsgi.cache_inc("imports"),
    sync.cache_inc("imports", 0) > 0, sync.cache_get("item"),
    uwsgi.queue_push("message"), uwsgi.queue_pull(), uwsgi.queue_push("kept"),
    uwsgi.metric_inc("m", 3), uwsgi.metric_get("m") % 3,
    uwsgi.sharedarea_write(0, 0, b"area"), uwsgi.sharedarea_inc64(0, 8), uwsgi.sharedarea_read(0, 0, 4),
    uwsgi.is_locked(), uwsgi.is_locked(1),
    uwsgi.call(b"function", b"a", b"b"), uwsgi.rpc(None, b"in_trio"), uwsgi.call(b"none"),
    uwsgi.rpc("127.0.0.1:1", b"function"), uwsgi.cache_get("item", "c@127.0.0.1:1"), uwsgi.suspend(),
    uwsgi.signal(17), uwsgi.signal(18), uwsgi.mule_msg(b"message 1", 1), uwsgi.farm_msg("f", b"message 2"),
    bool(uwsgi.spool({b"name": b"job"})), uwsgi.alarm("a", "of the import"),
    uwsgi.sharedarea_wlock(0), uwsgi.sharedarea_unlock(0), len(uwsgi.workers()), uwsgi.total_requests() in (0, 1),
]
with sync.locked(2):
    found.append(uwsgi.is_locked(2))
thread = threading.Thread(target=of_thread)
thread.start()
thread.join()
uwsgi.unlock(0)
view = uwsgi.sharedarea_memoryview(0)
Path(f"imported-{os.getpid()}").write_text(repr((identity, found)))

def stored():
    return uwsgi.cache_get("item"), uwsgi.queue_last(), bytes(view[:4]), uwsgi.sharedarea_read(0, 0, 4)

def counted():
    names = ("imports", "thread", "signal 18", "message 1", "message 2", "job")
    counts = [uwsgi.metric_get("m") / 3, uwsgi.sharedarea_read64(0, 8), *map(uwsgi.cache_num, names)]
    return json.dumps([*counts, uwsgi.cache_num("signal 17")])

def unlocked():
    return uwsgi.is_locked(0), uwsgi.is_locked(1)
"""
OPTIONS = (
    *("--mules", "1", "--farm", "f:1", "--spooler", "jobs", "--cache2", "name=c,items=100", "--queue", "1"),
    *("--sharedarea", "1", "--metric", "name=m", "--locks", "2", "--alarm", "a log:"),
)
FOUND = (
    *(True, b"value", True, True, b"value", True, b"message", True, True, 0, None, None, b"area", True, False),
    *(b"a-b", b"async", None, None, None, True, None, None, True, None, True, None, None, None),
)


def imports(folder: Path) -> list[tuple[list[object], list[object]]]:
    """What each import has found: who it was, and the answers."""
    return [eval(path.read_text()) for path in folder.glob("imported-*")]


@every_mode
def test_calls_of_an_import(tmp_path: Path, mode: str) -> None:
    """They work as in members. What is stored is there for members, and what is sent reaches them once they serve."""
    with serving(tmp_path, SOURCE, mode, *OPTIONS) as server:
        lazy = mode == "lazy"
        workers = 1 if mode in ("tasks", "threads") else 2
        expected = workers + 2 if lazy else 1  # with a mule and a spooler
        until(lambda: len(imports(tmp_path)) == expected, say=lambda: server.said)
        for identity, found in imports(tmp_path):
            assert [*FOUND, workers, True, True, True] == found
            assert [None, workers, True] == identity[2:]
        assert "(b'value', b'kept', b'area', b'area')" == server.get("/stored")
        signals = sum(range(1, workers + 1)) if lazy else workers  # a worker that starts later misses those before
        until(lambda: json.loads(server.get("/counted"))[:8] == [expected] * 8, say=lambda: server.get("/counted"))
        until(lambda: lazy or json.loads(server.get("/counted"))[8] == signals, say=lambda: server.get("/counted"))
        until(lambda: server.get("/unlocked") == "(False, False)")
        server.wait_for("ALARM: of the import", "ended without unlocking user lock 1; it is unlocked now")
        assert 0 == server.end()
    identities = sorted(identity[:2] for identity, _ in imports(tmp_path))
    assert ([[0, 0], [0, 1], [1, 0], [2, 0]] if lazy else [[0, 0]]) == identities
    assert "Traceback" not in server.said


@pytest.mark.long
@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_calls_of_an_import_by_another_user(tmp_path: Path, mode: str) -> None:
    """It may be on Trio's own thread, or after another process has read the `config` of the module, which stores
    nothing anywhere.
    """
    words = ("--uid", str(os.getuid()), "--gid", str(os.getgid()))
    with serving(tmp_path, SOURCE + "\nconfig = {}\n", mode, *OPTIONS, *words) as server:
        assert "(b'value', b'kept', b'area', b'area')" == server.get("/stored")
        until(lambda: json.loads(server.get("/counted"))[:8] == [1] * 8, say=lambda: server.get("/counted"))
        assert 0 == server.end()
    assert 2 == len(imports(tmp_path))  # that of the other process, too
    assert "Traceback" not in server.said


RELOADED = """
import uwsgi
uwsgi.register_signal(17, "workers", lambda signum: print(f"signal in {os.getpid()} of VERSION", flush=True))
uwsgi.lock(1)
print("VERSION imports", uwsgi.is_a_reload, flush=True)
uwsgi.unlock(1)
uwsgi.signal(17)

def reload():
    uwsgi.lock(1)
    uwsgi.reload()
    for _ in range(50):
        time.sleep(0.02)
        if "two imports" in open("log").read():
            return "not excluded"
    uwsgi.unlock(1)
    return "excluded"
"""


@pytest.mark.long
@pytest.mark.parametrize("words", [(), ("--lazy-apps",)], ids=["once", "lazy"])
def test_locks_of_an_import_during_a_reload(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The code of a new version waits for a lock that a member of the running one holds; its signals reach its own
    workers.
    """
    with (tmp_path / "log").open("ab") as log:
        source = RELOADED.replace("VERSION", "one")
        with serving(tmp_path, source, "threaded processes", "--locks", "1", *words, stdout=log) as server:
            server.wait_for("of one")
            write(tmp_path, RELOADED.replace("VERSION", "two"))
            assert "excluded" == server.get("/reload", 60)
            server.wait_for("two imports True", "reloaded", "of two", seconds=60)
            assert 0 == server.end()
    assert "Traceback" not in server.said


FAILING = """
import uwsgi
uwsgi.lock()
uwsgi.cache_update("item", "value")
uwsgi.signal(17)
raise LookupError("no database")
"""
HANGING = """
import uwsgi
uwsgi.lock()
print("holds", flush=True)
uwsgi.lock(1)
uwsgi.call(b"none")
threading.Event().wait()
"""
CACHE = ("--cache2", "name=c,items=10", "--locks", "1")


@every_mode
def test_an_import_that_fails(tmp_path: Path, mode: str) -> None:
    """It is told as without such calls."""
    write(tmp_path, FAILING)
    line = command(mode, *CACHE)
    done = subprocess.run(
        line, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert CANNOT_START == done.returncode
    assert "importing app failed: LookupError: no database" in done.stderr.splitlines()[-1]
    assert 'app.py", line' in done.stderr


@every_mode
def test_an_import_that_takes_too_long(tmp_path: Path, mode: str) -> None:
    """The limit of imports counts while it holds a lock, and has called what waits."""
    write(tmp_path, HANGING)
    line = command(mode, *CACHE, "--import-timeout", "2")
    done = subprocess.run(
        line, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert CANNOT_START == done.returncode
    assert "took longer than the import_timeout of 2 s" in done.stderr


WAITING = """
import uwsgi
uwsgi.register_rpc("hang", threading.Event().wait)
print("waits", flush=True)
uwsgi.call(b"hang")
"""


@every_mode
def test_a_stop_while_an_import_waits(tmp_path: Path, mode: str) -> None:
    """A signal that stops the server does so at once, also while the import waits in a call."""
    write(tmp_path, WAITING)
    line = command(mode)
    with subprocess.Popen(line, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert b"waits" in run.stdout.readline()
        run.terminate()
        _, said = run.communicate(timeout=30)
    assert 0 == run.returncode, said
    assert b"Traceback" not in said
