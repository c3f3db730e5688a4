"""A chat over WebSockets: clients of two worker processes, of two servers that tell each other by RPC. Starlette and
Quart-Trio.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.interop.peers import Program, free_port
from trio_uwsgi._testing.websocket_client import WebSocketClient, open_websocket

pytestmark = pytest.mark.real

# What each said is queued for every client of its own process, and told to the other server.
CHAT = """
import os, trio
from trio_uwsgi import uwsgi

members = set()

@uwsgi.rpc_handler("say")
async def say(text: bytes) -> bytes:
    for queue in members:
        queue.send_nowait(f"{os.getpid()} {text.decode()}")
    return b"%d" % len(members)

async def everybody(text):
    await say(text.encode())
    await uwsgi.rpc(os.environ["OTHER"], "say", text)

async def talk(receive, send):
    queue, messages = trio.open_memory_channel(1000)
    members.add(queue)

    async def write():
        async for text in messages:
            await send(text)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await send("welcome")
            while True:
                await everybody(await receive())
    finally:
        members.discard(queue)
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

async def chat(websocket):
    await websocket.accept()
    try:
        await talk(websocket.receive_text, websocket.send_text)
    except* WebSocketDisconnect:
        pass

app = Starlette(routes=[WebSocketRoute("/chat", chat)])
"""
QUART = """
from quart import websocket
from quart_trio import QuartTrio

app = QuartTrio(__name__)

@app.websocket("/chat")
async def chat():
    await websocket.accept()
    await talk(websocket.receive, websocket.send)
"""
FRAMEWORKS = {"starlette": STARLETTE, "quart_trio": QUART}


def start(folder: Path, source: str, port: int, other: Path) -> Program:
    """A server with one worker process, which listens for RPC beside its application."""
    folder.mkdir()
    (folder / "chat.py").write_text(source)
    address = f"127.0.0.1:{port}"
    options = ["--processes", "1", "--http", address, "--socket", "unix:rpc", "--env", f"OTHER={other / 'rpc'}"]
    return Program([sys.executable, "-m", "trio_uwsgi", "chat:app", *options], folder, [address])


@contextlib.asynccontextmanager
async def join(port: int) -> AsyncIterator[WebSocketClient]:
    """A client that was welcomed."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)

    def connect() -> trio.SocketStream:
        return stream

    async with open_websocket(connect, "/chat", host="a", subprotocols=(), headers=(), deflate=True) as client:
        assert "welcome" == await client.receive()
        yield client


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_two_clients_of_two_worker_processes(framework: str, tmp_path: Path) -> None:
    """Each hears what each says, with the process that tells it; one that has left is not missed."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    source = CHAT + FRAMEWORKS[framework]
    folders = tmp_path / "one", tmp_path / "other"
    ports = free_port(), free_port()
    with contextlib.ExitStack() as ends:
        for folder, other, port in zip(folders, folders[::-1], ports, strict=True):
            ends.callback((await trio.to_thread.run_sync(start, folder, source, port, other)).kill)
        with trio.fail_after(60):
            async with join(ports[1]) as grace:
                async with join(ports[0]) as ada:
                    heard = []
                    for speaker, text in ((ada, "hello"), (grace, "gr\u00fc\u00df"), (ada, "x" * 30_000)):
                        await speaker.send(text)
                        pids = []
                        for listener in (ada, grace):
                            pid, _, said = str(await listener.receive()).partition(" ")
                            assert text == said
                            pids.append(pid)
                        heard.append(pids)
                    assert [heard[0]] * 3 == heard
                    assert 2 == len(set(heard[0]))
                await grace.send("alone")
                assert f"{heard[0][1]} alone" == await grace.receive()
    for folder in folders:
        assert "Traceback" not in (folder / "log").read_text()
