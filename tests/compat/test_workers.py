"""Workers, the end of the server, listening sockets and files of the module `uwsgi`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any  # what a worker's dict has

import pytest
import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config, serve
from trio_uwsgi.compat.absent import NotSupported
from trio_uwsgi.errors import NotServing
from trio_uwsgi.testing import Notes, open_runtime

KEYS = (
    *("id", "pid", "requests", "delta_requests", "signals", "exceptions", "status", "rss", "vsz", "running_time"),
    *("last_spawn", "respawn_count", "tx", "avg_rt", "apps"),
)
APP_KEYS = (
    *("id", "modifier1", "mountpoint", "startup_time", "interpreter", "callable", "requests", "exceptions", "chdir"),
)


@all_modes
async def test_workers(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Each worker is a dict with uWSGI's keys and types; requests, signals, bodies and the status are counted."""
    config = config_in(mode, workers=2)
    uwsgi = enter(config)
    uwsgi.register_signal(1, "workers", lambda signum: None)
    app = asking(
        workers=lambda: uwsgi.workers(),
        total=lambda: uwsgi.total_requests(),
        who=lambda: uwsgi.worker_id(),
        new=lambda: uwsgi.workers()[0] is uwsgi.workers()[0],
    )
    async with open_runtime(app, config) as runtime:
        runtime.signal(1)
        numbers = [int(await get(runtime, "who")) for _ in range(3)]
        await trio.sleep(1)
        found: tuple[dict[str, Any], ...] = eval(await get(runtime, "workers"))
        busy = 0
        for worker in found:
            assert KEYS == tuple(worker)
            assert APP_KEYS == tuple(worker["apps"][0])
            assert 1 == worker["signals"]
            assert (0, 0) == (worker["exceptions"], worker["respawn_count"])
            assert worker["requests"] == worker["delta_requests"] == worker["apps"][0]["requests"]
            assert 0 < worker["rss"] < worker["vsz"]
            busy += worker["status"] == b"busy"
            assert worker["status"] in (b"busy", b"idle")
            assert worker["requests"] == numbers.count(worker["id"]) + (worker["status"] == b"busy")
            assert worker["tx"] == numbers.count(worker["id"])  # each body is one digit
        assert [1, 2] == [worker["id"] for worker in found]
        assert 1 == busy
        assert "5" == await get(runtime, "total")
        assert "False" == await get(runtime, "new")


@all_modes
async def test_statuses(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A worker runs the handler of a signal, is paused, is busy and is gone; the times of its requests are added up."""
    config = config_in(mode)
    uwsgi = enter(config)
    seen: Notes[object] = Notes()

    def handler(signum: int) -> None:
        seen.append(uwsgi.workers()[0]["status"])

    def slow() -> object:
        uwsgi.async_sleep(2)
        return uwsgi.suspend()

    uwsgi.register_signal(7, "", handler)
    async with open_runtime(asking(slow=slow, status=lambda: uwsgi.workers()[0]["status"]), config) as runtime:
        runtime.signal(7)
        await trio.sleep(1)
        await get(runtime, "slow")
        await get(runtime, "slow")
        worker = runtime.statistics().workers[0]
        assert ("idle", True, 2, 4_000_000, 2_000_000) == (
            *(worker.status, worker.accepting, worker.requests),
            *(worker.micros, worker.average),
        )
        runtime.runtime.pause()
        await trio.sleep(1)
        worker = runtime.statistics().workers[0]
        assert ("pause", False) == (worker.status, worker.accepting)
        runtime.runtime.resume()
        await trio.sleep(1)
        runtime.kill("worker1")
        await trio.sleep(5)
        worker = runtime.statistics().workers[0]
        assert ("idle", 2, 2, 0) == (worker.status, worker.spawns, worker.requests, worker.delta_requests)
        runtime.runtime.add_worker()
        await trio.sleep(1)
        assert ["idle", "idle"] == [worker.status for worker in runtime.statistics().workers]
        runtime.runtime.remove_worker()
        await trio.sleep(1)
        last = runtime.statistics().workers[1]
        assert ("cheap", 0, False) == (last.status, last.pid, last.accepting)
    assert [b"sig7"] == seen


@all_modes
async def test_a_worker_stops_the_server(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """`stop` returns True; the request that calls it is answered, and then the runtime ends."""
    config = config_in(mode)
    uwsgi = enter(config)
    async with open_runtime(asking(stop=lambda: uwsgi.stop()), config) as runtime:
        assert not runtime.runtime.stopping
        assert "True" == await get(runtime, "stop")
        await runtime.runtime.wait_stopping()
        assert runtime.runtime.stopping


async def test_listening_sockets(tmp_path: Path, enter: Enter) -> None:
    """`sockets` has the descriptors, and `listen_queue` how many clients wait at each."""
    path = str(tmp_path / "socket")
    config = Config(http="127.0.0.1:0", socket=path)
    uwsgi = enter(config)
    assert [] == uwsgi.sockets
    app = asking(
        sockets=lambda: uwsgi.sockets,
        queues=lambda: [uwsgi.listen_queue(), uwsgi.listen_queue(1)],
        beyond=lambda: uwsgi.listen_queue(2),
        below=lambda: uwsgi.listen_queue(-1),
        accepting=lambda: [uwsgi.accepting(), uwsgi.accepting(1)],
    )
    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(serve, app, config)

        async def ask(name: str) -> str:
            with trio.fail_after(30):
                address = runtime.addresses[0]
                stream = await trio.open_tcp_stream(address.host, address.port)
                async with stream:
                    await stream.send_all(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
                    answer = b"".join([piece async for piece in stream])
                return answer.partition(b"\r\n\r\n")[2].decode()

        found = eval(await ask("sockets"))
        assert 2 == len(found)
        assert all(os.fstat(descriptor) for descriptor in found)
        assert "[0, 0]" == await ask("queues")
        assert "ValueError: unable to find socket 2: this process has 2, counted from 0" == await ask("beyond")
        assert (await ask("below")).startswith("ValueError: unable to find socket -1")
        assert "[None, None]" == await ask("accepting")
        runtime.stop()


def test_extract(tmp_path: Path, enter: Enter) -> None:
    """A file's contents, by path or URL; what is not there is an error, and other schemes say what to use instead."""
    uwsgi = enter(Config())
    file = tmp_path / "a b.txt"
    file.write_bytes(b"one\0two")
    assert b"one\0two" == uwsgi.extract(str(file)) == uwsgi.extract(f"file://{tmp_path}/a%20b.txt")
    with pytest.raises(FileNotFoundError):
        uwsgi.extract(str(tmp_path / "missing"))
    with pytest.raises(TypeError):
        uwsgi.extract(b"bytes")
    for scheme, remedy in {"sym": "put it into a file", "exec": "subprocess.run", "ftp": "write a path"}.items():
        with pytest.raises(NotSupported, match=remedy):
            uwsgi.extract(f"{scheme}://x")
    with file.open("wb") as large:
        large.truncate(2**26 + 1)
    with pytest.raises(OSError, match="67108864 bytes"):
        uwsgi.extract(str(file))


def test_parsefile(tmp_path: Path, enter: Enter) -> None:
    """The vars of a packet in a file, such as a job's; None for any other file, and for one that is cut off."""
    uwsgi = enter(Config())
    fixtures = Path(__file__).parents[1] / "fixtures"
    jobs = sorted(fixtures.rglob("spool_simple_at.bin"))
    assert {b"foo": b"bar", b"at": b"2000000000"} == uwsgi.parsefile(str(jobs[0]))
    whole = jobs[0].read_bytes()
    file = tmp_path / "file"
    for data, expected in {
        whole[:-1]: None,
        whole[:2]: None,
        b"hello": None,
        b"\x11\x00\x00\x00": {},
        b"\x00\x02\x00\x00\x01\x00": None,
        whole + b"body": {b"foo": b"bar", b"at": b"2000000000"},
    }.items():
        file.write_bytes(data)
        assert expected == uwsgi.parsefile(str(file))
    assert None is uwsgi.parsefile(str(tmp_path / "missing"))
    assert None is uwsgi.parsefile("\0")
    with pytest.raises(TypeError):
        uwsgi.parsefile(b"bytes")


def test_before_members_run(enter: Enter) -> None:
    """There are no numbers yet, and nothing to stop."""
    uwsgi = enter(Config())
    for call in (uwsgi.workers, uwsgi.total_requests, uwsgi.listen_queue, uwsgi.stop):
        with pytest.raises(NotServing):
            call()
