"""The statistics of a runtime as uWSGI's stats server writes them, for `uwsgitop` and other tools that read its JSON.

Each number is true, or 0 where docs/reference/statistics.md says why. Parts that do not exist here are left out:
uWSGI's locks of its own, and legions.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from trio_uwsgi._runtime.member_instance import second_name
from trio_uwsgi._runtime.opt import UWSGI_VERSION
from trio_uwsgi._runtime.slots import SlotState
from trio_uwsgi._system.listen_queues import listen_queue
from trio_uwsgi._system.process_memory import process_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi._runtime.worker_statistics import WorkerStatistics

__all__ = ["stats_json"]

Part = dict[str, object]

_METRIC_TYPES = {"counter": 0, "gauge": 1, "absolute": 2}


def stats_json(tree: NurseryTree) -> bytes:
    """A snapshot of a runtime, as uWSGI's JSON."""
    return json.dumps(_page(tree), indent="\t", separators=(",", ":")).encode()


def _page(tree: NurseryTree) -> Part:
    sockets = list(_sockets(tree))
    waiting = max((queue for queue, _ in sockets), default=0)
    page: Part = {
        "version": UWSGI_VERSION,
        "listen_queue": waiting,
        "listen_queue_errors": 0,
        "signal_queue": sum(len(slot.signals) for slot in tree.dispatcher.slots()),
        "load": waiting,
        "pid": os.getpid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "cwd": _folder(),
    }
    if daemons := tree.daemons():
        page["daemons"] = daemons
    page["locks"] = list(_locks(tree))
    if caches := list(_caches(tree)):
        page["caches"] = caches
    if metrics := tree.member_factory.services.metrics.statistics():
        page["metrics"] = {
            metric.name: {"type": _METRIC_TYPES[metric.type], "oid": "", "value": metric.value} for metric in metrics
        }
    page["sockets"] = [socket for _, socket in sockets]
    page["workers"] = [_worker(tree, found) for found in tree.member_factory.worker_statistics()]
    if spoolers := list(_spoolers(tree)):
        page["spoolers"] = spoolers
    if crons := tree.crons():
        page["crons"] = crons
    return page


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody has removed it
        return ""


def _sockets(tree: NurseryTree) -> Iterator[tuple[int, Part]]:
    for listener in tree.environment.listeners:
        waiting, most = listen_queue(listener.socket)
        protocol = listener.protocol if listener.tls is None else "https"
        yield (
            waiting,
            {
                "name": str(listener.address).removeprefix("unix:"),
                "proto": protocol,
                "queue": waiting,
                "max_queue": most,
                "shared": 0,
                "can_offload": 0,
            },
        )


def _locks(tree: NurseryTree) -> Iterator[Part]:
    keeper, shared = tree.master.locks, tree.environment.shared
    locks = tree.member_factory.services.locks
    for number in range(tree.settings.locks + 1):
        holder = 0
        if keeper is None or shared is None:
            holder = os.getpid() if locks.is_locked(number) else 0
        elif (name := keeper.holder(number)) is not None:
            holder = int(shared.scoreboard.rows[shared.rows[name]].get("pid"))
        yield {f"user {number}": holder}


def _caches(tree: NurseryTree) -> Iterator[Part]:
    for cache in tree.member_factory.services.caches.all():
        spec, found = cache.spec, cache.statistics()
        yield {
            "name": spec.name,
            "hash": "",
            "hashsize": 0,
            "keysize": spec.max_key,
            "max_items": spec.items,
            "blocks": spec.items,
            "blocksize": spec.max_value,
            "items": found.items,
            "hits": found.hits,
            "miss": found.misses,
            "full": found.full,
            "last_modified_at": 0,
        }


def _worker(tree: NurseryTree, found: WorkerStatistics) -> Part:
    resident, size = process_memory(found.pid) if found.pid else (0, 0)
    slots = {slot.number: slot for slot in tree.dispatcher.slots("worker")}
    slot = slots.get(found.number)
    return {
        "id": found.number,
        "pid": found.pid,
        "accepting": int(found.accepting),
        "requests": found.requests,
        "delta_requests": found.delta_requests,
        "exceptions": found.failed,
        "harakiri_count": found.harakiri,
        "signals": found.signals,
        "signal_queue": 0 if slot is None else len(slot.signals),
        "status": found.status,
        "rss": resident,
        "vsz": size,
        "running_time": found.micros,
        "last_spawn": found.last_spawn,
        "respawn_count": found.spawns,
        "tx": found.sent,
        "avg_rt": found.average,
        "apps": [
            {
                "id": 0,
                "modifier1": 0,
                "mountpoint": "",
                "startup_time": 0,
                "requests": found.requests,
                "exceptions": found.failed,
                "chdir": "",
            }
        ],
        "cores": _cores(tree, found),
    }


def _cores(tree: NurseryTree, found: WorkerStatistics) -> list[Part]:
    """One for each request that may run in a thread, and at least one for each that runs. Requests are not bound to a
    core here, so the first one has the counters of all.
    """
    running = _running(tree, found.number)
    running += [([], 0)] * (found.running - len(running))
    cores: list[Part] = []
    for number in range(max(tree.settings.stats.cores, len(running))):
        vars, started = running[number] if number < len(running) else ([], 0)
        cores.append(
            {
                "id": number,
                "requests": 0 if number else found.requests,
                "static_requests": 0,
                "routed_requests": 0,
                "offloaded_requests": 0,
                "write_errors": 0,
                "read_errors": 0,
                "in_request": int(number < len(running)),
                "vars": [*vars, ""] if vars else [],
                "req_info": {"request_start": started} if started else {},
            }
        )
    return cores


def _running(tree: NurseryTree, number: int) -> list[tuple[list[str], int]]:
    """The vars and the start of each request that a worker runs, as far as this process knows them."""
    name = f"worker{number}"
    shared = tree.environment.shared
    if shared is None:
        worker = tree.member_factory.workers.get(name)
        return [] if worker is None else [_exchange(exchange) for exchange in worker.exchanges()]
    found = []
    for instance in (name, second_name(name)):
        row = shared.scoreboard.rows[shared.rows[instance]]
        if text := row.read():
            _, _, rest = text.decode("latin-1").partition(" ")
            method, _, path = rest.partition(" ")
            started = time.time() - (time.monotonic() - row.get("heartbeat"))
            found.append(([f"REQUEST_METHOD={method}", f"PATH_INFO={path}"], int(started)))
    return found


def _exchange(exchange: Exchange) -> tuple[list[str], int]:
    environ = exchange.request.wsgi_environ(exchange.session.peer, {})
    started = exchange.member.wall_now() - (exchange.session.service.clock() - exchange.started)
    return [f"{key}={value}" for key, value in environ.items() if not key.startswith("wsgi.")], int(started)


def _spoolers(tree: NurseryTree) -> Iterator[Part]:
    factory, shared = tree.member_factory, tree.environment.shared
    slots = tree.dispatcher.slots("spooler")
    spools = factory.spool_statistics(slots)
    for index, slot in enumerate(slots):
        directory, place = divmod(index, len(slots) // len(spools))
        if shared is None:
            pid = os.getpid() if slot.state is not SlotState.VACANT else 0
        else:
            pid = int(shared.scoreboard.rows[shared.rows[slot.name]].get("pid"))
        yield {
            "dir": spools[directory].directory,
            "pid": pid,
            "tasks": factory.statistics(slot).done,
            "respawns": slot.deaths,
            "running": int(place < spools[directory].running),
        }
