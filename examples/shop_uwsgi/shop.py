"""The shop of examples/shop_flask as it was written for uWSGI: the same pages and the same state.

Shows      `import uwsgi`, `uwsgidecorators` and an ini file, which run unmodified, here as under uWSGI.
Try it     trio-uwsgi --ini examples/shop_uwsgi/uwsgi.ini     or, in uWSGI: uwsgi --ini examples/shop_uwsgi/uwsgi.ini
           curl http://127.0.0.1:8000/
           curl -d product=tea -d email=ada@example.com http://127.0.0.1:8000/orders
           curl http://127.0.0.1:8000/orders/1
Leaves out payment, and mail: a letter is a line in the log.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator

import flask
import uwsgi
from uwsgidecorators import mulefunc, postfork, spool, timer

app = flask.Flask(__name__)
FILE = os.path.abspath("shop.db")  # uWSGI runs jobs in the directory of the spooler

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (name TEXT PRIMARY KEY, price INTEGER, delivered INTEGER, stock INTEGER);
INSERT OR IGNORE INTO products VALUES ('coffee', 9, 20, 20), ('tea', 6, 50, 50);
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, product TEXT, email TEXT, confirmed INTEGER DEFAULT 0);
"""
SOLD = "(SELECT count(*) FROM orders WHERE product = name)"
PAGE = """<h1>Shop</h1>
<ul>
{%- for name, price, stock in products %}
<li>{{ name }}: {{ price }} EUR, {{ stock }} in stock</li>
{%- endfor %}
</ul>

"""


@contextlib.contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """A connection for one block, which is committed at its end. Threads and processes must not share connections."""
    with contextlib.closing(sqlite3.connect(FILE)) as connection, connection:
        yield connection


@postfork
def create_tables() -> None:
    """Runs in each process when it starts."""
    with database() as db:
        db.executescript(SCHEMA)


def render() -> bytes:
    """The catalogue as HTML, from the database."""
    with database() as db:
        products = db.execute("SELECT name, price, stock FROM products ORDER BY name").fetchall()
    return app.jinja_env.from_string(PAGE).render(products=products).encode()


@app.get("/")
def catalogue() -> bytes:
    """The catalogue from the cache; if it is not there, this request renders it."""
    page: bytes | None = uwsgi.cache_get("catalogue", "pages")
    if page is None:
        page = render()
        uwsgi.cache_set("catalogue", page, 300, "pages")  # does not replace a newer page
    return page


@app.post("/orders")
def order() -> tuple[str, int]:
    """Store an order, and answer at once: the letter is sent and the stock is counted later."""
    product, email = flask.request.form["product"], flask.request.form["email"]
    sql = f"INSERT INTO orders (product, email) SELECT name, ? FROM products WHERE name = ? AND delivered > {SOLD}"
    with database() as db:
        inserted = db.execute(sql, (email, product))
    if inserted.rowcount == 0:
        return "not in stock\n", 409
    confirm.spool(inserted.lastrowid)
    count_one(product)  # in memory; if this message is lost, the timer counts
    return f"order {inserted.lastrowid} accepted\n", 202


@app.get("/orders/<int:number>")
def show_order(number: int) -> dict[str, object]:
    """The state of an order, as JSON."""
    with database() as db:
        found = db.execute("SELECT product, confirmed FROM orders WHERE number = ?", (number,)).fetchone()
    return {"product": found[0], "confirmed": bool(found[1])} if found else flask.abort(404)


@spool(pass_arguments=True)
def confirm(number: int) -> None:
    """A job: send the letter for an order. If this raises, the job is retried."""
    with database() as db:
        product, email = db.execute("SELECT product, email FROM orders WHERE number = ?", (number,)).fetchone()
    send_mail(email, f"your {product} is on its way")
    with database() as db:
        db.execute("UPDATE orders SET confirmed = 1 WHERE number = ?", (number,))


def send_mail(email: str, text: str) -> None:
    """Stands in for a mail server."""
    uwsgi.log(f"mail to {email}: {text}")


@mulefunc(1)
def count_one(product: str) -> None:
    """Runs in the mule after each order."""
    count_stock(product)


@timer(60, target="mule1")
def every_minute(signum: int) -> None:
    """Runs in the mule once a minute."""
    count_stock(None)


def count_stock(product: str | None) -> None:
    """Count what is left of one product or of all, and replace the cached page. Running this twice does no harm."""
    with database() as db:
        db.execute(f"UPDATE products SET stock = delivered - {SOLD} WHERE name = coalesce(?, name)", (product,))
    uwsgi.cache_update("catalogue", render(), 300, "pages")
