"""Another process that has a shared cache: `python shared_cache_peer.py what folder spec ...`. Run by tests."""

from __future__ import annotations

import ast
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._caches import shared_folder
from trio_uwsgi._caches.caches import Caches, LocalCache
from trio_uwsgi._caches.shared_cache import SharedRules
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi.config.options import Cache
from trio_uwsgi.errors import CacheError

if TYPE_CHECKING:
    from trio_uwsgi._caches.rules import CacheRules

Step = tuple[str, bytes, bytes, int]


def answer(rules: CacheRules | SharedRules, step: Step, now: float) -> object:
    """Take a step, and say what came of it."""
    what, key, value, number = step
    try:
        match what:
            case "set" | "update":
                return getattr(rules, what)(key, value, number, now)
            case "change":
                return rules.change(key, lambda old: old * 3 + number, number, now)
            case "clear":
                rules.clear()
                return None
            case "statistics":
                return str(rules.statistics(now))
            case _:
                return getattr(rules, what)(key, now)
    except CacheError as error:
        return str(error)


def say(what: object) -> None:
    """Write a line to whoever started this process, as a literal, which infinity has none of its own for."""
    sys.stdout.write(f"{what!r}\n".replace("inf)", "1e999)"))
    sys.stdout.flush()


def steps(rules: SharedRules) -> None:
    """Take the steps that are asked for, each in a line."""
    for line in sys.stdin:
        step, now = ast.literal_eval(line)
        say(answer(rules, step, now))


def count(cache: LocalCache, log: str, most: str) -> None:
    """Increment until there are so many results in the log, where each is written as soon as it is known."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for _ in range(os.fstat(file).st_size // 8, int(most)):
        os.write(file, cache.inc("n").to_bytes(8, "little"))


def churn(cache: LocalCache, keys: str, times: str) -> None:
    """Get and update items at random, and look whether there are more than there may be."""
    for _ in range(int(times)):
        key = f"{random.randrange(int(keys))}"
        if cache.get(key) is None:
            cache.update(key, key * 50)
    say(len(cache.keys()))


def update(cache: LocalCache) -> None:
    """Update 10,000 items, and say so for each."""
    for number in range(10_000):
        cache.update(f"key{number}", f"value{number}")
        cache.inc("total")
        say(number)


def hold(rules: SharedRules, write: str) -> None:
    """Begin a transaction, and never end it."""
    transaction = rules._env.begin(write=write == "write")
    say(transaction.id())
    sys.stdin.read()


def fork(cache: LocalCache) -> None:
    """Use the cache on both sides of a fork."""
    cache.update("a", "1")
    child = os.fork()
    if child == 0:
        try:
            cache.get("a")
        except CacheError as error:
            say(str(error))
        os._exit(0)
    os.waitpid(child, 0)
    say(cache.get("a"))


def increment(cache: LocalCache) -> None:
    """Increment once."""
    say(cache.inc("n"))


RULES: dict[str, Callable[..., None]] = {"steps": steps, "hold": hold}
CACHES: dict[str, Callable[..., None]] = {
    "count": count,
    "churn": churn,
    "update": update,
    "fork": fork,
    "increment": increment,
}


def serve(specs: list[Cache], memory: Path) -> None:
    """Be the first process of a runtime, whose shared memory is in this folder."""
    shared_folder._MEMORY = memory

    async def main() -> None:
        caches = Caches(specs, time.time, shared=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(caches.serve)
            say(str(caches.folder))

    trio.run(main)


def main(what: str, where: str, fields: str, *arguments: str) -> None:
    """Open the cache, and do it."""
    spec = Cache("c", **ast.literal_eval(fields))
    if what == "serve":
        serve([spec], Path(where))
        return
    folder = SharedFolder(Path(where))
    if what in RULES:
        RULES[what](SharedRules(spec, folder, 0), *arguments)
        return
    if what == "increment":
        say("ready")
        sys.stdin.readline()
    CACHES[what](LocalCache(spec, time.time, folder), *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
