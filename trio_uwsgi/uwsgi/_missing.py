"""The names of uWSGI's module and of `uwsgidecorators` that this API lacks, with what to use instead."""

from __future__ import annotations

__all__ = ["missing"]

_STATISTICS = "read Runtime.statistics(), or have SIGUSR1 write it to the log"
_RESPONSES = "the application's response does that"
_PROXY = "let the proxy in front do it"
_ENVIRON = "put it into the environ, or into the application's own log"
_NOT_HERE = "it is not supported"

_INSTEAD = {
    **dict.fromkeys(("workers", "total_requests", "listen_queue", "mem", "logsize", "sockets", "cores"), _STATISTICS),
    **dict.fromkeys(("add_var", "set_warning_message"), _ENVIRON),
    **dict.fromkeys(("sendfile", "offload", "route"), _PROXY),
    **dict.fromkeys(("start_response", "green_schedule", "loop"), _RESPONSES),
    **dict.fromkeys(("chunked_read", "chunked_read_nb"), "read environ['wsgi.input'], which has chunked bodies too"),
    **dict.fromkeys(("numproc", "buffer_size", "has_threads", "queue_size"), "read it from uwsgi.opt"),
    "log": "use Python's logging",
    "micros": "use time.time_ns() // 1000",
    **dict.fromkeys(("ready", "accepting", "started_on", "is_a_reload", "request_id"), _NOT_HERE),
    **dict.fromkeys(("unbit", "magic_table", "embedded_data", "extract", "parsefile", "cl"), _NOT_HERE),
    "applications": "a server has one application",
    "connect": "use uwsgi.async_connect",
    "send_to_spooler": "use uwsgi.spool",
    "spoolers": "their directories are in Config.spooler",
    "mule_msg_hook": "decorate functions with @uwsgi.mule_message_handler",
    "post_fork_hook": "decorate functions with @uwsgi.post_fork",
    # uwsgidecorators
    **dict.fromkeys(("postfork", "postfork_chain"), "use @uwsgi.post_fork"),
    **dict.fromkeys(("spoolforever",), "use @uwsgi.spool_handler(max_tries=0)"),
    **dict.fromkeys(("spoolraw",), "use @uwsgi.spool_handler(pass_arguments=True), or @uwsgi.spooler"),
    **dict.fromkeys(("mulemsg", "mulemsg_loop"), "use @uwsgi.mule_message_handler"),
    **dict.fromkeys(("muleloop", "mule_brain", "mule_brainloop"), "use @uwsgi.mule(1), with a loop in the function"),
    **dict.fromkeys(("farm_loop",), "use @uwsgi.farm('name')"),
    **dict.fromkeys(("mulefunc",), "send a message, to @uwsgi.mule_message_handler, or a job, to @uwsgi.spool_handler"),
    **dict.fromkeys(("thread",), "use a Trio nursery in @uwsgi.mule(1), or start a thread yourself"),
    **dict.fromkeys(("get_free_signal",), "@uwsgi.signal_handler without a number takes a free one"),
}
_FAMILIES = {
    "websocket_": "write an ASGI application, or use the module uwsgi: import uwsgi",
    "sharedarea_readbyte": "use uwsgi.sharedarea_read8",
    "sharedarea_writebyte": "use uwsgi.sharedarea_write8",
    "sharedarea_readlong": "use uwsgi.sharedarea_read64",
    "sharedarea_writelong": "use uwsgi.sharedarea_write64",
    "sharedarea_inclong": "use uwsgi.sharedarea_inc64",
    "sharedarea_object": "use uwsgi.sharedarea_memoryview",
    **dict.fromkeys(
        ("sharedarea_rlock", "sharedarea_wlock", "sharedarea_unlock"),
        "each call is atomic; where several belong together, hold a lock with uwsgi.locked",
    ),
    "snmp_": _NOT_HERE,
    "erlang": _NOT_HERE,
    "legion_": "there are no legions",
    "i_am_the_lord": "there are no legions",
    "gevent": "code runs in Trio's event loop",
}


def missing(name: str) -> str:
    """The error text for a name of uWSGI that this API lacks; "" for a name that uWSGI does not have either."""
    family = next((hint for start, hint in _FAMILIES.items() if name.startswith(start)), "")
    hint = _INSTEAD.get(name, family)
    return f"uWSGI's {name} is not in trio_uwsgi.uwsgi: {hint}" if hint else ""
