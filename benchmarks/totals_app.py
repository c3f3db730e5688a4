"""The application of `totals.py`. The environment says what its members do, how often, and where they record it."""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct

import trio

from trio_uwsgi import uwsgi
from trio_uwsgi.errors import SignalQueueFull

HERE = Path(os.environ.get("TOTALS_FOLDER", "."))
WHAT = os.environ.get("TOTALS_WHAT", "")
TIMES = int(os.environ.get("TOTALS_TIMES", "0"))
MULES = {"increments": 4, "locks": 4, "signals": 1}  # with a program
TARGETS = {1: ("workers", 2), 2: ("worker2", 1), 3: ("mules", 2), 4: ("spooler", 1)}  # and how many members these are
NUMBER = Struct("<q")


def opened(name: str) -> int:
    """A file to append to."""
    return os.open(HERE / name, os.O_RDWR | os.O_APPEND | os.O_CREAT)


async def program() -> None:
    """Run the operation `TIMES` times in all, counting those of earlier instances of this mule."""
    acknowledged = opened(f"acknowledged{uwsgi.mule_id()}")
    do = {"increments": increment, "locks": increment_file, "signals": raise_one}[WHAT]
    for number in range(os.fstat(acknowledged).st_size // NUMBER.size, TIMES):
        await do(number, acknowledged)


async def increment(_: int, acknowledged: int) -> None:
    os.write(acknowledged, NUMBER.pack(await uwsgi.cache_inc("n")))


async def increment_file(_: int, acknowledged: int) -> None:
    holder = os.open(HERE / "holder", os.O_WRONLY)
    async with uwsgi.locked(1):
        os.pwrite(holder, NUMBER.pack(os.getpid()), 0)
        number = int((HERE / "number").read_text()) + 1
        (HERE / "new").write_text(str(number))
        os.replace(HERE / "new", HERE / "number")
        os.write(acknowledged, NUMBER.pack(number))
        os.pwrite(holder, NUMBER.pack(0), 0)
    os.close(holder)


async def raise_one(number: int, acknowledged: int) -> None:
    """Raise the next signal, of all targets in turn; a burst of forty, and then a pause."""
    signum = 1 + number % len(TARGETS)
    while True:
        try:
            uwsgi.signal(signum)
            break
        except SignalQueueFull:
            await trio.sleep(0.01)
    os.write(acknowledged, NUMBER.pack(signum))
    if number % 40 == 0:
        await trio.sleep(0.05)


async def handle(signum: int) -> None:
    os.write(BEGUN, NUMBER.pack(signum))
    await trio.sleep(0.002)
    os.write(ENDED, NUMBER.pack(signum))


if WHAT == "signals":
    BEGUN, ENDED = opened("begun"), opened("ended")
    for signum, (target, _) in TARGETS.items():
        uwsgi.register_signal(signum, target, handle)
for number in range(MULES.get(WHAT, 0)):
    uwsgi.mule(1 + number)(program)


async def app(scope: dict[str, object], receive: object, send: object) -> None:
    """No request is sent."""
    raise RuntimeError("this application serves nothing")
