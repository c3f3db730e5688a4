"""`trio_uwsgi.sync` through a whole runtime: the same story in every place where synchronous code runs."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import HAS_PROCESSES
from trio_uwsgi import Cache, Config, Registry, sync, uwsgi
from trio_uwsgi.errors import CannotWait, LockError, MuleError, NodeUnreachable, NotServing, RpcNotFound
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from trio.testing import MockClock

# Where views run: in threads, or on Trio's own thread.
THREADS = ["tasks", "memory with threads", "processes with threads"]
INLINE = ["processes"]


def placed(modes: list[str]) -> pytest.MarkDecorator:
    """The test once for each mode; in `memory`, members that are tasks speak to the master as processes do."""
    real = pytest.mark.skipif(not HAS_PROCESSES, reason="members as processes need Linux")
    return pytest.mark.parametrize(
        "mode", [pytest.param(mode, marks=real) if mode.startswith("processes") else mode for mode in modes]
    )


def options(mode: str, folder: Path, *, mules: int = 0, spooler: bool = True) -> Config:
    """The options of one mode."""
    kind = mode.partition(" ")[0]
    return Config(
        placement={"tasks": "task", "memory": "memory", "processes": "process"}[kind],  # type: ignore[arg-type]
        threads=None if mode in INLINE else 3,
        locks=2,
        caches=[Cache("pages", items=10)],
        mules=mules,
        spooler=str(folder / "jobs") if spooler else (),
        spooler_fsync=False,
    )


async def app_of(story: Callable[[], object], registry: Registry, config: Config) -> Any:
    """What the story returned, called by a view."""
    notes: Notes[object] = Notes()

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        notes.append(story())
        start_response("200 OK", [])
        return [b"done"]

    async with open_runtime(app, config, registry=registry) as runtime:
        assert 200 == (await runtime.client.get("/")).status_code
        await trio.sleep(5)
    (told,) = notes
    return told


def declared(registry: Registry, notes: Notes[str]) -> Any:
    """Declare what the stories call; returns the function for jobs."""

    @registry.spool_handler(pass_arguments=True)
    def invoice(number: int) -> None:
        notes.append(f"invoice {number}")

    @registry.rpc_handler("price")
    def price(drink: bytes) -> bytes:
        return b"2.50" if drink == b"tea" else b"3"

    @registry.signal_handler(17)
    def ring(signum: int) -> None:
        notes.append("ring")

    return invoice


def whole_story(invoice: Any) -> list[object]:
    """Everything that waits, once."""
    began = sync.wait(_now)
    sync.async_sleep(0.5)
    sync.wait(trio.sleep, 0.25)
    told: list[object] = [sync.wait(_now) - began]
    with sync.locked(1):
        told.append((sync.is_locked(1), sync.cache_inc("orders")))
        with pytest.raises(LockError, match="holds user lock 1 already"):
            sync.lock(1)
    sync.lock(1)
    sync.unlock(1)
    told += [sync.call("price", "tea"), sync.rpc(None, "price", b"rum")]
    with pytest.raises(RpcNotFound):
        sync.call("nothing")
    with pytest.raises(NodeUnreachable):
        sync.rpc("/nowhere.sock", "price")
    with pytest.raises(NodeUnreachable):
        sync.remote_signal(17, "/nowhere.sock")
    with pytest.raises(NodeUnreachable):
        sync.cache_get("k", "@/nowhere.sock")
    with pytest.raises(MuleError, match="only a mule's program may"):
        sync.mule_get_msg()
    invoice.spool_sync(1)
    path = sync.spool(ud_spool_func="invoice", body=b"[[2], {}]", at=4000000000)
    told.append(path in sync.spooler_jobs())
    later = sync.spooler_get_task(path)
    told.append(None if later is None else later.body)
    return told


EXPECTED: list[object] = [0.75, (True, 1), b"2.50", b"3", True, b"[[2], {}]"]


async def _now() -> float:
    return trio.current_time()


@placed([*THREADS, *INLINE])
async def test_a_view_waits(mode: str, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path) -> None:
    """In threads, and inline through greenback, each call does what its async function does."""
    notes: Notes[str] = Notes()
    invoice = declared(uwsgi_registry, notes)
    assert EXPECTED == await app_of(partial(whole_story, invoice), uwsgi_registry, options(mode, tmp_path))
    assert ["invoice 1"] == list(notes)


@placed(["tasks", "memory", "processes"])
async def test_handlers_programs_and_jobs_wait(
    mode: str, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """A `def` handler, a mule's program, a job and an RPC function run in threads in every mode, and wait there."""
    notes: Notes[str] = Notes()
    took: Notes[tuple[str, float]] = Notes()

    def rest(where: str) -> bytes:
        began = sync.wait(_now)
        with sync.locked(1):
            sync.async_sleep(1)
        took.append((where, round(sync.wait(_now) - began) if where != "signal" else 1))
        return b"rested"

    declared(uwsgi_registry, notes)
    uwsgi_registry.signal_handler(18)(lambda signum: rest("signal") and None)
    uwsgi_registry.spool_handler(name="rest")(lambda job: rest("job") and None)
    uwsgi_registry.rpc_handler("rest")(lambda: rest("rpc"))

    @uwsgi_registry.mule(1)
    def program() -> None:
        assert sync.mule_get_msg(timeout=1) is None
        message = sync.mule_get_msg()
        sync.wait(trio.sleep, 20)  # until the others have had the lock
        assert message == b"begin"
        assert b"rested" == sync.call("rest")
        rest("program")
        sync.signal(17)

    @uwsgi_registry.mule(2)
    def listener() -> None:
        number = sync.signal_wait(19)
        notes.append(f"heard {number}, {sync.signal_received()}")

    uwsgi_registry.signal_handler(19, target="mule2")(lambda signum: None)
    config = options(mode, tmp_path, mules=2)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        await trio.sleep(2)
        runtime.mule_msg(b"begin", 1)
        runtime.signal(18)
        runtime.signal(19)
        await trio.sleep(3)
        await runtime.spool(ud_spool_func="rest")
        await trio.sleep(60)
    assert {("signal", 1), ("job", 1), ("rpc", 1), ("program", 1)} == set(took)
    assert {"ring", "heard 19, 19"} == set(notes)


def thread_story(invoice: Any) -> list[object]:
    """The whole story but the sleeps, in a thread that the application starts, while its view goes on."""
    with sync.locked(1):
        told: list[object] = [(sync.is_locked(1), sync.cache_inc("orders"), sync.worker_id())]
    sync.lock(2)
    sync.unlock(2)
    told += [sync.call("price", "tea"), len(sync.spooler_jobs())]
    invoice.spool_sync(1)
    sync.signal(17)
    with pytest.raises(NodeUnreachable):
        sync.remote_signal(17, "/nowhere.sock")
    with pytest.raises(NotServing, match=r"limit a request, a handler or a mule's program"):
        sync.set_user_harakiri(5)
    with pytest.raises(CannotWait, match=r"write sync\.lock"):
        uwsgi.lock(1)  # type: ignore[unused-coroutine]  # that is the point
    return told


@placed([*THREADS, *INLINE])
@pytest.mark.parametrize("how", ["thread", "executor"])
async def test_threads_of_the_application(
    how: str, mode: str, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """A thread that a view starts can call everything, while the view runs and after it."""
    notes: Notes[str] = Notes()
    told: Notes[object] = Notes()
    invoice = declared(uwsgi_registry, notes)

    def work() -> None:
        told.append(thread_story(invoice))

    executor = ThreadPoolExecutor(1)
    thread = threading.Thread(target=work)

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/end":
            sync.wait(trio.to_thread.run_sync, (lambda: thread.join(30)) if how == "thread" else executor.shutdown)
        elif how == "thread":
            thread.start()
        else:
            executor.submit(work)
        start_response("200 OK", [])
        return [b""]

    async with open_runtime(app, options(mode, tmp_path), registry=uwsgi_registry) as runtime:
        for path in ("/", "/end"):
            assert 200 == (await runtime.client.get(path)).status_code
        await trio.sleep(5)
    assert [[(True, 1, 1), b"2.50", 0]] == list(told)
    assert {"invoice 1", "ring"} == set(notes)


@placed(THREADS)
async def test_a_time_limit_ends_a_wait(
    mode: str, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """A thread that waits for a lock is cancelled there: it queues for it no more, and releases what it holds."""
    notes: Notes[object] = Notes()

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/holds":
            with sync.locked(1):
                sync.async_sleep(4)
        elif path == "/waits":
            sync.set_user_harakiri(2)
            with sync.locked(2):
                sync.lock(1)
        else:
            notes.append((sync.is_locked(1), sync.is_locked(2)))
            with sync.locked(1), sync.locked(2):
                notes.append("both")
        start_response("200 OK", [])
        return [b"done"]

    statuses: dict[str, int] = {}

    async def get(path: str) -> None:
        statuses[path] = (await runtime.client.get(path)).status_code

    async with (
        open_runtime(app, options(mode, tmp_path), registry=uwsgi_registry) as runtime,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(get, "/holds")
        await trio.sleep(0.5)
        nursery.start_soon(get, "/waits")
        await trio.sleep(2.5)
        nursery.start_soon(get, "/after")
    assert {"/holds": 200, "/waits": 504, "/after": 200} == statuses
    assert [(True, False), "both"] == list(notes)


@placed(["tasks", "memory", "processes"])
async def test_a_stop_ends_the_waits_of_threads(
    mode: str, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """A thread that the application started does not hold up the stop of its member: its wait ends, with an error."""
    errors: Notes[str] = Notes()
    waiting = threading.Event()

    async def for_ever() -> None:
        waiting.set()
        await trio.sleep_forever()

    def work() -> None:
        try:
            sync.wait(for_ever)
        except NotServing as error:
            errors.append(str(error))
        try:
            sync.lock(1)
        except NotServing as error:
            errors.append(str(error))

    thread = threading.Thread(target=work, name="ticker")

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        thread.start()
        sync.wait(trio.to_thread.run_sync, lambda: waiting.wait(30))
        start_response("200 OK", [])
        return []

    async with open_runtime(app, options(mode, tmp_path, spooler=False), registry=uwsgi_registry) as runtime:
        assert 200 == (await runtime.client.get("/")).status_code
        began = trio.current_time()
    assert 1 > trio.current_time() - began
    if mode != "processes":
        await trio.to_thread.run_sync(thread.join, 30)
    remedy = "let the thread end when uwsgi.stopping() is true"
    wait = "sync.wait(test_a_stop_ends_the_waits_of_threads.<locals>.for_ever)"
    assert f"{wait} was called by thread ticker of worker1, which has stopped; {remedy}" == errors[0]
    assert errors[1].startswith("sync.lock() was called ")


def run_until_future(future: Future[None]) -> None:
    """As the function of this name in asgiref, with which Flask and Django run async views."""
    condition = threading.Condition()

    def notify(_: Future[None]) -> None:
        with condition:
            condition.notify()

    with condition:
        future.add_done_callback(notify)
        condition.wait(30)


@placed(INLINE)
@pytest.mark.parametrize("how", ["join", "result", "shutdown", "wait", "as_completed", "asgiref"])
async def test_an_inline_view_that_blocks_for_its_thread(
    how: str,
    mode: str,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread is told what to do, and does not wait for ever; what the event loop is not needed for works."""
    monkeypatch.setattr("trio_uwsgi._units.app_threads.TRIO_WAIT", 0.05)
    notes: Notes[object] = Notes()

    def work() -> None:
        notes.append(sync.cache_inc("orders"))
        with pytest.raises(CannotWait) as info:
            sync.lock(1)
        notes.append(str(info.value))

    def story() -> None:
        if how == "join":
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(30)
            return
        executor = ThreadPoolExecutor(1)
        future = executor.submit(work)
        if how == "result":
            future.result()
        elif how == "wait":
            wait([future])
        elif how == "as_completed":
            next(as_completed([future]))
        elif how == "asgiref":
            run_until_future(future)
        executor.shutdown()

    await app_of(story, uwsgi_registry, options(mode, tmp_path))
    text = (
        "sync.lock() has to wait, which a thread that code on Trio's own thread waits for cannot; wait for the thread "
        "with sync.wait(trio.to_thread.run_sync, thread.join), or set threads=1 or more (--threads 1)"
    )
    assert [1, text] == list(notes)


def test_outside_of_members() -> None:
    """The error says where the calls work; what needs no member works."""
    for call in (
        sync.lock,
        partial(sync.wait, trio.sleep, 0),
        partial(sync.cache_get, "k"),
        partial(sync.spool, a="b"),
    ):
        with pytest.raises(NotServing, match="outside of a running member"):
            call()
    assert 0 == sync.worker_id()


async def test_in_async_code() -> None:
    """Synchronous code that an async function calls cannot wait either; the error says what to do."""
    remedy = "await the async function itself, or call this in a thread"
    with pytest.raises(CannotWait, match=remedy):
        sync.lock(1)


def test_names() -> None:
    """The module has the names of `uwsgi`, and `wait`; none of its functions is async."""
    assert {*uwsgi.__all__} - {"registry"} | {"wait"} == {*sync.__all__}
    assert [] == [name for name in sync.__all__ if inspect.iscoroutinefunction(inspect.unwrap(getattr(sync, name)))]
    for name in sync.__all__:
        value, other = getattr(sync, name), getattr(uwsgi, name, None)
        if inspect.isfunction(value) and inspect.isfunction(other):
            assert [*inspect.signature(value).parameters] == [*inspect.signature(other).parameters], name
