"""The runtime's options, version, host and processes, and names that are missing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from trio_uwsgi import uwsgi
from trio_uwsgi.uwsgi._missing import missing

if TYPE_CHECKING:
    import trio

    from tests.api.conftest import InMule


async def test_options_version_host_and_process(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Options under uWSGI's names, the master's process, version and host."""

    async def program() -> None:
        assert {"master": True, "enable-threads": True, "mules": b"1", "locks": b"2"}.items() <= dict(uwsgi.opt).items()
        assert 4 <= len(uwsgi.opt) == len(list(uwsgi.opt))
        assert "b'2'" in repr(uwsgi.opt)
        assert os.getpid() == uwsgi.masterpid()

    await in_mule(program, locks=2)
    assert (0, {}) == (uwsgi.masterpid(), dict(uwsgi.opt))
    assert "2.0.31" == uwsgi.version == ".".join(map(str, uwsgi.version_info[:3]))
    assert socket.gethostname() == uwsgi.hostname


# What `dir(uwsgi)` and `dir(uwsgidecorators)` are in a uWSGI 2.0.30, without modules and constants.
THEIRS = """
accepting add_cron add_file_monitor add_rb_timer add_timer add_var alarm applications async_connect async_sleep
buffer_size cache_clear cache_dec cache_del cache_div cache_exists cache_get cache_inc cache_keys cache_mul cache_num
cache_set cache_update call chunked_read chunked_read_nb cl close connect connection_fd cores disconnect embedded_data
extract farm_get_msg farm_msg get_logvar green_schedule has_threads hostname i_am_the_spooler in_farm is_a_reload
is_connected is_locked listen_queue lock log log_this_request logsize loop magic_table masterpid mem metric_dec
metric_div metric_get metric_inc metric_mul metric_set metric_set_max metric_set_min micros mule_get_msg mule_id
mule_msg numproc offload opt parsefile ready ready_fd recv register_rpc register_signal reload request_id route rpc
rpc_list send send_to_spooler sendfile set_logvar set_spooler_frequency set_user_harakiri set_warning_message
setprocname signal signal_received signal_registered signal_wait sockets spool spooler_get_task spooler_jobs
spooler_pid spooler_pids spoolers start_response started_on stop suspend total_requests unbit unlock version
version_info wait_fd_read wait_fd_write websocket_handshake websocket_recv websocket_recv_nb websocket_send
websocket_send_binary worker_id workers queue_push queue_pull sharedarea_read
cron erlang farm farm_loop filemon get_free_signal harakiri mule mule_brain mule_brainloop mulefunc muleloop mulemsg
mulemsg_loop postfork postfork_chain rbtimer spoolforever spoolraw thread timer
"""


@pytest.mark.parametrize("name", THEIRS.split())
def test_names_of_uwsgi_that_are_missing_say_what_to_use(name: str) -> None:
    """Each name of uWSGI's either exists here, or raises an error that says what to use."""
    if not hasattr(uwsgi, name):
        with pytest.raises(AttributeError, match=f"uWSGI's {name} is not in trio_uwsgi.uwsgi: ") as caught:
            getattr(uwsgi, name)
        assert (name, uwsgi) == (caught.value.name, caught.value.obj)
        for named in re.findall(r"uwsgi\.(\w+)", str(caught.value).partition(": ")[2]):
            assert hasattr(uwsgi, named)


def test_names_that_exist_are_not_called_missing() -> None:
    """The table of what to use instead has none of them."""
    assert [] == [name for name in uwsgi.__all__ if missing(name)]


def test_names_that_uwsgi_lacks_too() -> None:
    """They raise the same error as for any other module."""
    with pytest.raises(AttributeError, match=r"^module 'trio_uwsgi\.uwsgi' has no attribute 'chache_get'$"):
        uwsgi.chache_get  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'chunked_read'"):
        from trio_uwsgi.uwsgi import chunked_read  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.real
def test_a_process_is_named() -> None:
    """With setproctitle and without it; a name of another type, or with NUL, is an error."""
    for hidden in ("", "sys.modules['setproctitle'] = None; "):
        code = f"import sys; {hidden}from trio_uwsgi import uwsgi; uwsgi.setprocname('my mule'); "
        code += "print(open('/proc/self/comm').read())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "my mule" == done.stdout.strip()
    with pytest.raises(TypeError):
        uwsgi.setprocname(b"mule")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot contain NUL"):
        uwsgi.setprocname("a\0b")
