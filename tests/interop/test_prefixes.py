"""nginx forwards what is below a prefix of the path, in each way in which it can: Flask and Starlette have their own
path, and make the URLs under which nginx has them.
"""

from __future__ import annotations

import getpass
import os
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.interop.fronts import _NGINX, _NGINX_PARAMS, _find
from tests.interop.peers import Program, free_port
from tests.paths.test_root_path import APPS, KEPT, MANAGED, SHOP, TRUSTING
from trio_uwsgi import Config, Registry, mount, serve
from trio_uwsgi._testing.websocket_client import open_websocket

pytestmark = pytest.mark.real

# What is set; the servers that are mounted, or alone.
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "root_path": SHOP,
    "root_path and manage_script_name": KEPT,
    "manage_script_name": MANAGED,
    "X-Forwarded-Prefix": TRUSTING,
    "mounted": {},
}
_HTTP = (
    "proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix /shop; "
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
)
# What nginx does, to which of these servers.
WAYS = {
    "proxy_pass strips": ("root_path", f"location /shop/ {{ proxy_pass http://HTTP/; {_HTTP} }}"),
    "proxy_pass strips, and says so": ("X-Forwarded-Prefix", f"location /shop/ {{ proxy_pass http://HTTP/; {_HTTP} }}"),
    "proxy_pass keeps": ("root_path and manage_script_name", f"location /shop/ {{ proxy_pass http://HTTP; {_HTTP} }}"),
    "proxy_pass keeps, for a mount": ("mounted", f"location /shop/ {{ proxy_pass http://HTTP; {_HTTP} }}"),
    "uwsgi_pass": ("root_path and manage_script_name", "location /shop/ { uwsgi_pass UWSGI; }"),
    "uwsgi_pass, for a mount": ("mounted", "location /shop/ { uwsgi_pass UWSGI; }"),
    "uwsgi_pass with SCRIPT_NAME": (
        "manage_script_name",
        "location /shop/ { PARAMS uwsgi_param SCRIPT_NAME /shop; uwsgi_pass UWSGI; }",
    ),
    "uwsgi_pass with modifier 30": (
        "nothing",
        "location /shop/ { PARAMS uwsgi_param SCRIPT_NAME /shop; uwsgi_modifier1 30; uwsgi_pass UWSGI; }",
    ),
    "uwsgi_pass with modifier 30, for a mount": (
        "mounted",
        "location /shop/ { PARAMS uwsgi_param SCRIPT_NAME /shop; uwsgi_modifier1 30; uwsgi_pass UWSGI; }",
    ),
    "uwsgi_pass with a rewrite": (
        "root_path",
        "location /shop/ { rewrite ^/shop(/.*)$ $1 break; uwsgi_pass UWSGI; }",
    ),
    "uwsgi_pass with a rewrite and SCRIPT_NAME": (
        "nothing",
        "location /shop/ { PARAMS uwsgi_param SCRIPT_NAME /shop; rewrite ^/shop(/.*)$ $1 break; uwsgi_pass UWSGI; }",
    ),
}


def nginx(folder: Path, ports: dict[str, int], targets: dict[str, tuple[str, str]]) -> Program:
    """nginx with a port for each way."""
    program = _find("nginx")
    servers = ["map $http_upgrade $connection_upgrade { default upgrade; '' close; }"]
    for way, (server, location) in WAYS.items():
        http, uwsgi = targets[server]
        # A location with params of its own does not inherit the others.
        location = location.replace("HTTP;", f"{http};").replace("HTTP/", f"{http}/")
        location = location.replace("UWSGI", uwsgi).replace("PARAMS", _NGINX_PARAMS)
        servers.append(f"server {{ listen 127.0.0.1:{ports[way]}; {location} }}")
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, folder=folder, params=_NGINX_PARAMS, servers="\n    ".join(servers))
    (folder / "nginx.conf").write_text(text)
    listens = [f"127.0.0.1:{port}" for port in ports.values()]
    return Program([program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], folder, listens)


@pytest.mark.parametrize("name", APPS)
async def test_a_prefix_behind_nginx(name: str, tmp_path: Path) -> None:
    """In each way the application sees the rest of the path, and its URLs are those of nginx."""
    _find("nginx")
    make = APPS[name]
    ports = {way: free_port() for way in WAYS}
    runtimes, targets = [], {}
    async with trio.open_nursery() as nursery:
        for server, options in OPTIONS.items():
            app = mount({"": make(), "/shop": make()}) if server == "mounted" else make()
            config = Config(http="127.0.0.1:0", socket="127.0.0.1:0", disable_logging=True, **options)
            runtimes.append(runtime := await nursery.start(partial(serve, registry=Registry()), app, config))
            targets[server] = str(runtime.addresses[0]), str(runtime.uwsgi_addresses[0])
        web = await trio.to_thread.run_sync(nginx, tmp_path, ports, targets)
        try:
            with trio.fail_after(60):
                await look(name, ports)
        finally:
            web.kill()
            for runtime in runtimes:
                runtime.stop()


async def look(name: str, ports: dict[str, int]) -> None:
    """Ask in each way; WebSockets go by `proxy_pass`."""
    async with httpx.AsyncClient() as client:
        for way, port in ports.items():
            site = f"http://127.0.0.1:{port}"
            for path, rest in (("/shop/a", "/a"), ("/shop/", "/"), ("/shop/a%20b/%C3%A9", "/a b/\u00e9")):
                answer = await client.get(site + path)
                assert (way, 200, ["/shop", rest, f"{site}/shop{rest}"]) == (way, answer.status_code, answer.json())
    if name == "starlette":
        for way, port in ports.items():
            if way.startswith("proxy_pass"):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                async with open_websocket(
                    partial(_same, stream), "/shop/ws", host="a.example", subprotocols=(), headers=(), deflate=False
                ) as websocket:
                    assert (way, "/shop /shop/ws") == (way, await websocket.receive())


def _same(stream: trio.SocketStream) -> trio.SocketStream:
    return stream
