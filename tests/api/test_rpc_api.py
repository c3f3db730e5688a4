"""Remote procedure calls and remote signals, local and over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_uwsgi
from tests.api.cancelling import cancel_everywhere
from trio_uwsgi import Config, Registry, sync, uwsgi
from trio_uwsgi._runtime.member_threads import RPC_THREADS
from trio_uwsgi.errors import (
    ConfigError,
    NodeClosed,
    NodeTimeout,
    NodeUnreachable,
    NotServing,
    RpcError,
    RpcFailed,
    RpcNotFound,
    SignalRefused,
)

if TYPE_CHECKING:
    from tests.api.conftest import InMule
    from trio_uwsgi._apps.asgi_exchange import Receive, Send


PATIENCE = 30


async def no_app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    raise NotImplementedError


def declare(registry: Registry) -> None:
    """Functions of all kinds."""

    @registry.rpc_handler("join")
    async def join(*args: bytes) -> bytes:
        return b",".join(args)

    @registry.rpc_handler("plain", 1)
    def plain(arg: bytes) -> str:
        return arg.decode() + "!"

    @registry.rpc_handler("nested")
    async def nested(arg: bytes) -> bytes:
        return await uwsgi.call("plain", arg)

    @registry.rpc_handler("big")
    async def big(size: bytes) -> bytes:
        return b"x" * int(size)

    @registry.rpc_handler("fails")
    async def fails() -> bytes:
        raise LookupError("nothing there")

    @registry.rpc_handler("number")
    async def number() -> int:
        return 3

    @registry.rpc_handler("slow")
    async def slow() -> bytes:
        await trio.sleep(60)
        return b""


async def test_plain_functions_that_call_each_other(in_mule: InMule, uwsgi_registry: Registry) -> None:
    """More of them than threads, at the same time: none waits for a thread that waits for it."""
    meet = threading.Barrier(RPC_THREADS)

    @uwsgi_registry.rpc_handler("outer")
    def outer() -> bytes:
        meet.wait(PATIENCE)  # now they have all threads
        return sync.call("inner") + b", outer"

    @uwsgi_registry.rpc_handler("inner")
    def inner() -> bytes:
        return b"inner"

    async def call() -> None:
        assert b"inner, outer" == await uwsgi.call("outer")

    async def program() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(2 * RPC_THREADS):
                    nursery.start_soon(call)

    await in_mule(program)


async def test_a_plain_function_that_calls_itself_for_ever(in_mule: InMule, uwsgi_registry: Registry) -> None:
    """It fails, as a Python function does."""
    calls = []

    @uwsgi_registry.rpc_handler("endless")
    def endless() -> bytes:
        calls.append(1)
        return sync.call("endless")

    async def program() -> None:
        with trio.fail_after(PATIENCE), pytest.raises(RpcFailed, match="call each other more than 32 deep"):
            await uwsgi.call("endless")

    await in_mule(program)
    assert 32 == len(calls)


async def test_local_calls(in_mule: InMule, uwsgi_registry: Registry, autojump_clock: trio.testing.MockClock) -> None:
    """Async and plain functions, str and bytes, nested; from a thread, too."""
    declare(uwsgi_registry)

    async def program() -> None:
        assert b"" == await uwsgi.call("join")
        assert b"a,b" == await uwsgi.call(b"join", "a", b"b")
        assert b"a!" == await uwsgi.rpc(None, "plain", "a")
        assert b"b!" == await uwsgi.call("nested", b"b")
        assert b"c!" == await trio.to_thread.run_sync(lambda: trio.from_thread.run(uwsgi.call, "plain", "c"))
        assert ("join", "plain", "nested") == uwsgi.rpc_list()[:3]
        uwsgi.register_rpc("join", lambda: b"replaced")
        assert b"replaced" == await uwsgi.call("join")

    await in_mule(program)


async def test_local_calls_fail_with_a_reason(
    in_mule: InMule, uwsgi_registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    """Unknown, wrong count, raised, no bytes, too large: each has its own error."""
    declare(uwsgi_registry)

    async def program() -> None:
        with pytest.raises(RpcNotFound, match="no RPC function 'none' is registered here"):
            await uwsgi.call("none")
        with pytest.raises(RpcFailed, match="it takes 1 argument, but was given 2"):
            await uwsgi.call("plain", "a", "b")
        with pytest.raises(RpcFailed, match="LookupError: nothing there") as caught:
            await uwsgi.call("fails")
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(RpcFailed, match="it returned int"):
            await uwsgi.call("number")
        for args in ([b"x"] * 255, [b"x" * 65536], [3]):
            with pytest.raises(RpcError):
                await uwsgi.call("join", *args)

    await in_mule(program)
    with pytest.raises(NotServing):
        await uwsgi.call("join")


@pytest.mark.real
async def test_calls_of_another_node(tmp_path: Path, descriptors: Callable[[], int]) -> None:
    """From any Trio program: results of all sizes, errors with the other side's reason, nothing left open."""
    registry = Registry()
    declare(registry)
    raised: list[int] = []
    registry.register_signal(7, "", raised.append)
    node = str(tmp_path / "n.sock")
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
            config = Config(socket=[node, "127.0.0.1:0"], mercy=0.2)
            await trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)

        runtime = await nursery.start(start)
        before = descriptors()
        for where in (node, str(runtime.uwsgi_addresses[1])):
            assert b"a,b" == await uwsgi.rpc(where, "join", "a", b"b")
            assert 253 == (await uwsgi.rpc(where, "join", *[""] * 254)).count(b",")
            for size in (0, 1, 65535, 65536, 5_000_000):
                assert size == len(await uwsgi.rpc(where, "big", str(size)))
        with pytest.raises(RpcNotFound, match=f"on {node}"):
            await uwsgi.rpc(node, "none")
        with pytest.raises(RpcFailed, match="LookupError: nothing there"):
            await uwsgi.rpc(node, "fails")
        with pytest.raises(NodeTimeout, match=r"within 0\.05 s"):
            await uwsgi.rpc(node, "slow", timeout=0.05)
        await uwsgi.remote_signal(7, node)
        with trio.fail_after(10):
            while not raised:
                await trio.lowlevel.checkpoint()
        async for _ in cancel_everywhere(lambda: uwsgi.rpc(node, "join", "a")):
            pass
        with trio.fail_after(10):
            while descriptors() > before:
                await trio.lowlevel.checkpoint()
        runtime.stop()
    with pytest.raises(NodeUnreachable):
        await uwsgi.rpc(node, "join")
    for wrong in ("nowhere", ":80", "fd://3"):
        with pytest.raises(ConfigError):
            await uwsgi.rpc(wrong, "join")
    with pytest.raises(ValueError, match="more than 0 seconds"):
        await uwsgi.rpc(node, "join", timeout=0)


@pytest.mark.real
async def test_a_node_that_is_no_trio_uwsgi(tmp_path: Path) -> None:
    """One that closes without a byte, one that refuses a signal, one that sends invalid bytes."""
    said = [b""]

    async def peer(stream: trio.SocketStream) -> None:
        async with stream:
            asked = await stream.receive_some()
            if asked[:1] != b"\xae":  # a hello is not answered, as by a uWSGI
                await stream.send_all(said[0])

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, peer, 0)
        node = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with pytest.raises(NodeClosed, match="without an answer; a uWSGI does so"):
            await uwsgi.rpc(node, "f")
        said[0] = b"\xff\0\0\0"
        with pytest.raises(SignalRefused):
            await uwsgi.remote_signal(7, node)
        said[0] = b"\xff\0\0\1"
        await uwsgi.remote_signal(7, node)
        for said[0] in (b"HTTP/1.1 400 Bad Request\r\n", b"\xad\x05\0\0ab"):
            with pytest.raises(NodeClosed, match="its answer cannot be read"):
                await uwsgi.rpc(node, "f")
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_a_trio_uwsgi_that_ends_is_no_answer(tmp_path: Path) -> None:
    """It answers the hello and then closes: that is an error, not a missing item."""

    async def peer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(bytes(await stream.receive_some()))
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, peer, 0)
        node = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        calls: list[Callable[[], Awaitable[object]]]
        calls = [lambda: uwsgi.cache_get("a", f"@{node}"), lambda: uwsgi.rpc(node, "f")]
        for call in calls:
            with pytest.raises(NodeClosed, match="may have been done or not"):
                await call()
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_a_full_queue_is_no_connection(tmp_path: Path) -> None:
    """A unix socket whose queue is full, and a name that cannot be resolved, are unreachable."""
    node = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as clients:
        listener.bind(node)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(node)
        with pytest.raises(NodeUnreachable, match="its queue of connections is full"):
            await uwsgi.rpc(node, "f")
    with pytest.raises(NodeUnreachable):
        await uwsgi.rpc("x" * 70 + ".example:1", "f")


@pytest.mark.real
async def test_members_keep_connections(tmp_path: Path) -> None:
    """A member's calls go over one connection; a connection that has ended is not used again."""
    registry = Registry()
    declare(registry)
    node = str(tmp_path / "n.sock")
    counts = []

    async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
        config = Config(socket=node, mules=1, keep_alive_timeout=0.2)
        await trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)

    async with trio.open_nursery() as nursery:
        done = trio.Event()

        @registry.mule(1)
        async def ask() -> None:
            for _ in range(20):
                assert b"a" == await uwsgi.rpc(node, "join", "a")
            counts.append(runtime.statistics().http[0].connections)
            with pytest.raises(RpcNotFound):
                await uwsgi.rpc(node, "none")
            await trio.sleep(0.5)
            assert b"a" == await uwsgi.rpc(node, "join", "a")
            counts.append(runtime.statistics().http[0].connections)
            done.set()

        runtime = await nursery.start(start)
        with trio.fail_after(20):
            await done.wait()
        runtime.stop()
    assert 1 == counts[0]
    assert counts[1] in (2, 3)


@pytest.mark.real
async def test_a_late_answer_on_a_kept_connection(tmp_path: Path) -> None:
    """A call over a kept connection takes no longer than the configured time, or its own; the next call is answered."""
    registry = Registry()
    declare(registry)
    node = str(tmp_path / "n.sock")
    spent: list[float] = []

    async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
        config = Config(socket=node, mules=1, node_timeout=0.3)
        await trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)

    async with trio.open_nursery() as nursery:
        done = trio.Event()

        @registry.mule(1)
        async def ask() -> None:
            for timeout in (None, 0.2):
                assert b"a" == await uwsgi.rpc(node, "join", "a")
                begun = trio.current_time()
                with pytest.raises(NodeTimeout, match=f"within {timeout or 0.3:g} s"):
                    await uwsgi.rpc(node, "slow", timeout=timeout)
                spent.append(trio.current_time() - begun)
            with trio.move_on_after(0.1) as scope:
                await uwsgi.rpc(node, "join", "a")
                await uwsgi.rpc(node, "slow")
            assert scope.cancelled_caught
            assert b"a" == await uwsgi.rpc(node, "join", "a")
            done.set()

        await nursery.start(start)
        with trio.fail_after(20):
            await done.wait()
        nursery.cancel_scope.cancel()
    assert 0.3 <= spent[0] < 2
    assert 0.2 <= spent[1] < 2


async def test_texts_that_are_not_utf_8(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Names, arguments and addresses of that kind are errors of the call, and nothing is sent."""

    async def program() -> None:
        for call in (uwsgi.call("\ud800"), uwsgi.call("f", "\ud800"), uwsgi.rpc("127.0.0.1:1", "f", "\ud800")):
            with pytest.raises(RpcError, match="is not UTF-8"):
                await call
        for node, said in (("/\ud800", "the path of a file"), (b"127.0.0.1:1", "use a str"), (None, "use a str")):
            with pytest.raises(ConfigError, match=said):
                await uwsgi.remote_signal(7, node)  # type: ignore[arg-type]

    await in_mule(program)
