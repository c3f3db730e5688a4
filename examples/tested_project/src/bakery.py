"""A bakery: an application with a cron, a timer, a mule, a job, an alarm and a time limit, for the tests beside it.

Shows      one application that declares all of these, and functions for the world outside, which tests replace.
Try it     pip install starlette pytest 'trio-uwsgi[testing]'
           python -m pytest examples/tested_project         its tests, which are in ../tests
           trio-uwsgi examples/tested_project/src/bakery.py
           curl http://127.0.0.1:8000/stock
           curl -X POST http://127.0.0.1:8000/orders/ada
Leaves out payment. Jobs are files in ./var of the working directory.
"""

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import trio_uwsgi
from trio_uwsgi import Cache, uwsgi

config = trio_uwsgi.Config(
    mules=1,
    caches=[Cache("stock", items=100)],
    spooler="var",
    spooler_max_tries=4,
    harakiri=5,
    alarms={"oven": "log:oven"},
    timezone="Europe/Rome",
)


# ----- the world outside


async def call_courier(customer: str) -> None:
    """Raises if there is no courier."""
    print(f"one loaf for {customer}")


async def ask_supplier() -> str:
    await trio.sleep(1)
    return "flour"


async def decorate(cake: str) -> None:
    await trio.sleep(60)
    print(f"{cake} is decorated")


def oven_temperature() -> int:
    return 220


# ----- what happens without a request


@uwsgi.cron("0 5 * * *", target="mule1")
async def bake(signum: int) -> None:
    """Every morning at five, in Rome."""
    await uwsgi.cache_inc("loaves", 20)


@uwsgi.timer(600)
async def watch_oven(signum: int) -> None:
    """Every ten minutes. The alarm `oven` does what the configuration says."""
    if (degrees := oven_temperature()) > 250:
        uwsgi.alarm("oven", f"{degrees} degrees")


@uwsgi.mule_message_handler
async def decorate_cake(message: uwsgi.MuleMessage) -> None:
    """Decorates one cake after the other. If the mule dies meanwhile, the message is delivered again, once."""
    cake = message.decode()
    await decorate(f"{cake} (second attempt)" if message.redelivered else cake)


@uwsgi.spool_handler(pass_arguments=True)
async def deliver(customer: str) -> None:
    """If no courier can be called, the job is retried after 5, 10 and 20 seconds; then it is moved to `dead/`."""
    await call_courier(customer)


# ----- requests


async def show_stock(request: Request) -> Response:
    return JSONResponse({"loaves": await uwsgi.cache_num("loaves")})


async def order_loaf(request: Request) -> Response:
    """Takes a loaf from the stock, and answers when the job of its delivery is on the disk."""
    async with uwsgi.locked():
        if not await uwsgi.cache_num("loaves"):
            return JSONResponse({"error": "sold out"}, 409)
        await uwsgi.cache_dec("loaves")
    await deliver.spool(request.path_params["customer"])
    return JSONResponse({"ordered": True}, 202)


async def order_cake(request: Request) -> Response:
    uwsgi.mule_msg(request.path_params["name"], 1)
    return JSONResponse({"ordered": True}, 202)


async def show_supplies(request: Request) -> Response:
    return JSONResponse({"next": await ask_supplier()})


app = Starlette(
    routes=[
        Route("/stock", show_stock),
        Route("/orders/{customer}", order_loaf, methods=["POST"]),
        Route("/cakes/{name}", order_cake, methods=["POST"]),
        Route("/supplies", show_supplies),
    ]
)

if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
