"""What applications learn of a connection's TLS: keys of the environ, and the TLS extension of ASGI. Pure.

A client's certificate was verified before it gets here. Its names come from `SSLSocket.getpeercert()`, with OpenSSL's
long names of attributes, such as `commonName`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Handshake", "TlsFacts", "facts_of"]

# The short names of RFC 4514, and of OpenSSL where that has none.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
    "serialNumber": "serialNumber",
    "surname": "SN",
    "givenName": "GN",
}
_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# RFC 4514 2.4: escaped anywhere in a value.
_SPECIAL = frozenset('"+,;<>\\')

# A name as `getpeercert` has it: sets of attributes, each a name and a value.
Name = Sequence[Sequence[tuple[str, str]]]


class Handshake(NamedTuple):
    """What a finished handshake agreed on.

    `cipher` is its name, and `suite` its number, None if not known. `server_name` is what the client asked for.
    `server_certificate` is in PEM, None if not known. `asked`: the client was asked for a certificate. `client` is what
    `getpeercert()` returns, empty without one, and `chain` its certificates in DER, its own first.
    """

    version: str
    cipher: str
    suite: int | None
    server_name: str | None
    server_certificate: str | None
    asked: bool
    client: Mapping[str, Any]  # Any: each key has its own type
    chain: Sequence[bytes]


class TlsFacts(NamedTuple):
    """The facts of one encrypted connection: keys of the environ, and the extension `tls` of the ASGI scope."""

    environ: Mapping[str, str]
    extension: Mapping[str, object]


def facts_of(handshake: Handshake) -> TlsFacts:
    """What applications are told. The environ has the names of mod_ssl, and uWSGI's HTTPS_DN and HTTPS_CC."""
    environ = {"SSL_PROTOCOL": handshake.version, "SSL_CIPHER": handshake.cipher}
    if handshake.server_name is not None:
        environ["SSL_TLS_SNI"] = handshake.server_name
    chain = [ssl.DER_cert_to_PEM_cert(certificate) for certificate in handshake.chain]
    subject = _rfc4514(handshake.client.get("subject", ()))
    if handshake.asked:
        environ["SSL_CLIENT_VERIFY"] = "SUCCESS" if chain else "NONE"
    if chain:
        environ |= _client_keys(handshake.client, subject, chain[0])
    extension: dict[str, object] = {
        "server_cert": handshake.server_certificate,
        "client_cert_chain": chain,
        "client_cert_name": subject if chain else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(handshake.version),
        "cipher_suite": handshake.suite,
    }
    return TlsFacts(environ, extension)


def _client_keys(client: Mapping[str, Any], subject: str, certificate: str) -> dict[str, str]:
    keys = {
        "SSL_CLIENT_S_DN": subject,
        "SSL_CLIENT_I_DN": _rfc4514(client.get("issuer", ())),
        "SSL_CLIENT_M_SERIAL": client.get("serialNumber", ""),
        "SSL_CLIENT_V_START": client.get("notBefore", ""),
        "SSL_CLIENT_V_END": client.get("notAfter", ""),
        "SSL_CLIENT_CERT": certificate,
        "HTTPS_DN": _oneline(client.get("subject", ())),
        "HTTPS_CC": certificate,
    }
    for attributes in client.get("subject", ()):
        for name, value in attributes:
            short = _SHORT.get(name, name)
            keys.setdefault(f"SSL_CLIENT_S_DN_{short}", value)
    # PEP 3333: texts of the environ are bytes read as latin-1.
    return {key: value.encode("utf-8", "surrogateescape").decode("latin-1") for key, value in keys.items()}


def _rfc4514(name: Name) -> str:
    """A distinguished name as RFC 4514 writes it: the last attribute first."""
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in attributes)
        for attributes in reversed(name)
    )


def _escaped(value: str) -> str:
    text = "".join(f"\\{c}" if c in _SPECIAL else "\\00" if c == "\0" else c for c in value)
    if text[:1] in (" ", "#"):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text


def _oneline(name: Name) -> str:
    """A distinguished name as OpenSSL's `X509_NAME_oneline` writes it, which uWSGI uses: in the certificate's order."""
    return "".join(f"/{_SHORT.get(kind, kind)}={value}" for attributes in name for kind, value in attributes)
