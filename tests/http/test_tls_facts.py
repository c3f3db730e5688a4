"""What applications learn of a connection's TLS."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi._http.tls_facts import Handshake, facts_of

pytestmark = pytest.mark.pure

PEM = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"
CLIENT: dict[str, Any] = {
    "subject": ((("countryName", "IT"),), (("organizationName", "A, B"),), (("commonName", "Zoë"), ("userId", "7"))),
    "issuer": ((("commonName", "CA"),),),
    "serialNumber": "01AF",
    "notBefore": "Jan  1 00:00:00 2026 GMT",
    "notAfter": "Jan  1 00:00:00 2027 GMT",
}


def handshake(**changes: Any) -> Handshake:
    """One without a certificate of the client."""
    plain = Handshake("TLSv1.3", "TLS_AES_256_GCM_SHA384", 0x1302, None, PEM, False, {}, ())
    return plain._replace(**changes)


def test_without_a_clients_certificate() -> None:
    """Protocol and cipher; nothing of a client that was not asked."""
    facts = facts_of(handshake())

    assert {"SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES_256_GCM_SHA384"} == facts.environ
    expected: dict[str, object] = {
        "server_cert": PEM,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": 0x1302,
    }
    assert expected == facts.extension


def test_a_client_that_shows_none() -> None:
    """It was asked for one, and there is the name that it asked for."""
    facts = facts_of(handshake(asked=True, server_name="example.org", version="SSLv9", suite=None))
    expected: dict[str, object] = {
        "SSL_PROTOCOL": "SSLv9",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_TLS_SNI": "example.org",
        "SSL_CLIENT_VERIFY": "NONE",
    }
    assert expected == facts.environ
    assert (None, None) == (facts.extension["tls_version"], facts.extension["cipher_suite"])


def test_a_clients_certificate() -> None:
    """mod_ssl's names and uWSGI's; texts of the environ are bytes read as latin-1, those of the scope are not."""
    facts = facts_of(handshake(asked=True, client=CLIENT, chain=[b"\0\1\2"]))
    assert {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": "CN=ZoÃ«+UID=7,O=A\\, B,C=IT",
        "SSL_CLIENT_S_DN_CN": "ZoÃ«",
        "SSL_CLIENT_S_DN_UID": "7",
        "SSL_CLIENT_S_DN_O": "A, B",
        "SSL_CLIENT_S_DN_C": "IT",
        "SSL_CLIENT_I_DN": "CN=CA",
        "SSL_CLIENT_M_SERIAL": "01AF",
        "SSL_CLIENT_V_START": "Jan  1 00:00:00 2026 GMT",
        "SSL_CLIENT_V_END": "Jan  1 00:00:00 2027 GMT",
        "SSL_CLIENT_CERT": PEM,
        "HTTPS_DN": "/C=IT/O=A, B/CN=ZoÃ«/UID=7",
        "HTTPS_CC": PEM,
    } == {key: value for key, value in facts.environ.items() if key not in ("SSL_PROTOCOL", "SSL_CIPHER")}
    assert ([PEM], "CN=Zoë+UID=7,O=A\\, B,C=IT") == (
        facts.extension["client_cert_chain"],
        facts.extension["client_cert_name"],
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        (" ", "\\ "),
        (" a ", "\\ a\\ "),
        ("#a", "\\#a"),
        ("a#", "a#"),
        ('a"+,;<>\\b', 'a\\"\\+\\,\\;\\<\\>\\\\b'),
        ("a\0b", "a\\00b"),
    ],
)
def test_names_are_escaped(value: str, expected: str) -> None:
    """As RFC 4514 says."""
    subject = ((("emailAddress", value),),)
    facts = facts_of(handshake(asked=True, client={"subject": subject}, chain=[b"\0\1\2"]))
    assert f"emailAddress={expected}" == facts.extension["client_cert_name"]
