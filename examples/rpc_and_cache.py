"""RPC and a cache: a price that is asked for over the network once a minute, and shown to everybody.

Shows      an RPC function, calls of it here and on another node, a cache with an expiry, a lock, the uwsgi protocol.
Try it     python examples/rpc_and_cache.py
           curl http://127.0.0.1:8000/tea
           curl http://127.0.0.1:8000/coffee
Leaves out a second machine: the node that is asked is this program itself, on 127.0.0.1:3031.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

import trio_uwsgi
from trio_uwsgi import Cache, uwsgi
from trio_uwsgi.errors import NodeError, RpcError

NODE = "127.0.0.1:3031"
config = trio_uwsgi.Config(http="127.0.0.1:8000", socket=NODE, caches=[Cache("prices", items=100, lru=True)])
prices = {b"tea": b"2.50", b"coffee": b"3.20"}


@uwsgi.rpc_handler("price", argc=1)
async def price(drink: bytes) -> bytes:
    """Any trio_uwsgi or uWSGI that may connect can call this; so can members of this runtime, with `uwsgi.call`."""
    return prices[drink]


async def cached_price(drink: str) -> bytes:
    """The price, at most a minute old; asked for by one request at a time."""
    async with uwsgi.locked():
        found = await uwsgi.cache_get(drink)
        if found is None:
            found = await uwsgi.rpc(NODE, "price", drink, timeout=2)
            await uwsgi.cache_update(drink, found, expires=60)
    return found


async def app(scope: MutableMapping[str, Any], receive: object, send: Callable[[Any], Awaitable[None]]) -> None:
    """GET /tea."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    try:
        status, text = 200, await cached_price(scope["path"].strip("/"))
    except (RpcError, NodeError) as error:
        status, text = 502, str(error).encode()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text + b"\n"})


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
