"""Frames as bytes. Pure.

On the wire a frame is

    size of the rest   4 bytes, big endian
    size of the head   4 bytes, big endian
    serial             8 bytes, big endian: the frame's one integer field that differs each time, if it has one, or 0
    head               JSON: [name of the frame, its other fields except bytes ones]
    tail               the frame's one bytes field, if it has one

So the heads of frames that are sent for each message are often the same, and both ends keep the last ones.

Both ends are this package and equally privileged; still a frame contains plain data only, nothing that executes. The
kinds of frames are in `frames.py`; those between the master and a zygote in `_process/zygote_frames.py`.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Iterator
from inspect import get_annotations
from typing import Any, ClassVar, dataclass_transform

__all__ = ["MAX_FRAME", "MAX_MESSAGE", "Frame", "Reader", "Vocabulary"]

# A mule message is the largest field of a frame; uWSGI's own limit for one is 65,536 bytes. A MiB is more than any head
# needs.
MAX_MESSAGE = 64 * 1024 * 1024
MAX_FRAME = MAX_MESSAGE + 1024 * 1024
# Each end keeps so many heads, of at most so many bytes. A mule or a lock has a few, so this is for hundreds of them.
_HEADS_KEPT = 1024
_LONGEST_KEPT = 128

_SIZE = struct.Struct(">I")
_START = struct.Struct(">IIQ")  # the size of the rest, the size of the head, the serial
_REST_START = struct.Struct(">IQ")


@dataclass_transform(frozen_default=True)
class Frame:
    """Base of all frames. `tail` names the one bytes field, `serial` the integer that differs in each frame. The head
    of a frame that `repeats` is often the same as before.

    A frame is what a frozen dataclass is: its fields are the annotated names of its class, and cannot be changed. But
    `dataclass` compiles six functions for each class, which took a tenth of the time of every start.
    """

    tail: ClassVar[str] = ""
    serial: ClassVar[str] = ""
    repeats: ClassVar[bool] = False

    __match_args__: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, object]] = {}

    def __init_subclass__(cls) -> None:
        own = [name for name, kind in get_annotations(cls).items() if not kind.startswith("ClassVar")]
        cls.__match_args__ += tuple(own)  # type: ignore[misc]  # mypy has those of a dataclass
        cls._defaults = {name: cls.__dict__[name] for name in own if name in cls.__dict__}

    def __init__(self, *values: object, **named: object) -> None:
        names = self.__match_args__
        fields = {**self._defaults, **dict(zip(names, values, strict=False)), **named}
        if len(values) > len(names) or fields.keys() != set(names):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(names) or 'none'}, not {values} {named}")
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__match_args__)})"


class Vocabulary:
    """The frames that the two ends of a link know, and their encoding. An end refuses all others."""

    def __init__(self, *kinds: type[Frame]) -> None:
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._fields = {
            kind: [name for name in kind.__match_args__ if name not in (kind.tail, kind.serial)] for kind in kinds
        }
        self._kept_head = functools.lru_cache(_HEADS_KEPT, typed=True)(_head)
        self._kept_fields = functools.lru_cache(_HEADS_KEPT)(self._parse)

    def encode(self, frame: Frame) -> bytes:
        """The frame as bytes.

        Raises:
            ValueError: it is larger than `MAX_FRAME`, so the other end would not take it.
        """
        kind = type(frame)
        make_head = self._kept_head if kind.repeats else _head
        head = make_head(kind.__name__, *[getattr(frame, name) for name in self._fields[kind]])
        serial: int = getattr(frame, kind.serial) if kind.serial else 0
        tail: bytes = getattr(frame, kind.tail) if kind.tail else b""
        size = _REST_START.size + len(head) + len(tail)
        if size > MAX_FRAME:
            raise ValueError(f"a frame of {size} bytes is larger than {MAX_FRAME}")
        return b"".join([_START.pack(size, len(head), serial), head, tail])

    def decode(self, rest: bytes) -> Frame:
        """The frame of these bytes, which are all but the first four. If they are malformed, that is a ValueError,
        TypeError, KeyError, RecursionError or struct.error.
        """
        size, serial = _REST_START.unpack_from(rest)
        end = _REST_START.size + size
        if end > len(rest):
            raise ValueError("the head is cut off")
        parse = self._kept_fields if size <= _LONGEST_KEPT else self._parse
        kind, fields = parse(rest[_REST_START.size : end])
        if kind.serial:
            fields = {**fields, kind.serial: serial}
        elif serial:
            raise ValueError("there is a serial number before a head that has none")
        if kind.tail:
            return kind(**fields, **{kind.tail: rest[end:]})
        if end < len(rest):
            raise ValueError("there are bytes behind a head that has no tail")
        return kind(**fields)

    def _parse(self, head: bytes) -> tuple[type[Frame], dict[str, Any]]:
        values = json.loads(head)
        if not isinstance(values, list):
            raise ValueError("the head is not a list")
        name, *values = values
        kind = self._kinds[name]
        return kind, dict(zip(self._fields[kind], values, strict=True))


def _head(*values: object) -> bytes:
    return json.dumps(values).encode()


class Reader:
    """Bytes in, frames of this vocabulary out; holds at most one unfinished frame."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._buffer = bytearray()
        self._begin = 0  # of the next frame, in the buffer

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that this data completes.

        Raises:
            ValueError: the data is not of this format, or a frame is larger than `MAX_FRAME`; the link is then
                unusable.
        """
        self._buffer += data
        while len(self._buffer) - self._begin >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._buffer, self._begin)
            if size > MAX_FRAME:
                raise ValueError(f"a frame of {size} bytes is larger than {MAX_FRAME}")
            begin = self._begin + _SIZE.size
            end = begin + size
            if len(self._buffer) < end:
                break
            rest = bytes(self._buffer[begin:end])
            self._begin = end
            try:
                yield self._vocabulary.decode(rest)
            except (KeyError, RecursionError, TypeError, ValueError, struct.error) as error:
                raise ValueError(f"not a frame: {rest[:40]!r}") from error
        del self._buffer[: self._begin]
        self._begin = 0
