"""Lines of the access log in a format of one's own."""

from __future__ import annotations

import re

import pytest

from trio_uwsgi._http.access_record import LogNotes, Record
from trio_uwsgi._http.log_format import LogFormat
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.request import Request
from trio_uwsgi.config import Config
from trio_uwsgi.config.log_format import KNOWN, Variable, parse_log_format
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure

HEADERS = [(b"host", b"shop.test"), (b"user-agent", b'a"b'), (b"referer", b"http://x/")]
PEER = Peer(scheme="http", client=("192.0.2.1", 4711), server=("192.0.2.2", 80))
UNIX = Peer(scheme="http", client=None, server=None)


def line(form: str, *, peer: Peer = PEER, status: int = 200, end: str = "", notes: LogNotes | None = None) -> str:
    """The line of one response, which took 1.5 s and ended at 1704067201.75."""
    request = Request("GET", b"/a?b=c", "1.1", HEADERS)
    request.log_notes = notes
    log_format = LogFormat(parse_log_format(form), 3, 4242, lambda: 1704067201.75)
    return log_format.line(Record(peer, request, status, 12, 1.5, end))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ('%(addr) "%(method) %(uri) %(proto)" %(status)', '192.0.2.1 "GET /a?b=c HTTP/1.1" 200'),
        ("%(host)|%(uagent)|%(referer)", "shop.test|a\\x22b|http://x/"),
        ("%(micros) %(msecs) %(secs)", "1500000 1500 1"),
        ("%(time) %(tmsecs) %(tmicros) %(epoch)", "1704067200 1704067200250 1704067200250000 1704067201"),
        ("%(wid) %(pid) %(core) %(modifier1) %(modifier2)", "3 4242 0 0 0"),
        ("%(size) %(rsize) %(cl)", "12 12 0"),
        ("%(user) %(var.REMOTE_USER) %(var.HTTP_HOST) %(var.QUERY_STRING)", "- - shop.test b=c"),
        ("%(unset) %(var.wsgi.url_scheme)", "- http"),
        ("100% (a) %(", "100% (a) %("),
    ],
)
def test_variables(form: str, expected: str) -> None:
    """Each has uWSGI's meaning; what is not known is a dash, and what the client chose is escaped."""
    assert expected == line(form)


def test_other_responses() -> None:
    """Of a client of a unix socket, without a status, cut, and at local times."""
    assert "unix" == line("%(addr)", peer=UNIX)
    assert "-" == line("%(status)", status=0)
    assert "200 cut" == line("%(status)", end=" cut")
    assert re.fullmatch(r"\d\d/\w{3}/20\d\d:\d\d:\d\d:00 [+-]\d{4}", line("%(ltime)"))
    assert re.fullmatch(r"\w{3} \w{3} +\d+ \d\d:\d\d:00 20\d\d", line("%(ctime)"))


def test_every_known_variable_has_a_value() -> None:
    """None of them is missing from the formatter."""
    assert line(" ".join(f"%({name})" for name in sorted(KNOWN)))


def test_log_variables() -> None:
    """What the application set is shown, escaped; the other ones are not."""
    notes = LogNotes()
    notes.variables["user_id"] = b"4\n2"
    notes.variables["name"] = b"\xc3\xa9\xff"
    assert "4\\x0a2 -" == line("%(user_id) %(other)", notes=notes)
    request = Request("GET", b"/", "1.1", [])
    record = Record(PEER, request, 200, 0, 0)
    assert {} == record.variables
    request.log_notes = notes
    assert {"user_id": "4\n2", "name": "é\\xff"} == record.variables


def test_variables_that_the_application_adds() -> None:
    """They replace those of the environ, and not the user; what is not among them is the environ's."""
    notes = LogNotes()
    notes.added |= {"HTTP_HOST": b"other\n", "new": b"1", "REMOTE_USER": b"ann"}
    form = "%(var.HTTP_HOST) %(var.new) %(var.QUERY_STRING) %(var.none) %(user) %(var.REMOTE_USER)"
    assert "other\\x0a 1 b=c - - ann" == line(form, notes=notes)
    assert "- b=c" == line("%(var.new) %(var.QUERY_STRING)", notes=LogNotes())


def test_the_parts_of_a_format() -> None:
    """Text stays text."""
    expected = (Variable("request", "uri"), " to ", Variable("var", "A"), Variable("log", "var."), "!")
    assert expected == parse_log_format("%(uri) to %(var.A)%(var.)!")


@pytest.mark.parametrize("form", ["", "a\nb", 7, "%()", "%(vsz)", "%(metric.worker)"])
def test_formats_that_cannot_be(form: str) -> None:
    """The configuration refuses them, and names the variables that there are."""
    with pytest.raises(ConfigError, match="log_format"):
        Config(log_format=form)
