"""TLS of one connection, without its socket: bytes in, bytes out.

`feed` takes what the client sent and returns what is in it, `seal` encrypts what is to be sent. Both may produce bytes
of the protocol itself (a part of the handshake, an alert, tickets), which `take` returns. Records have to be sent in
the order in which they were made. OpenSSL does the work, on two buffers in memory, and never waits.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

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

    __slots__ = ("_begun", "_incoming", "_object", "_outgoing", "_tls", "ended", "established")

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._begun = False  # the client has sent something
        self.established = False
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the client; returns what they carry, b"" while that is incomplete.

        Raises:
            TlsFailed: the connection cannot be continued.
        """
        incoming = self._incoming
        if not self._begun:
            self._begun = True
            if data[:1].isalpha():  # a record begins with its type, a number up to 23
                raise TlsFailed("the client does not speak TLS", plain=True)
        incoming.write(data)
        read = self._object.read
        pieces = []
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

    def seal(self, data: bytes | memoryview) -> bytes:
        """Encrypt all of `data`; the result begins with what `take` would have returned."""
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
        chosen = self._tls.chosen(connection)
        return Handshake(
            version=connection.version() or "",
            cipher=name,
            suite=self._tls.suites.get(name),
            server_name=chosen.name,
            server_certificate=chosen.certificate,
            asked=asked,
            client=client,
            chain=[own] if own else [],
        )


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")
