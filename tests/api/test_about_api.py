"""What the runtime says about itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from trio_uwsgi import uwsgi

if TYPE_CHECKING:
    import trio

    from tests.api.conftest import InMule


async def test_the_runtime_tells_about_itself(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
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


@pytest.mark.real
def test_a_process_is_named() -> None:
    """With setproctitle and without it; what is no name is refused."""
    for hidden in ("", "sys.modules['setproctitle'] = None; "):
        code = f"import sys; {hidden}from trio_uwsgi import uwsgi; uwsgi.setprocname('my mule'); "
        code += "print(open('/proc/self/comm').read())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "my mule" == done.stdout.strip()
    with pytest.raises(TypeError):
        uwsgi.setprocname(b"mule")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a NUL ends the name"):
        uwsgi.setprocname("a\0b")
