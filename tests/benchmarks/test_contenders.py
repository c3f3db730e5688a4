"""Who is measured: each contender has a command, an absent one is named with the reason, and ours is measured."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import builds, chosen, main
from benchmarks.contenders import (
    FAILURES,
    REQUIREMENTS,
    Launch,
    ours,
    peers,
    reason_of,
    why_absent,
)
from benchmarks.page import packages
from benchmarks.running import Place


def test_each_contender_has_a_command_with_its_address(tmp_path: Path) -> None:
    """And with the application, however a server writes its name."""
    place = Place(tmp_path, 8123)
    for contender in [*ours({"ours": sys.executable}), *peers(tmp_path)]:
        for log in (False, True):
            command = " ".join(contender.command(Launch(place, "http_app:wsgi_app", log)))
            assert "8123" in command, command
            assert "http_app" in command, command


def test_all_peers_are_in_the_requirements(tmp_path: Path) -> None:
    """So none is absent without a reason."""
    assert {contender.package for contender in peers(tmp_path)} <= set(packages(REQUIREMENTS.read_text()))


def test_a_peer_that_is_absent_has_a_reason(tmp_path: Path) -> None:
    """That it was not installed, or that its program is missing."""
    bjoern = next(one for one in peers(tmp_path) if one.name == "bjoern")
    assert f"There is no {tmp_path}/bin/python." == why_absent(bjoern, tmp_path)
    (tmp_path / FAILURES).mkdir()
    (tmp_path / FAILURES / "bjoern").write_text("ev.h: No such file or directory")
    assert "It could not be installed: ev.h: No such file or directory" == why_absent(bjoern, tmp_path)
    assert "" == why_absent(ours({"ours": sys.executable})[0], tmp_path)


def test_the_reason_of_a_failed_installation_is_the_compilers() -> None:
    """Or pip's, if that is all there is."""
    output = "  building\n  request.h:4:10: fatal error: ev.h: No such file\nERROR: Failed building wheel\n"
    assert "request.h:4:10: fatal error: ev.h: No such file" == reason_of(output)
    assert "ERROR: No matching distribution" == reason_of("WARNING: x\nERROR: No matching distribution\n")


def test_builds_are_named() -> None:
    """A name and an interpreter; without any, it is this one."""
    assert {"trio_uwsgi (this Python)": sys.executable} == builds([])
    assert {"trio_uwsgi (pure)": sys.executable} == builds([f"pure={sys.executable}"])
    with pytest.raises(SystemExit, match="NAME=PYTHON"):
        builds(["/no/such/python"])


def test_rows_are_chosen_by_name() -> None:
    """A name that is not known is refused with those that are."""
    assert (["b"], ["a", "b"]) == (chosen("b", ["a", "b"]), chosen("", ["a", "b"]))
    with pytest.raises(SystemExit, match="does not know c; it knows a, b"):
        chosen("a,c", ["a", "b"])


@pytest.mark.real
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_serving_measures_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """With a load of a second, in each kind."""
    assert 0 == main(["serving", "--rounds", "1", "--seconds", "1", "--only", "keep-alive"])
    rows = [line.split("|")[2].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| **")]
    assert 3 == len(rows)
    assert all(float(row.replace(",", "")) > 0 for row in rows)
