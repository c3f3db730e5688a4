"""The names and signatures of the modules against `types-uwsgi`, by mypy's stubtest in a worker."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.real.servers import serving
from trio_uwsgi.compat.absent import LATER

# Each with its reason.
ALLOWED = [
    "# only with an option that does not exist here, or does not exist yet",
    r"uwsgi\.snmp_.*",
    *(rf"uwsgi\.{name}" for name in sorted(LATER)),
    "# the stub forgets that arg_count is positional-only, and that length may be left out",
    *(r"uwsgi\.register_rpc", r"uwsgi\.sharedarea_read"),
    "# one function for the overloads of the stub; None stands for an argument that is left out",
    *(r"uwsgi\.send", r"uwsgi\.send_to_spooler", r"uwsgi\.signal_wait"),
    "# uWSGI's own file has these too",
    *(r"uwsgidecorators\.erlang", r"uwsgidecorators\.harakiri\.real_call", r"uwsgidecorators\.mstimer"),
]

SOURCE = """
import contextlib, io
import tests.compat.conftest
import uwsgi
from mypy import stubtest

tests.compat.conftest.load_ours()  # also where pyuwsgi is installed

def check():
    sys.argv = ["stubtest", "--concise", "--allowlist", "allowed", "uwsgi", "uwsgidecorators"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = stubtest.main()
    return uwsgi.worker_id() > 0, code, said.getvalue()
"""
# With them the module has the names that uWSGI has only with an option.
OPTIONS = ("--spooler", "jobs", "--mules", "1", "--queue", "8", "--sharedarea", "1")


@pytest.mark.real
@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_names_and_signatures(tmp_path: Path, mode: str) -> None:
    """In a worker, nothing differs from the stubs but what is allowed, and nothing is allowed that does not differ."""
    pytest.importorskip("mypy.stubtest", reason="mypy is not installed")
    if not any(Path(folder, "uwsgi-stubs").is_dir() for folder in sys.path):
        pytest.skip("types-uwsgi is not installed")
    (tmp_path / "allowed").write_text("\n".join(ALLOWED))
    with serving(tmp_path, SOURCE, mode, *OPTIONS) as server:
        assert "(True, 0, '')" == server.get("/check", 250)
