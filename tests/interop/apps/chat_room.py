"""A chat whose clients are connected to any worker: what the two applications beside this file have in common.

What a client says goes by RPC to the server's own node, so any worker may run `say`. It stores the message in a cache,
and raises a signal in all workers, each of which wakes the clients that are connected to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

import trio_uwsgi
from trio_uwsgi import Cache, uwsgi

NODE = "./node"

config = trio_uwsgi.Config(caches=[Cache("chat", items=1000)], socket=NODE, lifespan="off")


class Bell:
    """Wakes the clients of one worker."""

    def __init__(self) -> None:
        self.next_ring = trio.Event()

    def ring(self) -> None:
        """Wake those that wait."""
        self.next_ring.set()
        self.next_ring = trio.Event()


bell = Bell()


@uwsgi.signal_handler(target="workers")
async def said(signum: int) -> None:
    """Somebody said something."""
    bell.ring()


@uwsgi.rpc_handler("say", argc=1)
async def say(message: bytes) -> str:
    """Store what was said; gives the worker that did."""
    async with uwsgi.locked():
        number = await uwsgi.cache_num("last") + 1
        await uwsgi.cache_update(str(number), message)
        await uwsgi.cache_inc("last")
    uwsgi.signal(said.signum)
    return str(uwsgi.worker_id())


async def speak(message: str) -> None:
    """A client of this worker says this."""
    await uwsgi.rpc(NODE, "say", message)


async def hear() -> AsyncIterator[str]:
    """What a client is told: the number of its worker, then everything that was said from the beginning on."""
    yield f"worker {uwsgi.worker_id()}"
    heard = 0
    while True:
        next_ring = bell.next_ring  # taken before the cache is read, so that no message is missed
        last = await uwsgi.cache_num("last")
        while heard < last:
            heard += 1
            message = await uwsgi.cache_get(str(heard))
            assert message is not None
            yield f"{heard} {message.decode()}"
        await next_ring.wait()
