"""TLS of a listener, as a value. Pure.

The option `https` of `config.py` is made of `Tls` values. Files are read, and what is in them is judged, in
`_http/certificates.py`.
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterable, Mapping
from typing import cast

from trio_uwsgi.config.addresses import Address
from trio_uwsgi.errors import ConfigError

__all__ = ["Tls", "several_tls"]

_FORM = "write ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Where HTTPS is served, and with which certificates. Files are in PEM.

    Only `address` is needed, and either `certificate` or `context`.

    Attributes:
        address: where to listen, an `Address` or a text as `Address.parse` reads it.
        certificate: file of the certificate, followed by those that lead to its root.
        key: file of its private key, without a passphrase; None: it is in the file of the certificate.
        ciphers: OpenSSL's list of ciphers for TLS 1.2; "" is those of Mozilla's "intermediate" recommendation.
        client_ca: file of the authorities whose certificates clients may show; None: clients are not asked for one.
        client_required: refuse clients that show none.
        sni: more certificates, by the name that the client asks for: `{"example.org": ("cert.pem", "key.pem")}`. A name
            may begin with `*.`, which stands for one label. Other clients get `certificate`.
        context: an `ssl.SSLContext` of your own, in place of all but the address. Only where members are tasks.
    Raises:
        ConfigError: a value is of the wrong type, or does not go with another one.
    Example:
        Config(https=Tls(address=":8443", certificate="cert.pem", key="key.pem", client_ca="clients.pem"))
    """

    address: Address | str
    certificate: str | None = None
    key: str | None = None
    ciphers: str = ""
    client_ca: str | None = None
    client_required: bool = False
    sni: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict, hash=False)
    context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if isinstance(self.address, str):
            object.__setattr__(self, "address", Address.parse(self.address))
        elif not isinstance(self.address, Address):
            raise ConfigError(f"address={self.address!r} is not an address", "write Tls(address='127.0.0.1:8443', ...)")
        self._check_types()
        if self.context is not None:
            if self.certificate or self.key or self.ciphers or self.client_ca or self.client_required or self.sni:
                raise ConfigError(
                    "Tls(context=...) contradicts certificate, key, ciphers, client_ca, client_required and sni",
                    "set these in the context, or leave the context out",
                )
        elif not self.certificate:
            raise ConfigError(f"HTTPS on {self.address} has no certificate", "add certificate='cert.pem'")
        if self.client_required and not self.client_ca:
            raise ConfigError("client_required is set, but client_ca is not", "add client_ca='clients.pem'")

    def _check_types(self) -> None:
        if self.context is not None and not isinstance(self.context, ssl.SSLContext):
            raise ConfigError(f"context={self.context!r} is not an ssl.SSLContext", "write context=ssl.SSLContext(...)")
        for name in ("certificate", "key", "client_ca"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value or "\0" in value):
                raise ConfigError(f"{name}={value!r} is not a path", f"write {name}='{name}.pem'")
        if not isinstance(self.ciphers, str):
            raise ConfigError(f"ciphers={self.ciphers!r} is not a list of OpenSSL", "write ciphers='ECDHE+AESGCM'")
        if type(self.client_required) is not bool:
            raise ConfigError(f"client_required={self.client_required!r} is neither True nor False", "write True")
        remedy = "write sni={'example.org': ('cert.pem', 'key.pem')}"
        if not isinstance(self.sni, Mapping):
            raise ConfigError(f"sni={self.sni!r} is not a mapping", remedy)
        for name, files in self.sni.items():
            good = isinstance(files, tuple | list) and len(files) == 2 and all(isinstance(file, str) for file in files)
            if not isinstance(name, str) or not name or not name.isascii() or not good:
                raise ConfigError(f"sni has {name!r}: {files!r} in it", remedy)
        object.__setattr__(self, "sni", {name: tuple(files) for name, files in self.sni.items()})

    @property
    def where(self) -> Address:
        """`address`, parsed."""
        return cast("Address", self.address)

    @classmethod
    def parse(cls, text: str) -> Tls:
        """Read uWSGI's form: `ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]`.

        Args:
            text: `:8443,cert.pem,key.pem,,!clients.pem` for example. A `!` before the clients' authorities makes their
                certificates required.
        Raises:
            ConfigError: it has too few or too many parts, or one of them is wrong.
        uWSGI: the same form. There no ciphers mean OpenSSL's own list.
        """
        parts = [part.strip() for part in text.split(",")]
        if not 3 <= len(parts) <= 5 or not all(parts[:3]):
            raise ConfigError(f"{text!r} is not of uWSGI's form for HTTPS", _FORM)
        address, certificate, key, ciphers, ca = parts + [""] * (5 - len(parts))
        if ca == "!":
            raise ConfigError(f"{text!r} has no file after its '!'", _FORM)
        return cls(
            address=address,
            certificate=certificate,
            key=key,
            ciphers=ciphers,
            client_ca=ca.removeprefix("!") or None,
            client_required=ca.startswith("!"),
        )

    def __str__(self) -> str:
        if self.context is not None:
            return f"{self.address},{self.context!r}"
        ca = ("!" if self.client_required else "") + (self.client_ca or "")
        parts = [str(self.address), self.certificate or "", self.key or self.certificate or "", self.ciphers, ca]
        return ",".join(parts).rstrip(",")


def several_tls(option: str, given: object) -> tuple[Tls, ...]:
    """Read the value of `https`: one or several of `Tls` or of texts in uWSGI's form.

    Raises:
        ConfigError: it is neither, or names an address twice.
    """
    items = [given] if isinstance(given, str | Tls) else given
    remedy = f"write {option}='127.0.0.1:8443,cert.pem,key.pem', or a list of such texts or of Tls(...)"
    if not isinstance(items, Iterable) or isinstance(items, bytes):
        raise ConfigError(f"{option}={given!r} is not of uWSGI's form, nor a Tls", remedy)
    found: list[Tls] = []
    for item in items:
        if not isinstance(item, str | Tls):
            raise ConfigError(f"{option} has {item!r} in it", remedy)
        tls = Tls.parse(item) if isinstance(item, str) else item
        if tls.where in [other.where for other in found] and not (tls.where.kind == "tcp" and tls.where.port == 0):
            raise ConfigError(f"{option} names {tls.address} twice", "name each address once; sni= adds certificates")
        found.append(tls)
    return tuple(found)
