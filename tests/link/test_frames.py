"""Frames as bytes and back: in whole, byte by byte, and from a peer that means no good."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._link.encoding import MAX_FRAME
from trio_uwsgi._link.frames import (
    AddFileMonitor,
    AddTimer,
    Alarm,
    Answer,
    Begun,
    BootFailed,
    CancelTimer,
    Closed,
    Declared,
    Deliver,
    Ended,
    Forget,
    Frame,
    FrameReader,
    Granted,
    Lock,
    Pause,
    Post,
    Raise,
    Ready,
    Register,
    ShutdownRequest,
    SpoolerFrequency,
    Stop,
    StopRequested,
    Unlock,
    encode,
)

pytestmark = pytest.mark.pure

FRAMES: list[Frame] = [
    Ready(),
    Raise(0),
    Raise(255),
    Post(0, b""),
    Post(3, bytes(range(256)) * 300),
    Post("images", b"x"),
    ShutdownRequest(),
    Answer(),
    Answer("signal 17 was not raised: mule1 has 100 signals waiting é \ud800 'quoted'"),
    Deliver(1, 17, b""),
    Deliver(2**63, None, b"\0\0\0\x02[]"),
    Deliver(3, None, b"x", "images", redelivered=True),
    Begun(1),
    Ended(2**63),
    AddTimer(1, 17, ["every", 0.1], "skip", False),
    AddTimer(2, 17, ["cron", "0 3 * * MON-FRI"], "queue", True),
    AddTimer(3, 17, ["cron", ",".join(map(str, range(60))) + " * * * *" + " " * 100_000], "queue", True),
    CancelTimer(1),
    AddFileMonitor(17, "/etc/\udc80"),
    Alarm("mail", "disk \x00 full é"),
    Register(17, "farm_images"),
    Register(0, ""),
    Lock(0, 1),
    Granted(3, 2**63),
    Unlock(3, 2),
    Forget(0, 3),
    Closed(),
    BootFailed("importing app failed", 'Traceback:\n  File "app.py"\nZeroDivisionError: \ud800 é\n'),
    BootFailed("lifespan", ""),
    Declared(b'{"signals": []}'),
    SpoolerFrequency(0.5),
    Stop(),
    Stop(patient=True),
    Pause(True),
    StopRequested(),
]


def raw(head: object, tail: bytes = b"", size: int | None = None, serial: int = 0) -> bytes:
    """A frame by hand; `size` lies about the head's."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    rest = (len(text) if size is None else size).to_bytes(4, "big") + serial.to_bytes(8, "big") + text + tail
    return len(rest).to_bytes(4, "big") + rest


def read(reader: FrameReader, data: bytes) -> list[Frame]:
    return list(reader.feed(data))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_frame_survives(frame: Frame) -> None:
    """Every kind of frame comes out of its bytes as it was."""
    assert [frame] == read(FrameReader(), encode(frame))


def test_frames_come_out_of_single_bytes() -> None:
    """A frame is there with its last byte, not before, whatever came before it."""
    reader = FrameReader()
    for frame in [f for f in FRAMES if len(encode(f)) < 1000]:
        data = encode(frame)
        got = [read(reader, data[at : at + 1]) for at in range(len(data))]
        assert [[]] * (len(data) - 1) + [[frame]] == got


def test_frames_come_out_of_any_pieces() -> None:
    """However the bytes are cut, the frames are the same and in order."""
    data = b"".join(map(encode, FRAMES))
    for seed in range(20):
        rng = random.Random(seed)
        places = sorted(rng.randrange(len(data)) for _ in range(20))
        reader = FrameReader()
        got = [
            frame for a, b in zip([0, *places], [*places, len(data)], strict=True) for frame in read(reader, data[a:b])
        ]
        assert FRAMES == got


def test_heads_are_kept() -> None:
    """A head that was seen before gives the same kind and fields, with the serial, the bytes and the types of its own
    frame.
    """
    frames: list[Frame] = [Deliver(n, None, bytes([n]), "images") for n in range(1, 4)]
    frames += [Post(1, b"x"), Post("1", b"x"), Raise(1), Raise(0), Answer(count=1), Answer(count=2), Begun(4), Begun(5)]
    reader = FrameReader()
    for _ in range(2):
        assert frames == read(reader, b"".join(map(encode, frames)))


def test_unfinished_frame_waits() -> None:
    """What is not complete gives nothing, and is complete with the rest."""
    reader = FrameReader()
    data = encode(Post(1, b"hello"))
    assert [] == read(reader, data[:-1])
    assert [] == read(reader, b"")
    assert [Post(1, b"hello"), Stop()] == read(reader, data[-1:] + encode(Stop()))


HOSTILE = [
    ("no head", b"\0\0\0\0"),
    ("half a size", b"\0\0\0\x02\0\0"),
    ("half a serial", b"\0\0\0\x08\0\0\0\0\0\0\0\1"),
    ("empty head", raw(b"")),
    ("no JSON", raw(b"Ready")),
    ("JSON and more", raw(b'["Ready"] ["Stop"]')),
    ("not UTF-8", raw(b'["\xff\xfe"]')),
    ("a number", raw(5)),
    ("a string", raw("Ready")),
    ("an object", raw({"Ready": 1})),
    ("null", raw(None)),
    ("an empty list", raw([])),
    ("an unknown frame", raw(["Execute", "rm"])),
    ("the base", raw(["Frame"])),
    ("a list for a name", raw([["Ready"]])),
    ("a null for a name", raw([None])),
    ("too few fields", raw(["Raise"])),
    ("too many fields", raw(["Raise", 1, 2])),
    ("the tail in the head", raw(["Post", 1, "x"], b"x")),
    ("a tail where none is", raw(["Ready"], b"x")),
    ("a serial where none is", raw(["Ready"], serial=1)),
    ("the serial in the head", raw(["Begun", 1])),
    ("a head longer than its frame", raw(["Ready"], size=10)),
    ("a head longer than anything", raw(["Post", 1], b"x", size=2**32 - 1)),
    ("a head shorter than its text", raw(["Ready"], size=3)),
    ("very deep", raw(b"[" * 60_000 + b"]" * 60_000)),
    ("a very long number", raw(b'["Raise", ' + b"9" * 60_000 + b"]")),
]


@pytest.mark.parametrize("data", [data for _, data in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    """Whatever is not of the format is a ValueError that shows how it begins; good frames before it are still given."""
    frames = FrameReader().feed(encode(Begun(1)) + data)
    assert Begun(1) == next(frames)
    with pytest.raises(ValueError, match="not a frame: b"):
        next(frames)


def test_frame_that_is_too_large_is_refused_before_it_comes() -> None:
    """A size above the limit is refused when it is read: the reader does not wait for the bytes."""
    with pytest.raises(ValueError, match=f"a frame of {MAX_FRAME + 1} bytes is larger than {MAX_FRAME}"):
        read(FrameReader(), (MAX_FRAME + 1).to_bytes(4, "big"))
    assert [] == read(FrameReader(), MAX_FRAME.to_bytes(4, "big"))


def test_frame_that_is_too_large_is_not_made() -> None:
    """What the other end would refuse is refused here."""
    with pytest.raises(ValueError, match="is larger than"):
        encode(Post(0, bytes(MAX_FRAME)))


@given(st.binary(max_size=200))
def test_random_bytes_give_frames_or_a_value_error(data: bytes) -> None:
    """No bytes at all make the reader raise anything else."""
    reader = FrameReader()
    try:
        for piece in (len(data).to_bytes(4, "big"), data):
            read(reader, piece)
    except ValueError:
        pass


@given(st.data())
def test_mutated_frames_give_frames_or_a_value_error(data: st.DataObject) -> None:
    """Nor does a good frame with a few bytes changed."""
    frame = data.draw(st.sampled_from([f for f in FRAMES if len(encode(f)) < 1000]))
    mutated = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        got: list[Any] = read(FrameReader(), bytes(mutated))
    except ValueError:
        return
    assert len(got) <= 1
    assert all(isinstance(f, Frame) for f in got)


def test_a_frame_is_an_immutable_value() -> None:
    """As a frozen dataclass: compared by kind and fields, with defaults, and with errors for other fields."""
    assert Answer("full") == Answer(refusal="full", count=1)
    assert Begun(1) != Ended(1)
    assert {Begun(1), Begun(1), Begun(2)} == {Begun(2), Begun(1)}
    assert "Answer(refusal='', count=2)" == repr(Answer(count=2))
    kind: Any = Begun  # a checker of types refuses these calls
    for wrong in ([], [1, 2]):
        with pytest.raises(TypeError, match="Begun has the fields ticket"):
            kind(*wrong)
    with pytest.raises(TypeError, match="Begun has the fields ticket"):
        kind(1, other=2)
    with pytest.raises(AttributeError, match=r"Begun.ticket cannot be changed"):
        Begun(1).ticket = 2  # type: ignore[misc]
