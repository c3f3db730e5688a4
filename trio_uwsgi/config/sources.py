"""Where a connection may come from: the grammar of `Config.modifiers` and `Config.forwarded_allow`. Pure."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

from trio_uwsgi.config.addresses import Address
from trio_uwsgi.errors import ConfigError

__all__ = ["FORWARDED_HEADERS", "can_match", "is_listener", "matches", "names_listener", "read_sources"]

# What is meant as a network and is none; the path of a unix socket may have a slash, too.
_LIKE_A_NETWORK = re.compile(r"(?:[0-9]+|(?=[^/]*[.:])[0-9A-Fa-f:][0-9A-Fa-f.:]*)/[0-9.]*")

# What proxies say of clients, and can be believed.
FORWARDED_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
)


def read_sources(what: str, given: object) -> tuple[str, ...]:
    """Read one source, or several: "unix", "loopback", "any", a network, or the address of a listener.

    Args:
        what: what they are for, to begin the error with.
        given: a str or an iterable of them.
    Raises:
        ConfigError: one is not a source.
    """
    items = (given,) if isinstance(given, str) else given
    if not isinstance(items, Iterable):
        raise ConfigError(f"{what} is given {given!r}", "write a source, or a list of sources")
    return tuple(_source(what, item) for item in items)


def _source(what: str, item: object) -> str:
    if isinstance(item, str):
        if item in ("unix", "loopback", "any"):
            return item
        try:
            return str(ipaddress.ip_network(item))
        except ValueError:
            if _LIKE_A_NETWORK.fullmatch(item):
                raise _not_a_network(what, item) from None
        try:
            address = Address.parse(item)
        except ConfigError:
            pass
        else:
            return _listener(what, item, address)
    raise ConfigError(
        f"{what} is given {item!r}, which is not a source",
        "use 'unix', 'loopback', 'any', an address as in '10.0.0.1', a network as in '10.0.0.0/8', or the address of a "
        "listener",
    )


def _listener(what: str, item: str, address: Address) -> str:
    """The address of a listener, as `str(Listener.address)` will be: that of the socket, never a name."""
    if address.kind == "fd":
        raise ConfigError(
            f"{what} is given {item!r}, but what listens there is known by its address",
            "write the address that the socket is bound to",
        )
    if address.kind == "unix" or not address.host:
        return str(address)
    try:
        return str(Address.tcp(str(ipaddress.ip_address(address.host)), address.port))
    except ValueError:
        raise ConfigError(
            f"{what} is given {item!r}, but listeners are known by their IP addresses, not by names",
            f"write an IP address, as in '127.0.0.1:{address.port}', or ':{address.port}' for all with this port",
        ) from None


def _not_a_network(what: str, item: str) -> ConfigError:
    try:
        network = ipaddress.ip_network(item, strict=False)
    except ValueError:
        return ConfigError(
            f"{what} is given {item!r}, which is not a network",
            "write the address and its prefix length, as in '10.0.0.0/8'; for a unix socket, unix:PATH",
        )
    return ConfigError(
        f"{what} is given {item!r}, which is one address within a network",
        f"write {str(network)!r} for the network, or {item.partition('/')[0]!r} for this address alone",
    )


def names_listener(source: str) -> bool:
    """Is a source the address of a listener, and says nothing of the client?"""
    if source in ("unix", "loopback", "any"):
        return False
    try:
        ipaddress.ip_network(source)
    except ValueError:
        return True
    return False


def is_listener(source: str, listener: str) -> bool:
    """Does a source name this listener? `:8000` names all with this port."""
    return source == listener or (source.startswith(":") and source[1:] == listener.rpartition(":")[2])


def can_match(source: str, listener: Address) -> bool:
    """Can any connection to this listener come from there?"""
    if source == "any" or is_listener(source, str(listener)):
        return True
    if listener.kind == "unix":
        return source == "unix"
    return source != "unix" and not names_listener(source)


@functools.lru_cache(1024)  # the same clients send many requests
def matches(source: str, client: str | None, listener: str) -> bool:
    """Does a connection come from there?

    Args:
        source: one of `read_sources`.
        client: the IP address of the other side; None on a unix socket.
        listener: the address it connected to, as `str(Address)`; "" for a client that only a header names.
    """
    if source == "any" or is_listener(source, listener):
        return True
    if client is None:
        return source == "unix"
    address = ipaddress.ip_address(client.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if source == "loopback":
        return address.is_loopback
    try:
        return address in ipaddress.ip_network(source)
    except ValueError:  # "unix", or the address of another listener
        return False
