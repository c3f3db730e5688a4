"""The chat with Quart-Trio."""

from __future__ import annotations

import trio
from chat_room import config, hear, speak
from quart import websocket
from quart_trio import QuartTrio

__all__ = ["app", "config"]


async def chat() -> None:
    """One client, until it closes."""

    async def listen() -> None:
        while True:
            await speak(await websocket.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        async for message in hear():
            await websocket.send(message)


app = QuartTrio(__name__)
app.add_websocket("/chat", view_func=chat)
