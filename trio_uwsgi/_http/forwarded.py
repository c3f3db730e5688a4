"""Who a request comes from, where trusted proxies say so in its headers: X-Forwarded-* or RFC 7239. Pure.

Each proxy adds at the end of a list what it saw. So lists are read from the right: the last entry was added by the peer
of this connection, which is believed if it is trusted; the entry before it by the client that this entry names, which
is believed if that is trusted; and so on. What stands left of the first that is not trusted may be invented.

A header is read only if it was asked for: a proxy that does not set one passes on what the client has sent.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi._http.origin import Origin
from trio_uwsgi._http.request import split_host
from trio_uwsgi.config.sources import matches

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Headers

__all__ = ["Proxies"]

# Proxies pass lists on for ever; nobody has more hops than this.
_MOST_HOPS = 50

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# RFC 7239: a token or a quoted text for each parameter.
_PAIR = re.compile(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=([!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+|"(?:[^"\\]|\\.)*")')
_PORT = re.compile(r"[0-9]{1,5}")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")


class _Hop(NamedTuple):
    """One entry of a list: what one proxy said."""

    client: str = ""
    scheme: str = ""
    host: str = ""


class Proxies:
    """Which proxies are believed, and which of their headers.

    Args:
        sources: as of `read_sources`.
        headers: names of `FORWARDED_HEADERS`.
    """

    def __init__(self, sources: Sequence[str], headers: Sequence[str]) -> None:
        self._sources = sources
        self._headers = frozenset(name.encode() for name in headers)

    def origin(self, headers: Headers, peer: Peer) -> Origin | None:
        """Read the headers of a request; None if its peer is not trusted, or says nothing."""
        client = None if peer.client is None else peer.client[0]
        if not any(matches(source, client, peer.listener) for source in self._sources):
            return None
        found: dict[bytes, str] = {}
        for name, value in headers:
            if name in self._headers:
                text = value.decode("latin-1")
                found[name] = f"{found[name]},{text}" if name in found else text
        if not found:
            return None
        forwarded = found.get(b"forwarded")
        if forwarded is not None:
            return self._walk(_elements(forwarded), _of_element)
        return self._from_lists(found)

    def _trusted(self, client: str) -> bool:
        return any(matches(source, client, "") for source in self._sources)

    def _walk(self, hops: list[_Hop], read: Callable[[_Hop], Origin]) -> Origin | None:
        """Go from the right to the left while who added an entry is trusted; that of the last one counts."""
        chosen: Origin | None = None
        for hop in reversed(hops[-_MOST_HOPS:]):
            origin = read(hop)
            if not origin.client_known:
                break
            chosen = origin
            if origin.client is None or not self._trusted(origin.client[0]):
                break
        return chosen

    def _from_lists(self, found: dict[bytes, str]) -> Origin | None:
        clients = _items(found.get(b"x-forwarded-for", ""))
        depth = 1
        origin = Origin()
        if clients:
            for depth, text in enumerate(reversed(clients[-_MOST_HOPS:]), 1):  # read below
                address = _address(text)
                if address is None:  # not what a proxy writes: believe what came before
                    depth -= 1
                    break
                origin = origin._replace(client=address, client_known=True)
                if not self._trusted(address[0]):
                    break
        scheme = _SCHEMES.get(_at(found, b"x-forwarded-proto", depth).lower(), "")
        host = _host(_at(found, b"x-forwarded-host", depth))
        port = _at(found, b"x-forwarded-port", depth)
        prefix = _at(found, b"x-forwarded-prefix", depth).rstrip("/")
        return origin._replace(
            scheme=scheme,
            host=host,
            port=port if _port(port) else "",
            prefix=prefix if _PREFIX.fullmatch(prefix) and "/." not in prefix else "",
        )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _at(found: dict[bytes, str], name: bytes, depth: int) -> str:
    """The entry that the same proxy added as the `depth`-th client from the right; a single one was set by the last."""
    items = _items(found.get(name, ""))
    return items[-min(max(depth, 1), len(items))] if items else ""


def _host(text: str) -> str:
    return text if text and split_host(text.encode("latin-1", "replace")) else ""


def _address(text: str) -> tuple[str, int] | None:
    """Address and port of an entry: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80`; None: it is neither."""
    host, port = text, "0"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "0"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if "%" in host:  # the name of an interface, which may be any text
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # one client has one name
    return str(address), _port(port)


def _port(text: str) -> int:
    """A port; 0 if the text is not one."""
    port = int(text) if _PORT.fullmatch(text) else 0
    return port if port < 65536 else 0


def _elements(text: str) -> list[_Hop]:
    """The elements of RFC 7239; an element that is malformed, and what is left of it, is not read."""
    hops: list[_Hop] = []
    for element in _split(text, ","):
        values: dict[str, str] = {}
        for pair in _split(element, ";"):
            match = _PAIR.fullmatch(pair.strip())
            if match is None or match[1].lower() in values:
                hops.clear()
                values = {}
                break
            value = match[2]
            values[match[1].lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        else:
            hops.append(_Hop(values.get("for", ""), values.get("proto", ""), values.get("host", "")))
    return hops


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of quotes, and leave out what is empty."""
    parts, begin, quoted, skip = list[str](), 0, False, False
    for position, char in enumerate(text):
        if skip:
            skip = False
        elif char == "\\" and quoted:
            skip = True
        elif char == '"':
            quoted = not quoted
        elif char == separator and not quoted:
            parts.append(text[begin:position])
            begin = position + 1
    parts.append(text[begin:])
    return [part for part in parts if part.strip()]


def _of_element(hop: _Hop) -> Origin:
    address = _address(hop.client)
    hidden = hop.client.lower() == "unknown" or hop.client.startswith("_")
    return Origin(
        client=address,
        client_known=address is not None or hidden,
        scheme=_SCHEMES.get(hop.scheme.lower(), ""),
        host=_host(hop.host),
    )
