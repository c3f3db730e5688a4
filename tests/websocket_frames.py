"""WebSocket frames as a client sends them, whatever they are worth."""

from __future__ import annotations

import struct
import zlib

__all__ = ["BINARY", "CLOSE", "KEY", "PING", "PONG", "TEXT", "deflated", "frame", "sent_frames"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, with its answer
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False, masked: bool = True) -> bytes:
    """One frame of a client, whatever it is worth."""
    first = opcode | fin << 7 | rsv1 << 6
    size = len(payload)
    mask = b"\x01\x02\x03\x04" if masked else b""
    bit = masked << 7
    head = (
        struct.pack("!BB", first, bit | size)
        if size < 126
        else struct.pack("!BBH", first, bit | 126, size)
        if size < 65536
        else struct.pack("!BBQ", first, bit | 127, size)
    )
    body = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)) if masked else payload
    return head + mask + body


def deflated(data: bytes) -> bytes:
    """A message as RFC 7692 compresses it."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def sent_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of what a server sent; an error if the last one is cut."""
    frames = []
    while data:
        opcode, size, start = data[0] & 15, data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        assert size < 126 or start == 4, "longer than anything that these tests ask for"
        assert start + size <= len(data)
        frames.append((opcode, data[start : start + size]))
        data = data[start + size :]
    return frames
