"""TLS of one connection, without its socket: bytes in, bytes out.

`feed` takes what the client sent and returns what is in it, `seal` encrypts what is to be sent. Both may produce bytes
of the protocol itself (a part of the handshake, an alert, tickets), which `take` returns. Records have to be sent in
the order in which they were made. OpenSSL does the work, on two buffers in memory, and never waits.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from trio_uwsgi._http.client_hello import server_name
from trio_uwsgi._http.tls_facts import Handshake

if TYPE_CHECKING:
    from trio_uwsgi._http.certificates import ServerTls

__all__ = ["PLAIN_HTTP", "TlsCodec", "TlsFailed"]

# What a client is told that speaks HTTP here.
PLAIN_HTTP = "this address serves HTTPS, and the request was sent without TLS; use a URL that begins with https://"

_READ = 65536


class TlsFailed(Exception):
    """The client broke the protocol, or the two sides have nothing in common; `take` has the alert that says so.

    `plain`: its first bytes look like HTTP.
    """

    def __init__(self, reason: str, *, plain: bool = False) -> None:
        super().__init__(reason)
        self.plain = plain


class TlsCodec:
    """The TLS of one connection, on the server's side.

    `established`: the handshake is finished. `ended`: the client said that it sends no more.
    """

    __slots__ = ("_hello", "_incoming", "_object", "_outgoing", "_server_name", "_tls", "ended", "established")

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object: ssl.SSLObject
        self._hello = b""  # what has arrived of the client's first message
        self._server_name: str | None = None  # None: that message is not complete
        self.established = False
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the client; returns what they carry, b"" while that is incomplete.

        Raises:
            TlsFailed: the connection cannot be continued.
        """
        incoming = self._incoming
        if self._server_name is None:
            self._begin(data)
        else:
            incoming.write(data)
        pieces: list[bytes] = []
        if self._server_name is None:
            return b""
        read = self._object.read
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while True:
                piece = read(_READ)  # one record at most
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
                if not incoming.pending and not self._object.pending():
                    break  # asking once more would cost an exception
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise TlsFailed(_reason(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin(self, data: bytes) -> None:
        """Choose the certificate by the client's first message, once that is complete."""
        if not self._hello and data[:1].isalpha():  # a record begins with its type, a number up to 23
            raise TlsFailed("the client does not speak TLS", plain=True)
        self._hello += data
        self._server_name = server_name(self._hello)
        if self._server_name is not None:
            context = self._tls.context_for(self._server_name)
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            self._incoming.write(self._hello)
            self._hello = b""

    def seal(self, data: bytes | memoryview) -> bytes:
        """Encrypt all of `data`; the result begins with what `take` would have returned.

        Raises:
            ssl.SSLError: `feed` has failed before; it is an OSError, as of a socket that is broken.
        """
        self._object.write(data)
        return self._outgoing.read()

    @property
    def waiting(self) -> int:
        """Bytes that `take` will return."""
        return self._outgoing.pending

    def take(self) -> bytes:
        """The bytes of the protocol that have to be sent."""
        return self._outgoing.read()

    def finish(self) -> bytes:
        """The bytes that tell the client that nothing more is sent. What it sends may still be read."""
        if not self.established:
            return b""
        with contextlib.suppress(ssl.SSLError, ValueError):  # usually the client has not said the same yet
            self._object.unwrap()
        return self._outgoing.read()

    def handshake(self) -> Handshake:
        """What the handshake agreed on."""
        connection = self._object
        name, _, _ = connection.cipher() or ("", "", 0)
        asked = connection.context.verify_mode is not ssl.CERT_NONE
        client = connection.getpeercert() or {} if asked else {}
        own = connection.getpeercert(binary_form=True) if asked else None
        return Handshake(
            version=connection.version() or "",
            cipher=name,
            suite=self._tls.suites.get(name),
            server_name=self._server_name or None,
            server_certificate=self._tls.certificate_of(connection.context),
            asked=asked,
            client=client,
            chain=[own] if own else [],
        )


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")
