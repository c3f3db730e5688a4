"""Lines of the access log in a format of one's own."""

from __future__ import annotations

import re

import pytest

from trio_uwsgi._http.access_record import LogNotes, Record, note_head
from trio_uwsgi._http.log_format import LogFormat, measures_heads
from trio_uwsgi._http.packet_size import packet_size
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.request import Request
from trio_uwsgi._http.uwsgi_http import UwsgiRequest
from trio_uwsgi._http.uwsgi_requests import PacketRequest
from trio_uwsgi._protocol.packet import encode_vars
from trio_uwsgi.config import Config
from trio_uwsgi.config.log_format import KNOWN, Variable, parse_log_format
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure

HEADERS = [(b"host", b"shop.test"), (b"user-agent", b'a"b'), (b"referer", b"http://x/")]
PEER = Peer(scheme="http", client=("192.0.2.1", 4711), server=("192.0.2.2", 80))
PEER_OF_UWSGI = Peer(scheme="http", client=("127.0.0.1", 4711), server=("127.0.0.1", 18434))
UNIX = Peer(scheme="http", client=None, server=None)


class Facts:
    """Of worker 3, which has had 7 of 20 requests."""

    wid = 3
    pid = 4_194_305  # above the kernel's highest, so that no process has it

    def wall_now(self) -> float:
        return 1704067201.75

    def requests(self, now: float) -> tuple[int, int]:
        return 7, 20

    def metric(self, name: str) -> str:
        return "5" if name == "orders" else ""


def line(form: str, *, peer: Peer = PEER, status: int = 200, end: str = "", notes: LogNotes | None = None) -> str:
    """The line of one response, which took 1.5 s and ended at 1704067201.75."""
    request = Request("GET", b"/a?b=c", "1.1", HEADERS)
    request.log_notes = notes
    return LogFormat(parse_log_format(form), Facts()).line(Record(peer, request, status, 12, 1.5, end))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ('%(addr) "%(method) %(uri) %(proto)" %(status)', '192.0.2.1 "GET /a?b=c HTTP/1.1" 200'),
        ("%(host)|%(uagent)|%(referer)", "shop.test|a\\x22b|http://x/"),
        ("%(micros) %(msecs) %(secs)", "1500000 1500 1"),
        ("%(time) %(tmsecs) %(tmicros) %(epoch)", "1704067200 1704067200250 1704067200250000 1704067201"),
        ("%(wid) %(pid) %(core) %(modifier1) %(modifier2)", "3 4194305 0 0 0"),
        ("%(size) %(rsize) %(hsize) %(headers) %(cl)", "12 12 0 0 0"),
        ("%(rss) %(rssM) %(vsz) %(vszM)", "0 0 0 0"),
        ("%(ioerr) %(rerr) %(werr) %(switches)", "0 0 0 1"),
        ("%(metric.orders) %(metric.none)", "5 -"),
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


def test_the_line_of_uwsgi() -> None:
    """It has a name; there is nothing for a user who is not known."""
    request = Request("GET", b"/a?b=c", "1.1", [])
    note_head(request, b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\nok")
    note_head(request, b"more\r\n\r\n")
    expected = (
        r"\[pid: 4194305\|app: 0\|req: 7/20\] 192.0.2.1 \(\) \{18 vars in \d+ bytes\} "
        r"\[\w{3} \w{3} [ \d]\d [\d:]+ 20\d\d\] "
        r"GET /a\?b=c => generated 12 bytes in 1500 msecs \(HTTP/1.1 200\) 2 headers in 31 bytes "
        r"\(1 switches on core 0\)"
    )
    found = LogFormat(parse_log_format("uwsgi"), Facts()).line(Record(PEER, request, 200, 12, 1.5))
    assert re.fullmatch(expected, found)
    assert measures_heads(parse_log_format("uwsgi"))
    assert not measures_heads(parse_log_format("%(uri) headers %(var.size)"))


def test_the_user() -> None:
    """Of a front server; a client that says so is not believed."""
    record = Record(UNIX, UwsgiRequest([(b"REMOTE_USER", b"ann\n")]), 200, 0, 1)
    assert "ann\\x0a" == LogFormat(parse_log_format("%(user)"), Facts()).line(record)
    assert "(ann\\x0a)" in LogFormat(parse_log_format("uwsgi"), Facts()).line(record)


def test_errors_of_a_client() -> None:
    """A response that was broken off counts as an error of writing, or of reading if the body had not arrived."""
    assert "1 0 1 cut" == line("%(ioerr) %(rerr) %(werr)", end=" cut")
    request = Request("POST", b"/", "1.1", [])
    request.complete = False
    log_format = LogFormat(parse_log_format("%(ioerr) %(rerr) %(werr)"), Facts())
    assert "1 1 0 dropped" == log_format.line(Record(PEER, request, 0, 0, 1, " dropped"))


PACKET = encode_vars([(b"REQUEST_METHOD", b"GET"), (b"A", b"b"), (b"A", b"")])


@pytest.mark.parametrize(
    ("request_", "peer", "expected"),
    [
        # As uWSGI counts them, on a machine called "vm": tests/interop/test_log_lines.py asks the real one.
        (Request("GET", b"/", "1.1", [(b"host", b"a")]), PEER_OF_UWSGI, (20, 184)),
        (Request("GET", b"/", "1.0", []), PEER_OF_UWSGI, (18, 170)),
        (
            Request(
                "POST", b"/p", "1.1", [(b"host", b"a:80"), (b"content-type", b"text/x"), (b"content-length", b"3")]
            ),
            PEER_OF_UWSGI,
            (24, 231),
        ),
        (Request("GET", b"/a%20b?c=d", "1.1", [(b"x-a", b"1"), (b"x_a", b"2")]), PEER_OF_UWSGI, (20, 201)),
        (Request("GET", b"/", "1.0", []), UNIX, (18, 156)),
        (UwsgiRequest([(b"REQUEST_METHOD", b"GET"), (b"A", b"b"), (b"A", b"")]), UNIX, (6, len(PACKET))),
        (PacketRequest(173, 0, b"abc"), UNIX, (0, 3)),
    ],
)
def test_packet_sizes(request_: Request, peer: Peer, expected: tuple[int, int]) -> None:
    """The variables that uWSGI would make of a request, names and values apart."""
    assert expected == packet_size(request_, peer, "vm")


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


@pytest.mark.parametrize("form", ["", "a\nb", 7, "%()"])
def test_formats_that_cannot_be(form: str) -> None:
    """The configuration refuses them, and names the variables that there are."""
    with pytest.raises(ConfigError, match="log_format"):
        Config(log_format=form)
