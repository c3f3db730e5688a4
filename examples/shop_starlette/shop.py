"""The shop of examples/shop_flask with Starlette: the same pages and the same state, in async code.

Shows      views, jobs, a mule's handlers and a timer as Trio tasks; threads only for what blocks, here sqlite.
Try it     trio-uwsgi examples/shop_starlette/shop.py         or, in processes: --processes 2
           curl http://127.0.0.1:8000/
           curl -d product=tea -d email=ada@example.com http://127.0.0.1:8000/orders
           curl http://127.0.0.1:8000/orders/1
Leaves out payment, and mail: a letter is a line in the log.
"""

import contextlib
import html
import logging
import sqlite3
import urllib.parse
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trio_uwsgi import Cache, Config, uwsgi

config = Config(
    harakiri=10,  # time limit of a request, in seconds
    mules=1,  # background processes
    mule_harakiri=60,  # time limit of what a mule handles
    caches=[Cache("pages", items=10)],
    spooler="jobs",  # directory of the durable jobs
    spooler_harakiri=60,  # time limit of a job
)
log = logging.getLogger("shop")

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS products (name TEXT PRIMARY KEY, price INTEGER, delivered INTEGER, stock INTEGER)",
    "INSERT OR IGNORE INTO products VALUES ('coffee', 9, 20, 20), ('tea', 6, 50, 50)",
    "CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, product TEXT, email TEXT, confirmed INTEGER)",
)
SOLD = "(SELECT count(*) FROM orders WHERE product = name)"
ONE_AT_A_TIME = trio.CapacityLimiter(1)  # in each process; sqlite has one writer at a time


def execute(sql: str, values: tuple[object, ...]) -> list[Any]:
    """Run one statement in one transaction, and return its rows."""
    with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
        return connection.execute(sql, values).fetchall()


async def database(sql: str, *values: object) -> list[Any]:
    """The same in a thread: sqlite blocks, and other requests of this worker run meanwhile."""
    return await trio.to_thread.run_sync(execute, sql, values, limiter=ONE_AT_A_TIME)


@uwsgi.post_fork
async def create_tables() -> None:
    """Runs in each worker, mule and spooler before it is ready."""
    for statement in SCHEMA:
        await database(statement)


async def render() -> str:
    """The catalogue as HTML, from the database."""
    products = await database("SELECT name, price, stock FROM products ORDER BY name")
    lines = [f"<li>{html.escape(name)}: {price} EUR, {stock} in stock</li>\n" for name, price, stock in products]
    return f"<h1>Shop</h1>\n<ul>\n{''.join(lines)}</ul>\n"


async def catalogue(request: Request) -> Response:
    """The catalogue from the cache; if it is not there, this request renders it."""
    page: str | bytes | None = await uwsgi.cache_get("catalogue", "pages")
    if page is None:
        page = await render()
        await uwsgi.cache_set("catalogue", page, 300, "pages")  # does not replace a newer page
    return HTMLResponse(page)


async def order(request: Request) -> Response:
    """Store an order, and answer at once: the letter is sent and the stock is counted later."""
    form = dict(urllib.parse.parse_qsl((await request.body()).decode()))
    sql = f"INSERT INTO orders SELECT NULL, name, ?, 0 FROM products WHERE name = ? AND delivered > {SOLD}"
    inserted = await database(f"{sql} RETURNING number", form["email"], form["product"])
    if not inserted:
        return PlainTextResponse("not in stock\n", 409)
    await confirm.spool(inserted[0][0])  # when this returns, the job is on the disk
    uwsgi.mule_msg(form["product"])  # in memory; if this message is lost, the timer counts
    return PlainTextResponse(f"order {inserted[0][0]} accepted\n", 202)


async def show_order(request: Request) -> Response:
    """The state of an order, as JSON."""
    found = await database("SELECT product, confirmed FROM orders WHERE number = ?", request.path_params["number"])
    if not found:
        return PlainTextResponse("no such order\n", 404)
    product, confirmed = found[0]
    return JSONResponse({"product": product, "confirmed": bool(confirmed)})


@uwsgi.spool_handler(pass_arguments=True)
async def confirm(number: int) -> None:
    """A job: send the letter for an order. If this raises, the job is retried after 5 s, 10 s, 20 s, ..."""
    [(product, email)] = await database("SELECT product, email FROM orders WHERE number = ?", number)
    await send_mail(email, f"your {product} is on its way")
    await database("UPDATE orders SET confirmed = 1 WHERE number = ?", number)


async def send_mail(email: str, text: str) -> None:
    """Stands in for a mail server."""
    log.info("mail to %s: %s", email, text)


@uwsgi.mule_message_handler
async def count_one(message: uwsgi.MuleMessage) -> None:
    """Runs in the mule after each order."""
    await count_stock(message.decode())


@uwsgi.timer(60, target="mule1")
async def every_minute(signum: int) -> None:
    """Runs in the mule once a minute."""
    await count_stock(None)


async def count_stock(product: str | None) -> None:
    """Count what is left of one product or of all, and replace the cached page. Running this twice does no harm."""
    await database(f"UPDATE products SET stock = delivered - {SOLD} WHERE name = coalesce(?, name)", product)
    await uwsgi.cache_update("catalogue", await render(), 300, "pages")


app = Starlette(
    routes=[
        Route("/", catalogue),
        Route("/orders", order, methods=["POST"]),
        Route("/orders/{number:int}", show_order),
    ]
)
