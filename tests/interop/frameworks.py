"""Tries frameworks and libraries under the server: `python tests/interop/frameworks.py PYTHON` prints a table.

PYTHON is the interpreter of a virtual environment that has trio_uwsgi and what is to be tried; what is missing there is
left out. Each row is one application, served by `trio-uwsgi` on a port of its own, that gets one request: `ok` is an
answer with status 200; for any other the first line that the server logs about it follows. The table of
docs/explanation/trio_and_asyncio.md was made with it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import NamedTuple


class Row(NamedTuple):
    """One application: its label, the distribution whose version is shown, its source, options of the command line."""

    label: str
    distribution: str
    source: str
    options: tuple[str, ...] = ()


def in_asgi(body: str, imports: str) -> str:
    """An ASGI application whose handler is `body`."""
    return f"""
{imports}
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
{indent(dedent(body), "    ")}
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": b"ok"}})
"""


FASTAPI = "from fastapi import FastAPI, Depends, BackgroundTasks\napp = FastAPI()\n"
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
"""
DJANGO = """
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
import django
django.setup()
"""
SQL = """
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
engine = create_async_engine("sqlite+aiosqlite://")
"""

ROWS = [
    Row("Flask", "flask", "from flask import Flask\napp = Flask(__name__)\napp.route('/')(lambda: 'ok')\n"),
    Row(
        "Flask, `async def` view",
        "flask",
        "import asyncio\nfrom flask import Flask\napp = Flask(__name__)\n"
        "@app.route('/')\nasync def index():\n    await asyncio.sleep(0)\n    return 'ok'\n",
    ),
    Row("bottle", "bottle", "import bottle\napp = bottle.Bottle()\napp.route('/')(lambda: 'ok')\n"),
    Row(
        "Django over WSGI",
        "django",
        f"{DJANGO}from django.core.wsgi import get_wsgi_application\n"
        "urlpatterns = [path('', lambda request: HttpResponse('ok'))]\napp = get_wsgi_application()\n",
    ),
    Row(
        "Django over WSGI, `async def` view",
        "django",
        f"import asyncio\n{DJANGO}from django.core.wsgi import get_wsgi_application\n"
        "async def index(request):\n    await asyncio.sleep(0)\n    return HttpResponse('ok')\n"
        "urlpatterns = [path('', index)]\napp = get_wsgi_application()\n",
    ),
    Row(
        "Django over ASGI",
        "django",
        f"{DJANGO}from django.core.asgi import get_asgi_application\n"
        "urlpatterns = [path('', lambda request: HttpResponse('ok'))]\napp = get_asgi_application()\n",
    ),
    Row(
        "Falcon over WSGI",
        "falcon",
        "import falcon\nclass Index:\n    def on_get(self, req, resp):\n        resp.text = 'ok'\n"
        "app = falcon.App()\napp.add_route('/', Index())\n",
    ),
    Row(
        "Falcon over ASGI",
        "falcon",
        "import falcon.asgi\nclass Index:\n    async def on_get(self, req, resp):\n        resp.text = 'ok'\n"
        "app = falcon.asgi.App()\napp.add_route('/', Index())\n",
    ),
    Row(
        "Starlette",
        "starlette",
        f"{STARLETTE}async def index(request):\n    return PlainTextResponse('ok')\n"
        "app = Starlette(routes=[Route('/', index)])\n",
    ),
    Row(
        "Starlette, `def` endpoint, `BaseHTTPMiddleware`, `BackgroundTask`, streaming",
        "starlette",
        f"""{STARLETTE}
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)
def index(request):
    return StreamingResponse(iter(['o', 'k']), background=BackgroundTask(lambda: None))
app = Starlette(routes=[Route('/', index)], middleware=[Middleware(Passing)])
""",
    ),
    Row(
        "Starlette, `asyncio.sleep` in an endpoint",
        "starlette",
        f"import asyncio\n{STARLETTE}async def index(request):\n    await asyncio.sleep(0.1)\n"
        "    return PlainTextResponse('ok')\n"
        "app = Starlette(routes=[Route('/', index)])\n",
    ),
    Row("FastAPI", "fastapi", f"{FASTAPI}@app.get('/')\nasync def index():\n    return 'ok'\n"),
    Row(
        "FastAPI: `def` endpoint, dependency with `yield`, `BackgroundTasks`, lifespan",
        "fastapi",
        """
import contextlib
from fastapi import FastAPI, Depends, BackgroundTasks
@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"db": 1}
app = FastAPI(lifespan=lifespan)
def database():
    yield 1
async def user(database=Depends(database)):
    yield database
@app.get('/')
def index(tasks: BackgroundTasks, user=Depends(user)):
    tasks.add_task(lambda: None)
    return 'ok'
""",
    ),
    Row(
        "Litestar, `async def` handler",
        "litestar",
        "from litestar import Litestar, get\n@get('/')\nasync def index() -> str:\n"
        "    return 'ok'\napp = Litestar([index])\n",
    ),
    Row(
        "Litestar, `def` handler in a thread",
        "litestar",
        "from litestar import Litestar, get\n@get('/', sync_to_thread=True)\ndef index() -> str:\n"
        "    return 'ok'\napp = Litestar([index])\n",
    ),
    Row(
        "Litestar, file response",
        "litestar",
        "from litestar import Litestar, get\nfrom litestar.response import File\n"
        "@get('/')\nasync def index() -> File:\n"
        "    return File(path=__file__)\napp = Litestar([index])\n",
    ),
    Row(
        "Quart-Trio",
        "quart-trio",
        "from quart_trio import QuartTrio\napp = QuartTrio(__name__)\n@app.route('/')\n"
        "async def index():\n    return 'ok'\n",
    ),
    Row(
        "Quart",
        "quart",
        "from quart import Quart\napp = Quart(__name__)\n@app.route('/')\nasync def index():\n    return 'ok'\n",
    ),
    Row(
        "httpx, in an ASGI application",
        "httpx",
        in_asgi(
            """
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as client:
                assert (await client.get("http://other/")).status_code == 200
            """,
            """
import contextlib, httpx, os, socket, tempfile, threading
path = tempfile.mkdtemp() + "/s"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
def other():
    while True:
        connection = listener.accept()[0]
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
threading.Thread(target=other, daemon=True).start()
""",
        ),
    ),
    Row("anyio", "anyio", in_asgi("await anyio.to_thread.run_sync(len, '')\nawait anyio.sleep(0)", "import anyio")),
    Row("asyncpg", "asyncpg", in_asgi("await asyncpg.connect('postgresql://127.0.0.1:1/x')", "import asyncpg")),
    Row(
        "psycopg, `AsyncConnection`",
        "psycopg",
        in_asgi(
            "await psycopg.AsyncConnection.connect(f'host=127.0.0.1 port={listener.getsockname()[1]}')",
            "import psycopg, socket\nlistener = socket.create_server(('127.0.0.1', 0))",
        ),
    ),
    Row(
        "aiohttp, client",
        "aiohttp",
        in_asgi(
            "async with aiohttp.ClientSession() as session:\n    await session.get('http://127.0.0.1:1/')",
            "import aiohttp",
        ),
    ),
    Row(
        "SQLAlchemy, `create_async_engine`",
        "sqlalchemy",
        in_asgi("async with engine.connect() as connection:\n    await connection.execute(text('select 1'))", SQL),
    ),
    Row(
        "SQLAlchemy, `create_engine`, in a thread",
        "sqlalchemy",
        in_asgi(
            "def query():\n    with engine.connect() as connection:\n"
            "        assert connection.execute(text('select 1')).scalar() == 1\nawait trio.to_thread.run_sync(query)",
            "import trio\nfrom sqlalchemy import create_engine, text\nengine = create_engine('sqlite://')",
        ),
    ),
    Row(
        "redis, `redis.asyncio`",
        "redis",
        in_asgi("await redis.Redis(port=1).get('x')", "import redis.asyncio as redis"),
    ),
    Row("structlog", "structlog", in_asgi("structlog.get_logger().info('x')", "import structlog")),
    Row(
        "structlog, `ainfo`",
        "structlog",
        in_asgi("await structlog.get_logger().ainfo('x')", "import structlog"),
    ),
    Row(
        "trio-asyncio around asyncio code",
        "trio-asyncio",
        in_asgi(
            "async with trio_asyncio.open_loop():\n    await trio_asyncio.aio_as_trio(asyncio.sleep)(0)",
            "import asyncio, trio_asyncio",
        ),
    ),
    Row(
        "trio-asyncio around aiohttp's client",
        "trio-asyncio",
        in_asgi(
            """
            async def fetch():
                async with aiohttp.ClientSession() as session:
                    try:
                        await session.get('http://127.0.0.1:1/')
                    except aiohttp.ClientConnectorError:
                        pass
            async with trio_asyncio.open_loop():
                await trio_asyncio.aio_as_trio(fetch)()
            """,
            "import aiohttp, trio_asyncio",
        ),
    ),
    Row(
        "trio-asyncio around Django over ASGI",
        "trio-asyncio",
        f"import trio_asyncio\n{DJANGO}from django.core.asgi import get_asgi_application\n"
        "urlpatterns = [path('', lambda request: HttpResponse('ok'))]\ndjango_app = get_asgi_application()\n"
        "async def app(scope, receive, send):\n"
        "    async with trio_asyncio.open_loop():\n"
        "        await trio_asyncio.aio_as_trio(django_app)(scope, trio_asyncio.trio_as_aio(receive),"
        " trio_asyncio.trio_as_aio(send))\n",
    ),
    Row(
        "asyncio in a thread of its own",
        "trio",
        in_asgi(
            "await trio.to_thread.run_sync(asyncio.run, asyncio.sleep(0))",
            "import asyncio, trio",
        ),
    ),
    Row(
        "`asyncio.run` in a WSGI view, `--processes 1`",
        "trio",
        "import asyncio\ndef app(environ, start_response):\n    asyncio.run(asyncio.sleep(0))\n"
        "    start_response('200 OK', [])\n    return [b'ok']\n",
        ("--processes", "1"),
    ),
]


def free_port() -> int:
    """A port on which no program listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def served(python: str, row: Row, port: int, folder: Path) -> Iterator[Path]:
    """Serve the application of a row while the block runs; gives the server's log."""
    (folder / "application.py").write_text(row.source)
    log = folder / "log"
    command = [python, "-m", "trio_uwsgi", "application:app", "--http", f"127.0.0.1:{port}", *row.options]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 30
            while "serves the" not in log.read_text() and server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            yield log
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def outcome(python: str, row: Row) -> str:
    """`ok`, or the status and what the log has about it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        with served(python, row, port, Path(folder)) as log:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    status = str(answer.status)
            except urllib.error.HTTPError as error:
                status = str(error.code)
            except OSError as error:
                status = f"no answer ({error})"
        lines = log.read_text().splitlines()
    if status == "200":
        return "ok"
    wrong = [line.partition(" failed: ")[2] for line in lines if " failed: " in line]
    return f"{status}: {(wrong or lines or ['nothing in the log'])[0]}"


def version(python: str, distribution: str) -> str | None:
    """The version in that environment; None if it is not installed there."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    return found.stdout.strip() if found.returncode == 0 else None


def main() -> None:
    """Print the table."""
    python = str(Path(sys.argv[1]).absolute())
    for row in ROWS:
        if (found := version(python, row.distribution)) is None:
            continue
        print(f"| {row.label} | {row.distribution} {found} | {outcome(python, row)} |", flush=True)


if __name__ == "__main__":
    main()
