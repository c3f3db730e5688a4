"""One response as a value, for the access log. Its usual line is in `access_line.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi._http.access_line import usual_line

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request

__all__ = ["LogNotes", "Record", "how_it_ended", "note_head"]


class LogNotes:
    """What an application says of its request's line: log variables, variables beside those of the environ (`added`),
    and whether it asked for the line. And `head`: the bytes of the response's head and how many headers it has, if the
    format of the line shows them.
    """

    __slots__ = ("added", "asked", "head", "variables")

    def __init__(self) -> None:
        self.variables: dict[str, bytes] = {}
        self.added: dict[str, bytes] = {}
        self.asked = False
        self.head = (0, 0)


class Record(NamedTuple):
    """One response: `sent` in body bytes, `seconds` from its request's head to its last byte handed to the socket.

    `status` is 0 if none was sent; `end` marks an incomplete response: cut or dropped.
    """

    peer: Peer
    request: Request
    status: int
    sent: int
    seconds: float
    end: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """The log variables that the application has set."""
        notes = self.request.log_notes
        return {} if notes is None else {k: v.decode("utf-8", "backslashreplace") for k, v in notes.variables.items()}

    def __str__(self) -> str:
        return usual_line(*self)


def how_it_ended(exchange: Exchange, answer: bytes) -> tuple[int, int, str]:
    """Status, bytes and end, as in a `Record`, of a response that was cut in the middle, dropped, or replaced by the
    server's own `answer`.
    """
    status, sent, end = exchange.status, exchange.sent, " cut"
    if answer:
        sent, end = len(answer.partition(b"\r\n\r\n")[2]), ""
        note_head(exchange.request, answer)
    elif not exchange.head_sent:
        status, sent, end = 0, 0, " dropped"
    elif exchange.response.bodyless:
        sent = 0
    return status, sent, end


def note_head(request: Request, data: bytes) -> None:
    """Note the size of the response's head, and the number of its headers. The first `data` of a request begin with
    the head, the others do nothing.
    """
    if request.log_notes is None:
        request.log_notes = LogNotes()
    end = data.find(b"\r\n\r\n")
    if request.log_notes.head == (0, 0) and end >= 0:
        request.log_notes.head = end + 4, data.count(b"\r\n", 0, end)
