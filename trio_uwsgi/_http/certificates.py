"""Reads the certificates of `Config.https`, and makes OpenSSL's contexts of them.

The master reads the files, before it changes its user, and again at each reload. What it has read is a value,
`Certificates`, that goes to members in other processes. OpenSSL takes certificates only from files, so there they are
written to one in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import ssl
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from trio_uwsgi.errors import ListenError

if TYPE_CHECKING:
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi.config.tls import Tls

__all__ = ["BrokenCertificate", "Certificates", "ServerTls", "renew_certificates"]

logger = logging.getLogger("trio_uwsgi")

# Mozilla's "intermediate" recommendation for TLS 1.2, without DHE, for which Python has no parameters. The ciphers of
# TLS 1.3 are OpenSSL's own three.
CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
_FILES = ("certificate", "key", "client_ca")
_END = "-----END CERTIFICATE-----"


class BrokenCertificate(Exception):
    """A file cannot be read, or not be used; `problem` and `remedy` are as in `ConfigError`."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class _Pair(NamedTuple):
    """A certificate with its chain, and its key, both in PEM. `file` is where they were."""

    file: str
    chain: bytes
    key: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Certificates:
    """What was read of the files of a `Tls`, with its other fields. `others` are the certificates by name."""

    default: _Pair
    others: dict[str, _Pair]
    ciphers: str
    client_ca: str
    client_required: bool

    @classmethod
    def read(cls, tls: Tls) -> Certificates:
        """Read the files.

        Raises:
            BrokenCertificate: one cannot be read.
        """
        assert tls.certificate is not None
        return cls(
            _read_pair(tls.certificate, tls.key or tls.certificate),
            {name.lower(): _read_pair(*files) for name, files in tls.sni.items()},
            tls.ciphers,
            _read(tls.client_ca).decode("ascii", "replace") if tls.client_ca else "",
            tls.client_required,
        )


def _read_pair(certificate: str, key: str) -> _Pair:
    return _Pair(certificate, _read(certificate), _read(key))


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        remedy = "check its path, and that this user may read it"
        raise BrokenCertificate(f"{file} cannot be read ({error.strerror})", remedy) from None


class ServerTls:
    """The TLS of a listener. `context` is for new connections, but for those that ask for a name in `named`; `suites`
    are the numbers of ciphers, and `certificates` is None where the context is the user's own.
    """

    def __init__(self, source: Certificates | ssl.SSLContext, tls: Tls | None = None) -> None:
        """Make the contexts; `tls` is where they can be read again.

        Raises:
            BrokenCertificate: the certificates cannot be used.
        """
        self._tls = tls
        self._leaves: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()
        self.certificates: Certificates | None = None
        self.context: ssl.SSLContext
        self.named: dict[str, ssl.SSLContext] = {}
        if isinstance(source, Certificates):
            self.use(source)
        else:
            self.context = source
        self.suites = {str(cipher["name"]): int(cipher["id"]) & 0xFFFF for cipher in self.context.get_ciphers()}

    @classmethod
    def of(cls, tls: Tls) -> ServerTls:
        """Read the files of `tls`, or use its context.

        Raises:
            ListenError: they cannot be read, or not be used.
        """
        if tls.context is not None:
            return cls(tls.context)
        # The application may change the directory before they are read again.
        absolute = dataclasses.replace(
            tls,
            **{name: os.path.abspath(file) for name in _FILES if (file := getattr(tls, name)) is not None},
            sni={name: (os.path.abspath(files[0]), os.path.abspath(files[1])) for name, files in tls.sni.items()},
        )
        try:
            return cls(Certificates.read(absolute), absolute)
        except BrokenCertificate as error:
            raise ListenError(str(tls.address), error.problem, error.remedy) from None

    def use(self, certificates: Certificates) -> None:
        """Use these for new connections.

        Raises:
            BrokenCertificate: they cannot be used; then nothing has changed.
        """
        default = _context(certificates, certificates.default)
        named = {name: _context(certificates, pair) for name, pair in certificates.others.items()}
        self._leaves[default] = _leaf(certificates.default)
        self._leaves.update((named[name], _leaf(pair)) for name, pair in certificates.others.items())
        self.certificates = certificates
        self.context, self.named = default, named

    def renew(self) -> bool:
        """Read the files again. False: there are none.

        Raises:
            BrokenCertificate: they cannot be read, or not be used; the former ones stay in force.
        """
        if self._tls is None:
            return False
        self.use(Certificates.read(self._tls))
        return True

    def context_for(self, name: str) -> ssl.SSLContext:
        """The context of a client that asks for this name, in lower case; "" if for none."""
        return self.named.get(name) or self.named.get("*." + name.partition(".")[2]) or self.context

    def certificate_of(self, context: ssl.SSLContext) -> str | None:
        """The certificate of a context, in PEM, if it is known."""
        return self._leaves.get(context)


def renew_certificates(listeners: Iterable[Listener]) -> bool:
    """Read the certificates of all listeners again; a failure is logged, and the former ones stay in force.

    Returns:
        Whether there are any.
    """
    found = False
    names = {listener.tls: listener.name for listener in listeners if listener.tls is not None}
    for tls, name in names.items():
        try:
            if tls.renew():
                found = True
                logger.info("https on %s: the certificates were read again", name)
        except BrokenCertificate as error:
            found = True
            logger.error("https on %s: the certificates that were read before stay in force: %s", name, error)
    return found


# ----- contexts


def _context(certificates: Certificates, pair: _Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client could have the server compute handshakes on one connection for ever.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if not certificates.ciphers:  # every one is good, and phones know which one they are fast with
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.set_ciphers(certificates.ciphers or CIPHERS)
    except ssl.SSLError:
        remedy = "write OpenSSL's names, as `openssl ciphers` prints them"
        raise BrokenCertificate(f"no cipher of {certificates.ciphers!r} exists", remedy) from None
    _load(context, pair)
    if certificates.client_ca:
        try:
            context.load_verify_locations(cadata=certificates.client_ca)
        except ssl.SSLError as error:
            problem = f"the clients' authorities cannot be used ({error.reason or error})"
            raise BrokenCertificate(problem, "put their certificates into client_ca, in PEM") from None
        context.verify_mode = ssl.CERT_REQUIRED if certificates.client_required else ssl.CERT_OPTIONAL
    return context


def _load(context: ssl.SSLContext, pair: _Pair) -> None:
    try:
        with _file(pair.chain + b"\n" + pair.key) as path:
            context.load_cert_chain(path, password=_no_passphrase)
    except _EncryptedKey:
        remedy = "write it without one: openssl pkey -in KEY -out PLAIN"
        raise BrokenCertificate(f"the key of {pair.file} has a passphrase", remedy) from None
    except ssl.SSLError as error:
        reason = (error.reason or "no PEM").lower().replace("_", " ")
        problem = f"the certificate {pair.file} and its key cannot be used ({reason})"
        raise BrokenCertificate(problem, "check that both are in PEM and belong together") from None


class _EncryptedKey(Exception):
    """OpenSSL asked for a passphrase."""


def _no_passphrase() -> str:
    """OpenSSL would ask the terminal for one."""
    raise _EncryptedKey


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A file with this content, in memory where the system has that."""
    if sys.platform == "linux":
        held = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(held, content)
            yield f"/proc/self/fd/{held}"
        finally:
            os.close(held)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def _leaf(pair: _Pair) -> str:
    """The certificate itself, without those that lead to its root."""
    text = pair.chain.decode("ascii", "replace")
    return text[text.find("-----BEGIN CERTIFICATE-----") : text.find(_END) + len(_END)] + "\n"
