"""The chat with Starlette, on Trio through anyio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from chat_room import config, hear, speak
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

__all__ = ["app", "config"]


async def chat(websocket: WebSocket) -> None:
    """One client, until it closes."""
    await websocket.accept()

    async def tell() -> None:
        async for message in hear():
            await websocket.send_text(message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        async for message in websocket.iter_text():
            await speak(message)
        tasks.cancel_scope.cancel()


app = Starlette(routes=[WebSocketRoute("/chat", chat)])
