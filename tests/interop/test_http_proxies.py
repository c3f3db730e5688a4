"""Proxies that speak HTTP to ours: haproxy with the PROXY protocol, also before TLS, and with X-Forwarded headers;
nginx's `proxy_pass`, also for WebSockets. The test's client says of itself what it must not be believed.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.certificates import Authority
from tests.interop.fronts import _find
from tests.interop.peers import Program, free_port
from trio_uwsgi import Config, Registry, serve
from trio_uwsgi._testing.websocket_client import open_websocket

pytestmark = pytest.mark.real

FORGED = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}

# Ways through a proxy, with the scheme of the client, and that which the application sees.
WAYS = {
    "v1": ("http", "http"),
    "v2": ("http", "http"),
    "headers": ("http", "http"),
    "nginx": ("http", "http"),
    "encrypts": ("http", "https"),
    "passes_tls_on_1": ("https", "https"),
    "passes_tls_on_2": ("https", "https"),
}
_HAPROXY = """
global
    log stderr local0 notice
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend one
    bind 127.0.0.1:{v1}
    default_backend one
frontend two
    bind 127.0.0.1:{v2}
    default_backend two
frontend encrypts
    bind 127.0.0.1:{encrypts}
    default_backend encrypts
frontend passes_tls_on_1
    mode tcp
    bind 127.0.0.1:{passes_tls_on_1}
    default_backend passes_tls_on_1
frontend passes_tls_on_2
    mode tcp
    bind 127.0.0.1:{passes_tls_on_2}
    default_backend passes_tls_on_2
frontend headers
    bind 127.0.0.1:{headers}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    default_backend headers
backend one
    server ours 127.0.0.1:{proxied} send-proxy
backend two
    server ours 127.0.0.1:{proxied} send-proxy-v2
backend encrypts
    server ours 127.0.0.1:{secure} ssl verify none send-proxy-v2
backend passes_tls_on_1
    mode tcp
    server ours 127.0.0.1:{secure} send-proxy
backend passes_tls_on_2
    mode tcp
    server ours 127.0.0.1:{secure} send-proxy-v2
backend headers
    server ours 127.0.0.1:{plain}
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{nginx};
        location / {{
            proxy_pass http://127.0.0.1:{plain};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Says who asks; over a WebSocket, says everything back."""
    client = str(scope.get("client", ("", 0))[0])
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "headers": [(b"x-client", client.encode())]})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": f"{client} {scope['scheme']}".encode()})
    else:
        raise NotImplementedError


async def test_what_proxies_say(tmp_path: Path) -> None:
    """The client is itself over each of them, however it calls itself, and a WebSocket goes through nginx."""
    haproxy, nginx = _find("haproxy"), _find("nginx")
    ports = {name: free_port() for name in WAYS}
    authority = Authority(tmp_path)
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    programs = []
    async with trio.open_nursery() as nursery:
        config = Config(http="127.0.0.1:0", forwarded_allow="127.0.0.1/32", lifespan="off")
        behind_headers = await nursery.start(partial(serve, registry=Registry()), app, config)
        config = Config(http="127.0.0.1:0", https=authority.tls(), proxy_protocol="loopback", lifespan="off")
        behind_balancer = await nursery.start(partial(serve, registry=Registry()), app, config)
        plain, proxied = behind_headers.addresses[0].port, behind_balancer.addresses[0].port
        secure = behind_balancer.https_addresses[0].port
        names = {**ports, "plain": plain, "proxied": proxied, "secure": secure, "user": user, "folder": tmp_path}
        (tmp_path / "haproxy.cfg").write_text(_HAPROXY.format(**names))
        (tmp_path / "nginx.conf").write_text(NGINX.format(**names))
        balancer = [haproxy, "-f", "haproxy.cfg", "-db"]
        web = [nginx, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
        try:
            with trio.fail_after(60):
                programs.append(await trio.to_thread.run_sync(Program, balancer, tmp_path, []))
                listens = [f"127.0.0.1:{port}" for port in ports.values()]
                programs.append(await trio.to_thread.run_sync(Program, web, tmp_path, listens))
                await look(ports, plain, authority)
        finally:
            for program in programs:
                program.kill()
            behind_headers.stop()
            behind_balancer.stop()


async def look(ports: dict[str, int], plain: int, authority: Authority) -> None:
    """Ask over each proxy."""
    # Proxies connect from 127.0.0.1, which is believed, and this client from another address, which is not.
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2", verify=authority.context())
    async with httpx.AsyncClient(transport=transport) as client, httpx.AsyncClient() as believed:
        for name, (scheme, expected) in WAYS.items():
            for _ in range(3):
                answer = await client.get(f"{scheme}://127.0.0.1:{ports[name]}/", headers=FORGED)
                assert (name, f"127.0.0.2 {expected}") == (name, answer.text)
        forged = await believed.get(f"http://127.0.0.1:{plain}/", headers=FORGED)
        assert "6.6.6.6 https" == forged.text
    stream = await trio.open_tcp_stream("127.0.0.1", ports["nginx"], local_address="127.0.0.2")
    async with open_websocket(
        lambda: stream, "/", host="a.example", subprotocols=(), headers=(), deflate=True
    ) as websocket:
        assert (b"x-client", b"127.0.0.2") in websocket.headers
        for data in ("hello", bytes(100_000)):
            await websocket.send(data)
            assert data == await websocket.receive()
