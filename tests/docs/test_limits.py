"""The numbers on docs/reference/limits.md are those of the sources."""

from __future__ import annotations

import inspect
import re

import pytest

from tests.docs.blocks import ROOT
from trio_uwsgi import Config
from trio_uwsgi._alarms.alarms import QUEUE
from trio_uwsgi._http.file_ranges import MAX_RANGES
from trio_uwsgi._http.open_file import READERS
from trio_uwsgi._link.encoding import MAX_MESSAGE
from trio_uwsgi._nodes.client import LARGEST
from trio_uwsgi._protocol.packet import MAX_BODY
from trio_uwsgi._protocol.remote_calls import MAX_ARGS
from trio_uwsgi._runtime.scaling import MOST_ADDED
from trio_uwsgi._signals.handlers import SIGNALS
from trio_uwsgi._signals.timer import SHORTEST_INTERVAL
from trio_uwsgi._spool.rules import SpoolIndex
from trio_uwsgi.uwsgi._alarms import _LONGEST

PAGE = (ROOT / "docs" / "reference" / "limits.md").read_text()


def rows_of(heading: str) -> dict[str, str]:
    """The first two cells of the table below this heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `?([^|`]+?)`? \| ([^|]*\d[^|]*?) \|", section, re.M))


def number(text: str) -> float:
    """The last number of a text, as in `0 to 255` or `32,768 bytes`."""
    return float(re.findall(r"\d[\d,]*(?:\.\d+)?", text)[-1].replace(",", ""))


OPTIONS = rows_of("Limits that options set")


@pytest.mark.parametrize("field", OPTIONS)
def test_defaults_are_those_of_config(field: str) -> None:
    """The table names the option and its default."""
    assert getattr(Config(), field) == number(OPTIONS[field])


@pytest.mark.parametrize(
    "field",
    [
        "signal_queue",
        "message_queue",
        "max_header_size",
        "max_headers",
        "max_body",
        "header_timeout",
        "keep_alive_timeout",
        "socket_timeout",
        "mercy",
    ],
)
def test_the_limits_of_every_request_are_there(field: str) -> None:
    """The table has all options that every application depends on."""
    assert field in OPTIONS


def test_fixed_limits_are_those_of_the_sources() -> None:
    """None is left out, and none is added without its constant."""
    assert {
        "number of a signal": SIGNALS - 1,
        "interval of a timer": SHORTEST_INTERVAL,
        "message for a mule": MAX_MESSAGE,
        "packet of the uwsgi protocol, RPC call": MAX_BODY,
        "arguments of an RPC call": MAX_ARGS,
        "answer of another server": LARGEST,
        "vars of a job": MAX_BODY,
        "jobs of a directory in memory": inspect.signature(SpoolIndex).parameters["capacity"].default,
        "message of an alarm": _LONGEST,
        "alarms that wait": QUEUE,
        "workers added while serving": MOST_ADDED,
        "ranges of a file in one request": MAX_RANGES,
        "threads that read files, in each process": READERS,
    } == {name: number(text) for name, text in rows_of("Fixed limits").items()}
