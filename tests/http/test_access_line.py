"""The usual line of the access log."""

from __future__ import annotations

import pytest

from trio_uwsgi._http.access_line import escape, peer_name, usual_line
from trio_uwsgi._http.origin import Origin
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.request import Request

pytestmark = pytest.mark.pure

PEER = Peer(("192.0.2.1", 4000), ("192.0.2.2", 80), "http", "http", "http://192.0.2.2:80")


def test_the_line() -> None:
    """Client, request line, status, bytes of the body, milliseconds, and how it ended if that was not the usual end."""
    request = Request("GET", b"/a?b", "1.1", [])
    assert '192.0.2.1:4000 - "GET /a?b HTTP/1.1" 200 5b 1.3ms' == usual_line(PEER, request, 200, 5, 0.00126, "")
    assert '192.0.2.1:4000 - "GET /a?b HTTP/1.1" - 0b 1000.0ms cut' == usual_line(PEER, request, 0, 0, 1.0, " cut")


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "0.0"), (0.00004, "0.0"), (0.00006, "0.1"), (12.3456, "12345.6")])
def test_milliseconds(seconds: float, shown: str) -> None:
    """With one digit after the point."""
    assert f" {shown}ms" in usual_line(PEER, Request("GET", b"/", "1.1", []), 200, 0, seconds, "")


def test_what_clients_choose_is_escaped() -> None:
    """Quotes, backslashes, control characters and what is not ASCII cannot forge a line; methods have a few more."""
    assert ("plain ~", "\\x22\\x5c", "\\x1b[", "\\xff a", "\\x0a") == tuple(
        map(escape, (b"plain ~", b'"\\', b"\x1b[", b"\xff a", b"\n"))
    )
    line = usual_line(PEER, Request("M-SEARCH", b'/"', "1.0", []), 404, 0, 0.0, "")
    assert '"M-SEARCH /\\x22 HTTP/1.0" 404' in line


def test_whose_request_it_is() -> None:
    """The peer's; of a unix socket, `unix`; or whom a trusted proxy names, with or without a port."""
    assert ("192.0.2.1:4000", "unix") == (peer_name(PEER), peer_name(PEER._replace(client=None)))
    request = Request("GET", b"/", "1.1", [])
    for port, shown in ((77, "203.0.113.9:77 - "), (0, "203.0.113.9 - ")):
        request.origin = Origin(client=("203.0.113.9", port))
        assert usual_line(PEER, request, 200, 0, 0.0, "").startswith(shown)
