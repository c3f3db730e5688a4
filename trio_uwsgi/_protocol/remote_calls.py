"""Calls between nodes over the uwsgi protocol, as values and bytes. Pure. Answers are in `remote_answers.py`.

A client encodes calls, a server decodes them (`decode_call`). `_nodes/` sends and executes them.

uWSGI accepts one call per connection, and reports most failures by closing it without a byte. A trio_uwsgi client sends
a `HelloCall` first: uWSGI closes the connection (it has no handler for modifier 174), trio_uwsgi answers. From then on
the connection takes one call after the other, every answer is a packet with a length, and a failure is a `Failure` with
a reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trio_uwsgi._protocol.packet import (
    CACHE,
    HELLO,
    MAX_BODY,
    PING,
    RPC,
    SIGNAL,
    SPOOL,
    decode_array,
    decode_vars,
    encode_array,
    encode_packet,
    encode_vars,
)
from trio_uwsgi.errors import CacheError, RemoteProtocolError, RpcError, SpoolError

__all__ = [
    "CacheCall",
    "Call",
    "HelloCall",
    "OldCacheCall",
    "PingCall",
    "RpcCall",
    "SignalCall",
    "SpoolCall",
    "check_rpc_call",
    "decode_call",
    "decode_size",
    "value_size",
]

MAX_ARGS = 254  # uWSGI reads 255 items, the first of which is the name
MAX_NAME = 255
MAX_VARS = 64  # uWSGI's own limit; a call uses seven at most
MAX_JOB_VARS = 4096

# modifier2 of packets about caches.
VARS = 17  # the protocol since 1.9: vars, and the value after the packet
OLD_GET, OLD_SET, OLD_DEL, OLD_STREAM = 0, 1, 2, 5

# uWSGI has get, set, update, del, exists and clear. The others exist between trio_uwsgi nodes only.
STORING = frozenset(("set", "update"))
ARITHMETIC = frozenset(("inc", "dec", "mul", "div"))
WITHOUT_KEY = frozenset(("clear", "keys"))
COMMANDS = frozenset(("get", "del", "exists", "num")) | STORING | ARITHMETIC | WITHOUT_KEY

_SIZE = re.compile(rb"[0-9]{1,18}")
_NUMBER = re.compile(rb"-?[0-9]{1,19}")


def decode_size(what: str, text: bytes) -> int:
    """Parse a number of bytes or seconds, as decimal text.

    Raises:
        RemoteProtocolError: it is not a number, or has more than 18 digits.
    """
    if _SIZE.fullmatch(text) is None:
        raise RemoteProtocolError(f"{what} is {text[:40]!r}, which is not a number of at most 18 digits")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloCall:
    """Ask whether the other node is trio_uwsgi; if it is, the connection stays open for more calls."""

    def encode(self) -> bytes:
        """The packet."""
        return encode_packet(HELLO, 1, b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class PingCall:
    """Ask whether the other node is reachable."""

    def encode(self) -> bytes:
        """The packet."""
        return encode_packet(PING, 0, b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalCall:
    """Raise a signal, 0 to 255, at the other node."""

    signum: int

    def encode(self) -> bytes:
        """The packet."""
        return encode_packet(SIGNAL, self.signum, b"")


def check_rpc_call(name: bytes, args: Sequence[bytes]) -> None:
    """Refuse a call of an RPC function that cannot be sent.

    Raises:
        RpcError: the name or the arguments exceed the limits of the protocol.
    """
    if not 1 <= len(name) <= MAX_NAME:
        raise RpcError(f"the name of an RPC function has 1 to {MAX_NAME} bytes; {name[:40]!r} has {len(name)}")
    if len(args) > MAX_ARGS:
        raise RpcError(f"an RPC call takes at most {MAX_ARGS} arguments, and this one has {len(args)}")
    size = 2 + len(name) + 2 * len(args) + sum(map(len, args))
    if size > MAX_BODY:
        longest = max(range(len(args)), key=lambda number: len(args[number]))
        raise RpcError(
            f"an RPC call takes at most {MAX_BODY} bytes, with 2 for the size of the name and each argument; "
            f"this one has {size}, of which argument {longest + 1} has {len(args[longest])}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcCall:
    """Call a function at the other node.

    Args:
        name: 1 to 255 bytes.
        args: 254 at most.
        style: of the answer: 0 is a packet, 1 the bare result; 2 has the form of an HTTP request and response, see
            `_http/uwsgi_http.py`.
    """

    name: bytes
    args: tuple[bytes, ...] = ()
    style: int = 0

    def encode(self) -> bytes:
        """The packet, of a call in style 0 or 1.

        Raises:
            RpcError: as `check`.
        """
        self.check()
        return encode_packet(RPC, self.style, encode_array((self.name, *self.args)))

    def check(self) -> None:
        """Refuse a call that cannot be sent.

        Raises:
            RpcError: the name or the arguments exceed the limits of the protocol.
        uWSGI: cuts arguments to the lower 16 bits of their length, and makes the call.
        """
        check_rpc_call(self.name, self.args)

    @classmethod
    def decode(cls, packet: bytes, style: int) -> RpcCall:
        """Read the body of a packet, of a call in style 0 or 1.

        Raises:
            RemoteProtocolError: it is not a call, or has more than 254 arguments.
        """
        items = decode_array(packet, MAX_ARGS + 1)
        if not items or not 1 <= len(items[0]) <= MAX_NAME:
            raise RemoteProtocolError(f"an RPC call has no name, or one of more than {MAX_NAME} bytes")
        return cls(name=items[0], args=tuple(items[1:]), style=style)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCall:
    """Execute a command on a cache of the other node.

    Args:
        command: one of `COMMANDS`. All but `get`, `set`, `update`, `del`, `exists`, `clear` are our own.
        key: empty for `clear` and `keys`.
        value: the value for `set` and `update`; the operand of `inc`, `dec`, `mul`, `div` as decimal text.
        expires: seconds from now; 0 is never, or, with our own commands, unchanged.
        cache: its name; `b""` or None is the first one. (They differ in the packet, and uWSGI sends both.)
    """

    command: str
    key: bytes = b""
    value: bytes = b""
    expires: int = 0
    cache: bytes | None = None

    @property
    def operand(self) -> int:
        """The operand of an arithmetic command."""
        return int(self.value)

    def encode(self) -> bytes:
        """The packet, followed by the value if there is one to store.

        Raises:
            CacheError: the command is not known, lacks its key or number, or exceeds the limits of the protocol.
        """
        command = self.command
        self._check(CacheError)
        stored = b"%d" % len(self.value) if command in STORING else None
        pairs = [(b"cmd", command.encode())]
        if self.key:
            pairs.append((b"key", self.key))
        if stored is not None:
            pairs.append((b"size", stored))
        elif command in ARITHMETIC:
            pairs.append((b"value", self.value))
        if self.expires > 0:
            pairs.append((b"expires", b"%d" % self.expires))
        if stored is not None:
            pairs.append((b"size", stored))  # repeated, as uWSGI does: the bytes are the same
        if self.cache is not None:
            pairs.append((b"cache", self.cache))
        try:
            packet = encode_packet(CACHE, VARS, encode_vars(pairs))
        except ValueError as error:
            raise CacheError(f"the cache command {command} is too long for the uwsgi protocol: {error}") from None
        return packet if stored is None else packet + self.value

    @classmethod
    def decode(cls, packet: bytes, body: bytes) -> CacheCall:
        """Read the body of a packet, and the value after it.

        Raises:
            RemoteProtocolError: it is not a command, or the value does not have the announced length.
        """
        found = dict(decode_vars(packet, MAX_VARS))
        command = found.get(b"cmd", b"").decode("latin-1")
        value = found.get(b"value", b"")
        if command in STORING:
            value = body
            if len(body) != decode_size("the size of a value", found.get(b"size", b"")):
                raise RemoteProtocolError(
                    f"the cache command {command} has a value of {len(body)} bytes, which is not the announced size"
                )
        call = cls(
            command=command,
            key=found.get(b"key", b""),
            value=value,
            expires=decode_size("an expiry", found.get(b"expires") or b"0"),
            cache=found.get(b"cache"),
        )
        call._check(RemoteProtocolError)
        return call

    def _check(self, error: type[CacheError | RemoteProtocolError]) -> None:
        command = self.command
        if command not in COMMANDS:
            raise error(f"the cache command {command[:40]!r} is not known")
        if not self.key and command not in WITHOUT_KEY:
            raise error(f"the cache command {command} has no key")
        if command in ARITHMETIC and _NUMBER.fullmatch(self.value) is None:
            raise error(f"the operand of the cache command {command} is {self.value[:40]!r}, which is not a number")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCacheCall:
    """Execute a command on the first cache of the other node, in the protocol before 1.9, which we only answer.

    Args:
        form: 0 and 5 get, 1 sets, 2 deletes. 1 and 2 have no answer: the connection ends.
        key: the key.
        value: the value that 1 stores.
    """

    form: int
    key: bytes
    value: bytes = b""

    def encode(self) -> bytes:
        """The packet.

        Raises:
            ValueError: key and value exceed the limits of the protocol.
        """
        body = encode_array((self.key, self.value)) if self.form == OLD_SET else self.key
        return encode_packet(CACHE, self.form, body)

    @classmethod
    def decode(cls, packet: bytes, form: int) -> OldCacheCall:
        """Read the body of a packet.

        Raises:
            RemoteProtocolError: it is not a call of this form.
        """
        key, value = packet, b""
        if form == OLD_SET:
            items = decode_array(packet, 2)
            if len(items) < 2:
                raise RemoteProtocolError("an old cache command lacks its key or its value")
            key, value = items
        elif form not in (OLD_GET, OLD_DEL, OLD_STREAM):
            raise RemoteProtocolError(f"the modifier2 {form} is not that of a cache command")
        if not key:
            raise RemoteProtocolError("an old cache command has no key")
        return cls(form=form, key=key, value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolCall:
    """Queue a job at the other node, with these vars. The var `body` is its body."""

    pairs: tuple[tuple[bytes, bytes], ...]

    def encode(self) -> bytes:
        """The packet.

        Raises:
            SpoolError: the vars exceed the limits of the protocol.
        """
        try:
            return encode_packet(SPOOL, 0, encode_vars(self.pairs))
        except ValueError as error:
            raise SpoolError(
                f"the job was not sent: {error}; queue it here, or transfer the data another way"
            ) from None

    @classmethod
    def decode(cls, packet: bytes) -> SpoolCall:
        """Read the body of a packet.

        Raises:
            RemoteProtocolError: it is cut off, or has more than 4096 vars.
        """
        return cls(pairs=tuple(decode_vars(packet, MAX_JOB_VARS)))


Call = RpcCall | SpoolCall | SignalCall | CacheCall | OldCacheCall | PingCall | HelloCall


def decode_call(modifier1: int, modifier2: int, packet: bytes, body: bytes = b"") -> Call:
    """Decode a call.

    Args:
        modifier1: of the packet.
        modifier2: of the packet.
        packet: its body.
        body: the data after the packet, with the length that `value_size` returns.
    Raises:
        RemoteProtocolError: these modifiers are not those of a call (style 2 is not decoded here), or the
            rest is invalid.
    """
    if modifier1 == RPC and modifier2 <= 1:
        return RpcCall.decode(packet, modifier2)
    if modifier1 == CACHE:
        return CacheCall.decode(packet, body) if modifier2 == VARS else OldCacheCall.decode(packet, modifier2)
    if modifier1 == SIGNAL:
        return SignalCall(signum=modifier2)
    if modifier1 == SPOOL:
        return SpoolCall.decode(packet)
    if modifier1 == PING:
        return PingCall()
    if modifier1 == HELLO and modifier2 == 1:
        return HelloCall()
    raise RemoteProtocolError(f"modifier1 {modifier1} with modifier2 {modifier2} is not supported")


def value_size(packet: bytes) -> int:
    """How many bytes of value follow this body of a packet with the modifiers 111 and 17.

    Raises:
        RemoteProtocolError: the body or the size in it is malformed.
    """
    if b"\x04\x00size" not in packet:
        return 0
    found = dict(decode_vars(packet, MAX_VARS))
    if found.get(b"cmd", b"").decode("latin-1") not in STORING:
        return 0
    return decode_size("the size of a value", found.get(b"size", b""))
