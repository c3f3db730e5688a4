"""uWSGI's Python API for Trio code.

    from trio_uwsgi import uwsgi

    @uwsgi.signal_handler(17, target="mule1")
    async def refresh(signum: int) -> None: ...

    uwsgi.add_timer(17, 60)

Names, argument order and constants are uWSGI's. Functions that may have to wait are `async`. All others are plain and
never block; the threads that run `def` handlers and WSGI applications may call them too.

A member is a worker, a mule or a spooler. Many functions work only in code that a member runs, such as a request or a
handler, and raise NotServing elsewhere. Declarations (handlers, timers, crons, mules, RPC functions) that are made
before members run go to the default registry, which `serve` uses unless it is given another one. A
`trio_uwsgi.Registry` has the same decorators.
"""

import sys
from typing import TYPE_CHECKING, NoReturn

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi.uwsgi._about import hostname, masterpid, opt, reload, setprocname, stop, version, version_info
from trio_uwsgi.uwsgi._alarms import alarm
from trio_uwsgi.uwsgi._caches import (
    cache,
    cache_clear,
    cache_dec,
    cache_del,
    cache_div,
    cache_exists,
    cache_get,
    cache_inc,
    cache_keys,
    cache_mul,
    cache_num,
    cache_set,
    cache_update,
)
from trio_uwsgi.uwsgi._cores import (
    async_connect,
    async_sleep,
    close,
    connection_fd,
    disconnect,
    is_connected,
    ready_fd,
    recv,
    send,
    suspend,
    wait_fd_read,
    wait_fd_write,
)
from trio_uwsgi.uwsgi._farms import farm, farm_get_msg, farm_msg, in_farm
from trio_uwsgi.uwsgi._hooks import atexit, post_fork, stopping, wait_stopping
from trio_uwsgi.uwsgi._locks import is_locked, lock, locked, unlock
from trio_uwsgi.uwsgi._logvars import get_logvar, log_this_request, set_logvar
from trio_uwsgi.uwsgi._members import harakiri, mule_id, set_user_harakiri, worker_id
from trio_uwsgi.uwsgi._metrics import (
    metric_dec,
    metric_div,
    metric_get,
    metric_inc,
    metric_mul,
    metric_set,
    metric_set_max,
    metric_set_min,
)
from trio_uwsgi.uwsgi._missing import missing
from trio_uwsgi.uwsgi._monitors import add_file_monitor, filemon
from trio_uwsgi.uwsgi._mules import MuleMessage, mule, mule_get_msg, mule_message_handler, mule_msg
from trio_uwsgi.uwsgi._queues import (
    queue_get,
    queue_last,
    queue_pop,
    queue_pull,
    queue_pull_slot,
    queue_push,
    queue_set,
    queue_shift,
    queue_slot,
)
from trio_uwsgi.uwsgi._rpc import call, register_rpc, remote_signal, rpc, rpc_handler, rpc_list
from trio_uwsgi.uwsgi._shared_areas import (
    sharedarea_dec32,
    sharedarea_dec64,
    sharedarea_inc32,
    sharedarea_inc64,
    sharedarea_memoryview,
    sharedarea_read,
    sharedarea_read8,
    sharedarea_read16,
    sharedarea_read32,
    sharedarea_read64,
    sharedarea_update,
    sharedarea_wait,
    sharedarea_write,
    sharedarea_write8,
    sharedarea_write16,
    sharedarea_write32,
    sharedarea_write64,
)
from trio_uwsgi.uwsgi._signals import (
    register_signal,
    signal,
    signal_handler,
    signal_received,
    signal_registered,
    signal_wait,
)
from trio_uwsgi.uwsgi._spool import (
    SPOOL_IGNORE,
    SPOOL_OK,
    SPOOL_RETRY,
    Job,
    i_am_the_spooler,
    remote_spool,
    set_spooler_frequency,
    spool,
    spool_handler,
    spooler,
    spooler_get_task,
    spooler_jobs,
    spooler_pid,
    spooler_pids,
)
from trio_uwsgi.uwsgi._timers import (
    TimerHandle,
    add_cron,
    add_ms_timer,
    add_rb_timer,
    add_timer,
    cron,
    rbtimer,
    timer,
)

__all__ = [
    "SPOOL_IGNORE",
    "SPOOL_OK",
    "SPOOL_RETRY",
    "Job",
    "MuleMessage",
    "TimerHandle",
    "add_cron",
    "add_file_monitor",
    "add_ms_timer",
    "add_rb_timer",
    "add_timer",
    "alarm",
    "async_connect",
    "async_sleep",
    "atexit",
    "cache",
    "cache_clear",
    "cache_dec",
    "cache_del",
    "cache_div",
    "cache_exists",
    "cache_get",
    "cache_inc",
    "cache_keys",
    "cache_mul",
    "cache_num",
    "cache_set",
    "cache_update",
    "call",
    "close",
    "connection_fd",
    "cron",
    "disconnect",
    "farm",
    "farm_get_msg",
    "farm_msg",
    "filemon",
    "get_logvar",
    "harakiri",
    "hostname",
    "i_am_the_spooler",
    "in_farm",
    "is_connected",
    "is_locked",
    "lock",
    "locked",
    "log_this_request",
    "masterpid",
    "metric_dec",
    "metric_div",
    "metric_get",
    "metric_inc",
    "metric_mul",
    "metric_set",
    "metric_set_max",
    "metric_set_min",
    "mule",
    "mule_get_msg",
    "mule_id",
    "mule_message_handler",
    "mule_msg",
    "opt",
    "post_fork",
    "queue_get",
    "queue_last",
    "queue_pop",
    "queue_pull",
    "queue_pull_slot",
    "queue_push",
    "queue_set",
    "queue_shift",
    "queue_slot",
    "rbtimer",
    "ready_fd",
    "recv",
    "register_rpc",
    "register_signal",
    "registry",
    "reload",
    "remote_signal",
    "remote_spool",
    "rpc",
    "rpc_handler",
    "rpc_list",
    "send",
    "set_logvar",
    "set_spooler_frequency",
    "set_user_harakiri",
    "setprocname",
    "sharedarea_dec32",
    "sharedarea_dec64",
    "sharedarea_inc32",
    "sharedarea_inc64",
    "sharedarea_memoryview",
    "sharedarea_read",
    "sharedarea_read8",
    "sharedarea_read16",
    "sharedarea_read32",
    "sharedarea_read64",
    "sharedarea_update",
    "sharedarea_wait",
    "sharedarea_write",
    "sharedarea_write8",
    "sharedarea_write16",
    "sharedarea_write32",
    "sharedarea_write64",
    "signal",
    "signal_handler",
    "signal_received",
    "signal_registered",
    "signal_wait",
    "spool",
    "spool_handler",
    "spooler",
    "spooler_get_task",
    "spooler_jobs",
    "spooler_pid",
    "spooler_pids",
    "stop",
    "stopping",
    "suspend",
    "timer",
    "unlock",
    "version",
    "version_info",
    "wait_fd_read",
    "wait_fd_write",
    "wait_stopping",
    "worker_id",
]

registry = Registry()
"""The default registry: it has what is declared through this module before members run."""


if not TYPE_CHECKING:  # type checkers know which names there are

    def __getattr__(name: str) -> NoReturn:
        message = missing(name) or f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
