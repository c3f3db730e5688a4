"""What is done to each WebSocket message: its size is bounded, and it may be compressed (RFC 7692). Pure.

wsproto calls the extension for each frame. Its own `PerMessageDeflate` inflates whatever arrives, so that 64 KiB could
become 64 MiB before anybody looks; this one inflates no further than the limit.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

__all__ = ["Deflate", "MessageExtension", "negotiate"]

# The window of what is sent, and of what is received where the client can limit it: 4 KiB instead of 32 KiB makes
# short messages hardly larger, and a connection needs a quarter of the memory.
_WINDOW_BITS, _MEMORY_LEVEL = 12, 5
_TAIL = b"\x00\x00\xff\xff"
_NAME = "permessage-deflate"
_BITS = re.compile(r"8|9|1[0-5]")


class Deflate(NamedTuple):
    """What was agreed about compression; `answer` is the server's `Sec-WebSocket-Extensions`."""

    answer: bytes
    server_bits: int
    client_bits: int
    keep_context: bool


def negotiate(offers: bytes) -> Deflate | None:
    """Choose the first acceptable offer of a `Sec-WebSocket-Extensions` header; None to send messages as they are."""
    for offer in offers.decode("latin-1").split(","):
        name, *words = (word.strip() for word in offer.split(";"))
        agreed = _accept(words) if name.lower() == _NAME else None
        if agreed is not None:
            return agreed
    return None


def _accept(words: list[str]) -> Deflate | None:
    """Accept an offer with these parameters; None if one is unknown, repeated, or cannot be met."""
    given: dict[str, str | None] = {}
    for word in words:
        name, found, text = word.partition("=")
        name = name.strip().lower()
        if name in given:
            return None
        given[name] = text.strip().strip('"') if found else None
    answer = [_NAME]
    server_bits, client_bits, keep_context = _WINDOW_BITS, 15, True
    for name, value in given.items():
        if name == "server_no_context_takeover" and value is None:
            keep_context = False
            answer.append(name)
        elif name == "client_no_context_takeover" and value is None:
            pass  # a hint: what the client forgets need not be known here
        elif name == "server_max_window_bits" and value is not None and _BITS.fullmatch(value):
            server_bits = min(server_bits, int(value))
        elif name == "client_max_window_bits" and (value is None or _BITS.fullmatch(value)):
            client_bits = min(_WINDOW_BITS, int(value or _WINDOW_BITS))
            answer.append(f"{name}={client_bits}")
        else:
            return None
    if server_bits == 8:
        return None  # zlib cannot compress with so small a window
    answer.append(f"server_max_window_bits={server_bits}")
    return Deflate("; ".join(answer).encode(), server_bits, client_bits, keep_context)


class MessageExtension(Extension):
    """Bounds each message, and inflates and deflates it if that was agreed.

    `size` is that of the message that arrives, or of the one that has just arrived; `problem` is set before a frame is
    refused here.

    Args:
        max_message: bytes that a message may have, inflated; 0 is no limit.
        deflate: what was agreed, or None.
    """

    name = _NAME

    def __init__(self, max_message: int, deflate: Deflate | None) -> None:
        self._max = max_message
        self._deflate = deflate
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None
        self._inflating = False  # the message that arrives is compressed
        self._control = False  # the frame that arrives belongs to no message
        self._open = False  # a frame has ended, and its message has not
        self.size = 0
        self.problem = ""

    def enabled(self) -> bool:
        """Called by wsproto."""
        return True

    def offer(self) -> bool | str:
        """Called by wsproto for clients only."""
        raise NotImplementedError

    # ----- what arrives

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """A frame begins: refuse it before its bytes are kept, if it is too large as it is.

        Called again if the frame's mask has not arrived yet.
        """
        self._control = opcode.iscontrol()
        if self._control:
            return RsvBits(False, False, False)
        begins = opcode is not Opcode.CONTINUATION
        if begins is self._open:  # wsproto would say so too, but may have had its payload inflated before
            self.problem = "a message began in another one" if begins else "a message was continued before it began"
            return CloseReason.PROTOCOL_ERROR
        if begins:
            self.size = 0
            self._inflating = rsv.rsv1 and self._deflate is not None
        if not self._inflating and self._max and self.size + payload_length > self._max:
            return self._too_large()
        return RsvBits(self._inflating and begins, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """A part of a frame's payload."""
        if self._control:
            return data
        if self._inflating:
            return self._inflate(data)
        self.size += len(data)
        return data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """A frame has ended, and with `fin` its message."""
        if self._control:
            return None
        self._open = not fin
        return self._inflate(_TAIL) if fin and self._inflating else None

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        inflated = b""
        while data:
            if self._decompressor is None:
                assert self._deflate is not None
                self._decompressor = zlib.decompressobj(-self._deflate.client_bits)
            decompressor = self._decompressor
            left = self._max - self.size + 1 if self._max else 0  # 0 is no limit; one byte more than allowed shows it
            try:
                piece = decompressor.decompress(data, left)
            except zlib.error:
                self.problem = "the message is not compressed as RFC 7692 says"
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            self.size += len(piece)
            if self._max and self.size > self._max:
                return self._too_large()
            inflated += piece
            data = decompressor.unused_data
            if decompressor.eof:  # the client has ended its stream, and begins another
                self._decompressor = None
        return inflated

    def _too_large(self) -> CloseReason:
        self.problem = f"the message is larger than {self._max} bytes"
        return CloseReason.MESSAGE_TOO_BIG

    # ----- what is sent

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """A frame is sent; messages are sent in one frame each."""
        agreed = self._deflate
        if agreed is None or opcode.iscontrol():
            return rsv, data
        compressor = self._compressor or zlib.compressobj(wbits=-agreed.server_bits, memLevel=_MEMORY_LEVEL)
        self._compressor = compressor if agreed.keep_context else None
        whole = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return RsvBits(True, rsv.rsv2, rsv.rsv3), whole.removesuffix(_TAIL)
