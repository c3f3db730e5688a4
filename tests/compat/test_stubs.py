"""The names and signatures of the modules against `types-uwsgi`, by mypy's stubtest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trio_uwsgi.compat.absent import LATER

# Each with its reason.
ALLOWED = [
    "# only with an option that does not exist here, or does not exist yet",
    *(r"uwsgi\.snmp_.*", r"uwsgi\.sharedarea_.*"),
    *(rf"uwsgi\.{name}" for name in sorted(LATER)),
    "# the stub forgets that arg_count is positional-only",
    r"uwsgi\.register_rpc",
    "# one function for the overloads of the stub; None stands for an argument that is left out",
    *(r"uwsgi\.send", r"uwsgi\.send_to_spooler", r"uwsgi\.signal_wait"),
    "# uWSGI's own file has these too",
    *(r"uwsgidecorators\.erlang", r"uwsgidecorators\.harakiri\.real_call", r"uwsgidecorators\.mstimer"),
]

_PROGRAM = """
import sys
from mypy import stubtest
from tests.compat.conftest import load_ours
from trio_uwsgi import Config, compat
with compat.entered(Config(spooler=["jobs"], mules=1, queue=8)):
    load_ours()
    sys.argv = ["stubtest", "--concise", "--allowlist", "allowed", "uwsgi", "uwsgidecorators"]
    sys.exit(stubtest.main())
"""


@pytest.mark.real
def test_names_and_signatures(tmp_path: Path) -> None:
    """Nothing differs from the stubs but what is allowed, and nothing is allowed that does not differ."""
    pytest.importorskip("mypy.stubtest", reason="mypy is not installed")
    if not any(Path(folder, "uwsgi-stubs").is_dir() for folder in sys.path):
        pytest.skip("types-uwsgi is not installed")
    (tmp_path / "allowed").write_text("\n".join(ALLOWED))
    root = str(Path(__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{_PROGRAM}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert (0, "") == (found.returncode, found.stdout + found.stderr)
