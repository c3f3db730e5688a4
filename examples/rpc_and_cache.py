"""RPC and a cache: the server asks another server for a price once a minute, and shows it to all clients.

Shows      an RPC function, a call of it at another node (a server that speaks the uwsgi protocol), a cache whose items
           expire, and a lock.
Try it     python examples/rpc_and_cache.py
           curl http://127.0.0.1:8000/tea
           curl http://127.0.0.1:8000/coffee
Leaves out a second machine: this program calls itself, on 127.0.0.1:3031.
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
    """Other trio_uwsgi and uWSGI servers can call this; so can requests here, with `uwsgi.call`."""
    return prices[drink]


async def cached_price(drink: str) -> bytes:
    """The price, at most a minute old. The lock lets one request at a time ask the other node."""
    async with uwsgi.locked():
        found = await uwsgi.cache_get(drink)
        if found is None:
            found = await uwsgi.rpc(NODE, "price", drink, timeout=2)
            await uwsgi.cache_update(drink, found, expires=60)
    return found


async def app(scope: MutableMapping[str, Any], receive: object, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer GET /tea with the price of tea, and an error of the other node with 502."""
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
