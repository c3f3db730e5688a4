"""How many variables a request has for uWSGI, and in how many bytes, for the lines of the access log. Pure.

uWSGI puts every request into a packet of the uwsgi protocol, those of HTTP too: nine variables of its own and one for
each name of a header. It counts names and values apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._http.uwsgi_http import UwsgiRequest
from trio_uwsgi._http.uwsgi_requests import PacketRequest

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request

__all__ = ["packet_size"]

# Bytes of the lengths of a name and of its value.
_LENGTHS = 4
_OWN = (
    *("REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "SCRIPT_NAME", "SERVER_NAME"),
    *("SERVER_PORT", "REMOTE_ADDR"),
)
_OWN_SIZE = sum(len(name) + _LENGTHS for name in _OWN)
_WITHOUT_PREFIX = (b"content-type", b"content-length")
_PREFIX, _SEPARATOR = len("HTTP_"), len(", ")


def packet_size(request: Request, peer: Peer, machine: str) -> tuple[int, int]:
    """The number of names and values, and their bytes with those of their lengths.

    Args:
        request: of HTTP, or a packet.
        peer: the facts of its connection.
        machine: the name of the machine, which uWSGI has as SERVER_NAME.
    """
    if isinstance(request, PacketRequest):
        return 0, len(request.packet)
    if isinstance(request, UwsgiRequest):
        return 2 * len(request.pairs), sum(_LENGTHS + len(name) + len(value) for name, value in request.pairs)
    _, port = peer.server or ("", None)
    values = (request.method, request.http_version, machine, str(port or ""), peer.client[0] if peer.client else "")
    size = _OWN_SIZE + sum(map(len, values)) + len("HTTP/") + len(request.target)
    size += len(request.path_bytes()) + len(request.query)
    names = set()
    for name, value in request.headers:
        key = name.replace(b"-", b"_")  # the same variable
        if key in names:
            size += _SEPARATOR + len(value)
        else:
            names.add(key)
            size += _LENGTHS + (0 if name in _WITHOUT_PREFIX else _PREFIX) + len(name) + len(value)
    return 2 * (len(_OWN) + len(names)), size
