"""Certificates for tests, of an authority of their own, and clients that trust it."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

from trio_uwsgi.config.tls import Tls

__all__ = ["Authority"]


class Authority:
    """An authority that writes certificates into a folder, and its own to `file`."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str, rsa: bool = False) -> tuple[str, str]:
        """Write the certificate `name` for these hosts, and its key; their paths. An older one is replaced."""
        kind = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
        issued = self.ca.issue_cert(*hosts or ("localhost", "127.0.0.1"), common_name=name, key_type=kind)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for path, pems in ((key, [issued.private_key_pem]), (certificate, issued.cert_chain_pems)):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(b"".join(pem.bytes() for pem in pems))
            fresh.replace(path)
        return str(certificate), str(key)

    def tls(self, address: str = "127.0.0.1:0", **fields: object) -> Tls:
        """A `Tls` with the certificate `server`."""
        certificate, key = self.issue("server")
        return Tls(address=address, certificate=certificate, key=key, **fields)  # type: ignore[arg-type]  # as given

    def context(self, client: str = "") -> ssl.SSLContext:
        """The context of a client that trusts this authority, and shows the certificate `client`."""
        context = ssl.create_default_context(cafile=self.file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if client:
            context.load_cert_chain(*self.issue(client, "me@example.org"))
        return context
