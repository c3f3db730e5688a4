"""The PROXY protocol, versions 1 and 2: the header with which a load balancer names its client. Pure.

It stands before the first byte of HTTP or TLS on each connection. Its facts replace those of the connection.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi._http.response import Response
from trio_uwsgi.config.sources import is_listener, matches, names_listener
from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request

__all__ = ["Proxied", "ProxyPreface", "ProxyRules"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST_1 = 107  # of version 1, by its specification
# Of version 2: addresses have at most 216 bytes; what follows them is not read.
_LONGEST_2 = 4096
_TEXT = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")


class Proxied(NamedTuple):
    """What a header says: the client and the address it connected to; None for both if it does not say."""

    client: tuple[str, int] | None
    server: tuple[str, int] | None


class ProxyRules:
    """On which listeners each connection begins with a PROXY header, and from whom it may come.

    Args:
        sources: as of `read_sources`. Addresses of listeners name these; without any, all are meant. The others say
            which load balancers may connect; without any, all may.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self._listeners = [source for source in sources if names_listener(source)]
        self._balancers = [source for source in sources if source not in self._listeners]

    def preface(self, peer: Peer) -> ProxyPreface | None:
        """What reads the beginning of a connection; None if it begins with HTTP or TLS."""
        if peer.protocol != "http" or (
            self._listeners and not any(is_listener(source, peer.listener) for source in self._listeners)
        ):
            return None
        client = None if peer.client is None else peer.client[0]
        allowed = not self._balancers or any(matches(each, client, "") for each in self._balancers)
        return ProxyPreface(allowed)


class ProxyPreface:
    """Reads the header of one connection, in the place of its parser; it finds no requests.

    `found` is set when the header is complete, and `rest` is what followed it. After an `error` nothing is read.

    Args:
        allowed: may this peer connect at all?
    """

    response_type = Response
    held = False
    method = ""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed
        self._data = b""
        self.error: RemoteProtocolError | None = None
        self.found: Proxied | None = None
        self.rest = b""

    @property
    def idle(self) -> bool:
        """Has nothing arrived yet?"""
        return not self._data

    @property
    def in_head(self) -> bool:
        """Has the header begun?"""
        return bool(self._data)

    def refusal(self, status: int, message: str, date: bytes, method: str) -> bytes:
        """Nothing: who does not speak this protocol would not understand it."""
        return b""

    def feed(self, data: bytes) -> list[Request]:
        """Read input, in pieces of any size."""
        self._data += data
        try:
            if not self._allowed:
                raise RemoteProtocolError("this address may not connect here, see the option proxy_protocol")
            self._read()
        except RemoteProtocolError as error:
            self.error = error
        return []

    def _read(self) -> None:
        data = self._data
        if data.startswith(_SIGNATURE):
            if len(data) >= 16:
                self._read_2(data)
        elif b"PROXY ".startswith(data[:6]):
            if b"\n" in data[:_LONGEST_1]:
                self._read_1(data)
            elif len(data) >= _LONGEST_1:
                raise RemoteProtocolError("the PROXY header is too long")
        elif not _SIGNATURE.startswith(data):
            raise RemoteProtocolError("the connection does not begin with a PROXY header")

    def _read_1(self, data: bytes) -> None:
        line, _, self.rest = data.partition(b"\n")
        line += b"\n"
        match = _TEXT.fullmatch(line)
        if match is None:
            if _UNKNOWN.fullmatch(line) is None:
                raise RemoteProtocolError("the PROXY header is malformed")
            self.found = Proxied(None, None)
            return
        kind, client, server, client_port, server_port = (part.decode() for part in match.groups())
        version = 4 if kind == "TCP4" else 6
        try:
            addresses = [ipaddress.ip_address(client), ipaddress.ip_address(server)]
        except ValueError:
            raise RemoteProtocolError("the PROXY header has an address that is none") from None
        ports = int(client_port), int(server_port)
        if any(address.version != version for address in addresses) or max(ports) > 65535:
            raise RemoteProtocolError("the PROXY header is malformed")
        self.found = Proxied((str(addresses[0]), ports[0]), (str(addresses[1]), ports[1]))

    def _read_2(self, data: bytes) -> None:
        kind, family, length = struct.unpack_from("!BBH", data, 12)
        if kind not in (0x20, 0x21):
            raise RemoteProtocolError("the PROXY header has an unknown version or command")
        if length > _LONGEST_2:
            raise RemoteProtocolError("the PROXY header is too long")
        if len(data) < 16 + length:
            return
        block, self.rest = data[16 : 16 + length], data[16 + length :]
        size = {0x11: 4, 0x21: 16}.get(family, 0)
        if kind == 0x20 or not size:  # the balancer's own connection, as for a health check; or neither TCP4 nor TCP6
            self.found = Proxied(None, None)
            return
        if len(block) < 2 * size + 4:
            raise RemoteProtocolError("the PROXY header is too short for its addresses")
        names = [str(ipaddress.ip_address(block[start : start + size])) for start in (0, size)]
        ports = struct.unpack_from("!HH", block, 2 * size)
        self.found = Proxied((names[0], ports[0]), (names[1], ports[1]))
