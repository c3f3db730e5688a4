"""Mozilla's "intermediate" expectations of a TLS server, checked from outside: with openssl, and with Python's own TLS.

What a Python before 3.15 cannot limit is the list of groups: those of the expectations are accepted, and others that
are as good. DHE of TLS 1.2 is left out, as it needs parameters; HSTS is the application's.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterator

import pytest

from tests.certificates import Authority
from tests.real.servers import SECONDS, serving

pytestmark = pytest.mark.real

CIPHERS = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


class Servers:
    """A server with two HTTPS addresses: one with an ECDSA certificate, one with an RSA one."""

    def __init__(self, authority: Authority, ports: dict[str, int], openssl: str) -> None:
        self.authority = authority
        self.ports = ports
        self._openssl = openssl

    def say(self, *options: str, kind: str = "ECDSA", sent: str = "") -> str:
        """What `openssl s_client` prints."""
        line = [self._openssl, "s_client", "-connect", f"127.0.0.1:{self.ports[kind]}", "-servername", "localhost"]
        line += ["-CAfile", self.authority.file, *options]
        done = subprocess.run(
            line, input=sent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False
        )
        return done.stdout

    def agree(self, ciphers: str, kind: str) -> str | None:
        """The cipher that a client of TLS 1.2 and this server agree on; None if on nothing."""
        context = self.authority.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        try:
            with (
                socket.create_connection(("127.0.0.1", self.ports[kind]), timeout=SECONDS) as sock,
                context.wrap_socket(sock, server_hostname="localhost") as secured,
            ):
                found = secured.cipher()
                return found and found[0]
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    words = []
    for kind in ("ECDSA", "RSA"):
        certificate, key = authority.issue(kind, rsa=kind == "RSA")
        words += ["--https", f"127.0.0.1:0,{certificate},{key}"]
    with serving(folder, "", "tasks", *words) as server:
        found = re.findall(r"https on 127\.0\.0\.1:(\d+)", server.wait_for("https on"))
        assert 2 == len(found), server.said
        yield Servers(authority, {"ECDSA": int(found[0]), "RSA": int(found[1])}, openssl)


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_protocols(servers: Servers, kind: str) -> None:
    """TLS 1.2 and 1.3, and none before; a client that was made to ask for less is told."""
    for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        said = servers.say(option, kind=kind)
        assert f"New, {version}, Cipher is" in said
        assert "Verify return code: 0 (ok)" in said
    for option in ("-tls1", "-tls1_1"):
        assert "alert protocol version" in servers.say(option, "-cipher", "ALL:@SECLEVEL=0", kind=kind)
    assert "inappropriate fallback" in servers.say("-tls1_2", "-fallback_scsv", kind=kind)


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_ciphers(servers: Servers, kind: str) -> None:
    """Those of the expectations, and no other; which one is the client's choice."""
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    names = [cipher["name"] for cipher in known.get_ciphers() if not cipher["name"].startswith("TLS_")]
    assert len(names) > 50
    accepted = {name for name in names if servers.agree(name, kind) is not None}
    expected = [f"ECDHE-{kind}-{cipher}" for cipher in CIPHERS]
    assert set(expected) == accepted
    for number in range(3):
        preferred = expected[number:] + expected[:number]
        assert preferred[0] == servers.agree(":".join(preferred), kind)


def test_suites_and_groups(servers: Servers) -> None:
    """Those of TLS 1.3, and groups for the exchange of keys."""
    for suite in SUITES:
        assert f"Cipher is {suite}" in servers.say("-tls1_3", "-ciphersuites", suite)
    for suite in ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"):
        assert "alert handshake failure" in servers.say("-tls1_3", "-ciphersuites", suite)
    for group in ("X25519", "P-256", "P-384"):
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            assert f"New, {version}, Cipher is" in servers.say(option, "-groups", group, kind="RSA")


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_compression_and_renegotiation(servers: Servers, kind: str) -> None:
    """Neither; a client that asks for another handshake is refused."""
    said = servers.say("-tls1_2", "-comp", kind=kind, sent="R\n")
    assert "Compression: NONE" in said
    assert "Secure Renegotiation IS supported" in said
    assert "no renegotiation" in said.partition("RENEGOTIATING")[2]


def test_alpn_and_resumption(servers: Servers) -> None:
    """HTTP/1.1 is agreed on, and nothing that is not served; a session is taken up again."""
    assert "ALPN protocol: http/1.1" in servers.say("-alpn", "h2,http/1.1")
    assert "No ALPN negotiated" in servers.say()
    said = servers.say("-tls1_2", "-reconnect")
    assert 1 == said.count("New, TLSv1.2")
    assert 5 == said.count("Reused, TLSv1.2")
