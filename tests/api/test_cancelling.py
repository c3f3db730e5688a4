"""Every awaited call of the API, cancelled at each of its checkpoints: the state is then as if it had not been made."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

import trio_uwsgi
from tests.api.cancelling import cancel_everywhere
from trio_uwsgi import Cache, Config, Registry, uwsgi

if TYPE_CHECKING:
    from pathlib import Path

Call = Callable[[str, int], Awaitable[object]]


async def _lock(node: str, fd: int) -> None:
    await uwsgi.lock()
    uwsgi.unlock()


async def _connect(node: str, fd: int) -> None:
    uwsgi.close(await uwsgi.async_connect(node))


async def _suspend(node: str, fd: int) -> None:
    uwsgi.wait_fd_write(fd, 5)
    uwsgi.wait_fd_read(fd, 5)
    await uwsgi.suspend()


async def _wait_for_change(node: str, fd: int) -> None:
    with trio.move_on_after(0.01):
        await uwsgi.sharedarea_wait(0)


async def _wait_signal(node: str, fd: int) -> None:
    uwsgi.signal(7)
    await uwsgi.signal_wait(7)


async def _wait_stopping(node: str, fd: int) -> None:
    with trio.move_on_after(0.01):
        await uwsgi.wait_stopping()


CALLS: dict[str, Call] = {
    "async_connect": _connect,
    "cache_clear": lambda node, fd: uwsgi.cache_clear(f"@{node}"),
    "cache_dec": lambda node, fd: uwsgi.cache_dec("n", cache=f"@{node}"),
    "cache_del": lambda node, fd: uwsgi.cache_del("a", f"@{node}"),
    "cache_div": lambda node, fd: uwsgi.cache_div("n", cache=f"@{node}"),
    "cache_exists": lambda node, fd: uwsgi.cache_exists("a", f"@{node}"),
    "cache_get": lambda node, fd: uwsgi.cache_get("a", f"@{node}"),
    "cache_inc": lambda node, fd: uwsgi.cache_inc("n", cache=f"@{node}"),
    "cache_keys": lambda node, fd: uwsgi.cache_keys(f"@{node}"),
    "cache_mul": lambda node, fd: uwsgi.cache_mul("n", cache=f"@{node}"),
    "cache_num": lambda node, fd: uwsgi.cache_num("n", f"@{node}"),
    "cache_set": lambda node, fd: uwsgi.cache_set("a", "x", cache=f"@{node}"),
    "cache_update": lambda node, fd: uwsgi.cache_update("a", "x", cache=f"@{node}"),
    "call": lambda node, fd: uwsgi.call("pause"),
    "farm_get_msg": lambda node, fd: uwsgi.farm_get_msg(timeout=0.01),
    "lock": _lock,
    "mule_get_msg": lambda node, fd: uwsgi.mule_get_msg(timeout=0.01),
    "recv": lambda node, fd: uwsgi.recv(fd, 1),
    "remote_spool": lambda node, fd: uwsgi.remote_spool(node, a="b"),
    "remote_signal": lambda node, fd: uwsgi.remote_signal(7, node),
    "rpc": lambda node, fd: uwsgi.rpc(node, "pause"),
    "send": lambda node, fd: uwsgi.send(fd, b"x"),
    "sharedarea_wait": _wait_for_change,
    "signal_wait": _wait_signal,
    "spool": lambda node, fd: uwsgi.spool(a="b"),
    "spooler_get_task": lambda node, fd: uwsgi.spooler_get_task(f"{os.path.dirname(node)}/jobs/x"),
    "spooler_jobs": lambda node, fd: uwsgi.spooler_jobs(),
    "suspend": _suspend,
    "wait_stopping": _wait_stopping,
}


def test_all_awaited_calls_are_here() -> None:
    """A call that is added to the API is added to this test."""
    awaited = {name for name in uwsgi.__all__ if inspect.iscoroutinefunction(inspect.unwrap(getattr(uwsgi, name)))}
    assert awaited == set(CALLS)


async def no_app(scope: object, receive: object, send: object) -> None:
    """Never asked."""
    raise NotImplementedError


@pytest.mark.real
@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_call_leaves_nothing(
    tmp_path: Path, name: str, descriptors: Callable[[], int], uwsgi_registry: Registry
) -> None:
    """No descriptor, no lock, no task; and the same call can be made right afterwards."""
    node = str(tmp_path / "n.sock")
    registry = uwsgi_registry
    done = trio.Event()

    @registry.rpc_handler("pause")
    async def pause() -> bytes:
        await trio.lowlevel.checkpoint()
        return b"x"

    registry.register_signal(7, "mule1", lambda signum: None)

    @registry.mule(1)
    async def program() -> None:
        near, far = socket.socketpair()
        with near, far:
            far.send(bytes(1000))
            task = trio.lowlevel.current_task()
            await CALLS[name](node, near.fileno())
            async for _ in cancel_everywhere(lambda: CALLS[name](node, near.fileno())):
                assert not uwsgi.is_locked()
                assert not task.child_nurseries
                await CALLS[name](node, near.fileno())
        done.set()

    async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
        config = Config(
            socket=node,
            mules=1,
            farms={"f": [1]},
            caches=[Cache("c", items=9)],
            message_queue=10,
            sharedarea=[8],
            spooler=f"{tmp_path}/jobs",
        )
        await trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)

    before = descriptors()
    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(start)
        with trio.fail_after(30):
            await done.wait()
            # The other node may still be writing what a cancelled call has sent to it.
            while runtime.statistics().http[0].running:  # noqa: ASYNC110  # it tells nobody
                await trio.sleep(0.01)
        assert (0, 0) == (runtime.statistics().http[0].running, runtime.statistics().members[0].running)
        runtime.stop()
    assert before == descriptors()
