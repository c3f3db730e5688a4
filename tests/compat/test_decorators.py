"""`uwsgidecorators`, this package's and uWSGI's own file: each decorator once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from tests.compat.conftest import load_ours
from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.testing import Notes, open_runtime

Decorators = Callable[[], ModuleType]


async def test_timers(enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock) -> None:
    """@timer, @rbtimer and @cron run their functions with the signal's number, at their target."""
    config = Config(mules=1)
    uwsgi = enter(config)
    module = decorators()
    ran: list[tuple[str, int]] = []

    @module.timer(10, target="mule1")
    def timed(signum: int) -> None:
        ran.append(("timer", uwsgi.mule_id()))

    @module.rbtimer(20)
    def again(signum: int) -> None:
        ran.append(("rbtimer", uwsgi.mule_id()))

    @module.cron(-1, -1, -1, -1, -1, signum=99)
    def nightly(signum: int) -> None:
        ran.append(("cron", signum))

    assert callable(timed)
    async with open_runtime(None, config):
        await trio.sleep(60)
    assert {("timer", 1): 6, ("rbtimer", 0): 3, ("cron", 99): 1} == {event: ran.count(event) for event in ran}


async def test_file_monitors(
    enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """@filemon runs its function when the file changes, at its target."""
    config = Config(mules=1)
    uwsgi = enter(config)
    module = decorators()
    path = tmp_path / "prices"
    ran: list[tuple[str, int]] = []

    @module.filemon(str(path), target="mule1")
    def changed(signum: int) -> None:
        ran.append((path.read_text(), uwsgi.mule_id()))

    assert callable(changed)
    async with open_runtime(None, config):
        for text in ("1", "2"):
            await trio.sleep(2)
            path.write_text(text)
        await trio.sleep(2)
    assert [("1", 1), ("2", 1)] == ran


async def test_signals_and_rpc(enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock) -> None:
    """@signal and @rpc register their functions and return them."""
    uwsgi = enter(Config())
    module = decorators()
    ran: list[int] = []

    @module.signal(17, target="workers")
    def on_signal(signum: int) -> None:
        ran.append(signum)

    @module.rpc("hello")
    def hello(name: bytes) -> bytes:
        return b"hello " + name

    assert b"hello x" == hello(b"x")
    assert 0 == module.get_free_signal()
    app = asking(signal=lambda: uwsgi.signal(17), call=lambda: uwsgi.call(b"hello", b"you"))
    async with open_runtime(app, Config()) as runtime:
        await get(runtime, "signal")
        assert "b'hello you'" == await get(runtime, "call")
    assert [17] == ran


@all_modes
async def test_jobs(
    mode: Mode,
    enter: Enter,
    decorators: Decorators,
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
) -> None:
    """@spool gets vars as text, or arguments; @spoolraw decides itself, and @spoolforever runs again and again."""
    config = config_in(mode, spooler=[str(tmp_path)], spooler_frequency=10)
    uwsgi = enter(config)
    module = decorators()
    ran: Notes[tuple[str, object]] = Notes()

    @module.spool
    def plain(job: dict[str, Any]) -> None:
        ran.append(("plain", job["name"]))

    @module.spool(pass_arguments=True)
    def called(*args: object, **kwargs: object) -> None:
        ran.append(("called", (args, kwargs)))

    @module.spoolraw
    def raw(job: dict[str, Any]) -> int:
        ran.append(("raw", job["ud_spool_func"]))
        return int(uwsgi.SPOOL_OK)

    @module.spoolforever(pass_arguments=True)
    def forever() -> None:
        ran.append(("forever", None))

    def queue() -> object:
        paths = [plain(name="a"), plain.spool({"name": "b"}), called(1, b"two", x=[3]), raw({b"x": b"y"}), forever()]
        return [type(path) for path in paths]

    async with open_runtime(asking(queue=queue), config) as runtime:
        assert repr([bytes] * 5) == await get(runtime, "queue")
        await trio.sleep(60)
    once = [event for event in ran if event[0] != "forever"]
    expected = [("called", ((1, b"two"), {"x": [3]})), ("plain", "a"), ("plain", "b"), ("raw", "raw")]
    assert expected == sorted(once, key=lambda event: (event[0], repr(event[1])))
    assert len(ran) - len(once) > 1


async def test_functions_of_mules(enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock) -> None:
    """@mulefunc runs a call in any mule, in one of them, or in one of a farm."""
    config = Config(mules=3, farms={"f": [3]})
    uwsgi = enter(config)
    module = decorators()
    ran: list[tuple[Any, int]] = []

    def note(*args: object, **kwargs: object) -> None:
        ran.append(((args, kwargs), uwsgi.mule_id()))

    anywhere = module.mulefunc(note)
    second = module.mulefunc(2)(note)
    farm = module.mulefunc(b"f")(note)

    def calls() -> object:
        return anywhere(1, x=2), second("two"), farm("farm")

    async with open_runtime(asking(calls=calls), config) as runtime:
        assert "(None, None, None)" == await get(runtime, "calls")
        await trio.sleep(1)
    assert [(("farm",), {}), (("two",), {}), ((1,), {"x": 2})] == sorted((call for call, _ in ran), key=repr)
    assert {2, 3} <= {number for _, number in ran}


@all_modes
async def test_after_the_fork(
    mode: Mode, enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock
) -> None:
    """@postfork functions run in every member, in their order, and one for a worker in that one only."""
    config = config_in(mode, workers=2, mules=1)
    uwsgi = enter(config)
    module = decorators()
    ran: Notes[tuple[str, int]] = Notes()

    @module.postfork
    def first() -> None:
        ran.append(("first", uwsgi.worker_id()))

    @module.postfork(2)
    def second() -> None:
        ran.append(("second", uwsgi.worker_id()))

    async with open_runtime(None, config):
        assert [("first", 0), ("first", 1), ("first", 2), ("second", 2)] == sorted(ran)


@all_modes
async def test_programs_of_mules(
    mode: Mode, enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock
) -> None:
    """@mule runs once, @muleloop again and again, @mulemsg and @farm with each message; the mules start and stop."""
    config = config_in(mode, mules=4, farms={"f": [4]})
    uwsgi = enter(config)
    module = decorators()
    ran: Notes[tuple[str, object]] = Notes()

    @module.postfork
    def begin() -> None:
        if uwsgi.mule_id():
            ran.append(("begin", uwsgi.mule_id()))

    @module.mule(1)
    def once() -> None:
        ran.append(("mule", uwsgi.mule_id()))

    @module.muleloop(2)
    def loop() -> None:
        uwsgi.async_sleep(10)
        uwsgi.suspend()
        ran.append(("loop", uwsgi.mule_id()))

    @module.mulemsg(3)
    def message(data: bytes) -> None:
        ran.append(("message", data))

    @module.farm("f")
    def farm(data: bytes) -> None:
        ran.append(("farm", data))

    app = asking(send=lambda: [uwsgi.mule_msg(b"m", 3), uwsgi.farm_msg("f", b"f")])
    async with open_runtime(app, config) as runtime:
        await get(runtime, "send")
        await trio.sleep(25)
    begun = [("begin", number) for number in (1, 2, 3, 4)]
    others = [("farm", b"f"), ("loop", 2), ("loop", 2), ("message", b"m"), ("mule", 1)]
    assert begun == sorted(event for event in ran if event[0] == "begin")
    assert others == sorted(event for event in ran if event[0] != "begin")


async def test_messages_wait_for_what_reads_them(
    enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock
) -> None:
    """A message that comes while @postfork functions still run is for @mulemsg or @farm, and not for @mulefunc; beside
    @mule, a mule has its calls of @mulefunc.
    """
    config = Config(mules=3, farms={"f": [2]})
    uwsgi = enter(config)
    module = decorators()
    ran: list[object] = []

    @module.postfork
    def slow() -> None:
        if uwsgi.mule_id():
            uwsgi.async_sleep(10)
            uwsgi.suspend()

    @module.mulemsg(1)
    def message(data: bytes) -> None:
        ran.append(data)

    @module.farm("f")
    def farm(data: bytes) -> None:
        ran.append(data)

    @module.mule(3)
    def program() -> None:
        uwsgi.async_sleep(1000)
        uwsgi.suspend()

    def note(value: object) -> None:
        ran.append(value)

    third = module.mulefunc(3)(note)
    app = asking(send=lambda: [uwsgi.mule_msg(b"own", 1), uwsgi.farm_msg("f", b"farm"), third("call")])
    async with open_runtime(app, config) as runtime:
        await trio.sleep(1)
        assert "[True, None, None]" == await get(runtime, "send")
        await trio.sleep(5)
        assert [] == ran
        await trio.sleep(10)
    assert {b"own", b"farm", "call"} == set(ran)


async def test_a_program_that_fails_is_started_again(
    enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock
) -> None:
    """What a program of a mule raises does not end the mule: it starts the program again, after a pause."""
    config = Config(mules=1)
    enter(config)
    module = decorators()
    ran: list[int] = []

    @module.mule(1)
    def program() -> None:
        ran.append(1)
        if len(ran) < 3:
            raise RuntimeError("on purpose")

    async with open_runtime(None, config, allow_failures=True):
        await trio.sleep(60)
    assert 3 == len(ran)


async def test_lock_harakiri_and_thread(
    enter: Enter, decorators: Decorators, autojump_clock: trio.testing.MockClock
) -> None:
    """@lock holds lock 0 meanwhile; @harakiri ends what is too slow; @thread starts a thread."""
    uwsgi = enter(Config())
    module = decorators()
    ran: list[object] = []

    @module.lock
    def locked(value: int) -> object:
        return value, uwsgi.is_locked()

    @module.harakiri(5)
    def limited(seconds: float) -> object:
        uwsgi.async_sleep(seconds)
        return uwsgi.suspend()

    def work(value: int) -> None:
        ran.append((value, uwsgi.worker_id()))

    def start() -> object:
        answer = module.thread(work)(5)
        deadline = time.monotonic() + 60
        while not ran and time.monotonic() < deadline:
            uwsgi.async_sleep(0)
            uwsgi.suspend()
        return answer is work

    app = asking(lock=lambda: locked(7), fast=lambda: limited(1), slow=lambda: limited(9), start=start)
    async with open_runtime(app, Config(), allow_failures=True) as runtime:
        assert "(7, True)" == await get(runtime, "lock")
        assert "True" == await get(runtime, "fast")
        assert 504 == (await runtime.client.get("/slow")).status_code
        assert "True" == await get(runtime, "start")
    assert [(5, 1)] == ran


def test_without_a_spooler(enter: Enter, decorators: Decorators) -> None:
    """@spool says that there is no spooler when it is applied."""
    enter(Config())
    with pytest.raises(Exception, match=r"@spool needs a spooler; name its .* --spooler DIR|to use @_spool decorator"):
        decorators().spool(lambda job: None)


# ----- where ours is better


async def test_stacked_numbers_do_not_collide(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Two timers of one function take two signals, as do milliseconds of uWSGI 2.1."""
    enter(Config())
    module = load_ours()
    ran: list[int] = []

    @module.timer(10)
    @module.cron(-1, -1, -1, -1, -1)
    @module.mstimer(20_000)
    def work(signum: int) -> None:
        ran.append(signum)

    async with open_runtime(None, Config()):
        await trio.sleep(60)
    assert {0: 3, 1: 1, 2: 6} == {signum: ran.count(signum) for signum in ran}


async def test_a_limit_ends_with_an_exception(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """@harakiri clears its limit when its function raises, and @postfork(1) keeps the name of its function."""
    uwsgi = enter(Config())
    module = load_ours()

    @module.postfork(1)
    def begin() -> None: ...

    assert begin is not None

    @module.harakiri(2)
    def fails() -> None:
        raise RuntimeError("on purpose")

    def view() -> object:
        with pytest.raises(RuntimeError):
            fails()
        uwsgi.async_sleep(5)
        return uwsgi.suspend()

    async with open_runtime(asking(view=view), Config()) as runtime:
        assert "True" == await get(runtime, "view")


async def test_other_messages_and_bodies(
    enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that @mulefunc did not send is logged and dropped; a body that is no text stays bytes."""
    config = Config(mules=1, spooler=[str(tmp_path)])
    uwsgi = enter(config)
    module = load_ours()
    caplog.set_level(logging.WARNING)
    ran: list[object] = []

    @module.spool
    def job(vars: dict[str, Any]) -> None:
        ran.append(vars["body"])

    app = asking(send=lambda: [uwsgi.mule_msg(b"text"), job(body=b"\xff\xfe")])
    async with open_runtime(app, config) as runtime:
        await get(runtime, "send")
        await trio.sleep(1)
    assert [b"\xff\xfe"] == ran
    assert "mule1: dropped a message of 4 bytes, which @mulefunc did not send" in caplog.text


def test_what_needs_a_plugin(enter: Enter) -> None:
    """@erlang says that there is no Erlang, and a number of signals ends at 256."""
    uwsgi = enter(Config())
    module = load_ours()
    with pytest.raises(AttributeError, match="connect to Erlang over HTTP"):
        module.erlang("x")(print)
    for signum in range(256):
        uwsgi.register_signal(signum, "", print)
    with pytest.raises(Exception, match="all 256 signals have a handler"):
        module.timer(1)(print)
