"""One response as a value: what formatters of the access log get."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi._http.access_line import usual_line

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request

__all__ = ["Record"]


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
