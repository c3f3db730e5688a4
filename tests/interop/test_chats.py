"""A chat between WebSocket clients in different worker processes, with Starlette and with Quart-Trio."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
import trio

from tests.interop.peer_suites import ROOT
from tests.interop.peers import APPS
from tests.interop.test_peer_suites import FOLDER
from tests.real.commands import Command, running
from trio_uwsgi._testing.websocket_client import WebSocketClient, open_websocket

pytestmark = pytest.mark.real

SAID = 50  # by each client
PYTHONS = {"chat_starlette": Path(sys.executable), "chat_quart": FOLDER / "venv/bin/python"}


async def join(server: Command, clients: contextlib.AsyncExitStack) -> tuple[str, WebSocketClient]:
    """Another client; gives its worker, too."""
    stream = await trio.open_tcp_stream(*server.address)
    opened = open_websocket(lambda: stream, "/chat", host="h", subprotocols=[], headers=[], deflate=True)
    client = await clients.enter_async_context(opened)
    worker = await client.receive()
    assert isinstance(worker, str)
    return worker, client


async def chat(server: Command) -> dict[str, list[str | bytes]]:
    """Let clients of two workers say something at the same time; gives what each of them heard, by their workers."""
    heard: dict[str, list[str | bytes]] = {}

    async def say(worker: str, client: WebSocketClient) -> None:
        for number in range(SAID):
            await client.send(f"{number} of {worker}")

    async def hear(worker: str, client: WebSocketClient) -> None:
        heard[worker] = [await client.receive() for _ in range(2 * SAID)]

    async with contextlib.AsyncExitStack() as stack:
        clients: dict[str, WebSocketClient] = {}
        for _ in range(20):  # workers share new connections
            worker, client = await join(server, stack)
            clients[worker] = client
            if len(clients) == 2:
                break
        async with trio.open_nursery() as nursery:
            for worker, client in clients.items():
                nursery.start_soon(say, worker, client)
                nursery.start_soon(hear, worker, client)
    return heard


@pytest.mark.parametrize("app", PYTHONS)
def test_a_chat_between_two_workers(app: str, tmp_path: Path) -> None:
    """Both clients hear all that was said by both, in one order, and each client's words in theirs."""
    python = PYTHONS[app]
    if not python.exists():
        pytest.skip(f"Quart-Trio is not there: python tests/interop/peer_suites.py {FOLDER.relative_to(ROOT)}")
    with running(tmp_path, str(APPS / f"{app}.py"), "--processes", "2", python=str(python)) as server:

        async def limited() -> dict[str, list[str | bytes]]:
            with trio.fail_after(60):
                return await chat(server)

        heard = trio.run(limited)
    assert ["worker 1", "worker 2"] == sorted(heard)
    first, second = heard.values()
    assert first == second
    words = [str(line).partition(" ") for line in first]
    assert [str(number) for number in range(1, 2 * SAID + 1)] == [number for number, _, _ in words]
    for worker in heard:
        own = [text for _, _, text in words if text.endswith(worker)]
        assert [f"{number} of {worker}" for number in range(SAID)] == own
    assert "ERROR" not in server.said
    assert "Traceback" not in server.said
