"""What all tests of the bakery share."""

import dataclasses
from pathlib import Path

import bakery  # type: ignore[import-not-found]
import pytest

from trio_uwsgi import Config


@pytest.fixture(params=["task", "process"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """The bakery's own configuration, with a spooler's directory for each test: once with members that are tasks, and
    once with members that are processes. The mock clock of the test is the clock of those processes, too.
    """
    own: Config = bakery.config
    return dataclasses.replace(own, spooler=str(tmp_path / "spool"), placement=request.param)
