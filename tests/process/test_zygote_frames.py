"""The frames between the master and a zygote: as bytes and back, and with their descriptors."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi._link import frames
from trio_uwsgi._process.zygote_frames import (
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Hello,
    Imported,
    ImportFailed,
    Retire,
    Sent,
    ZygoteFrame,
    ZygoteFrameReader,
    encode,
)

pytestmark = pytest.mark.pure

FRAMES: list[ZygoteFrame] = [
    Hello(
        argv=["prog", "-x"],
        app=["object", "a.b", "app", False],
        main="m:main",
        prepare="",
        setup={"a": [1, None]},
        describe="m:describe",
        importing="m:importing",
        lazy=False,
        grace=1.5,
        count=2,
    ),
    Sent(b"\0\0"),
    Imported(10, 0.25, 3, ["MainThread", "pool"], bytes(range(256))),
    ImportFailed("importing a failed: ValueError: \udcff", "Traceback ..."),
    Fork(1, "worker1", {"slot": 1}, 0),
    Fork(2, "worker2", None, 2),
    Forked(2, 4711),
    ForkFailed(3, "no room"),
    Exited(2, -9),
    Retire(),
]


def numbers(frame: ZygoteFrame, first: int) -> list[int]:
    """As many descriptors as the frame takes."""
    return list(range(first, first + frame.descriptors))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_frame_survives(frame: ZygoteFrame) -> None:
    """Every kind of frame comes out of its bytes as it was, with its descriptors."""
    beside = numbers(frame, 7)
    assert [(frame, beside)] == list(ZygoteFrameReader().feed(encode(frame), beside))


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_descriptors_find_their_frames_however_the_bytes_are_cut(size: int) -> None:
    """Descriptors arrive with the first byte of their frame at the latest, and are taken in order."""
    expected: list[tuple[ZygoteFrame, list[int]]] = []
    arrivals: dict[int, list[int]] = {}
    data = b""
    for frame in FRAMES:
        beside = numbers(frame, 3 + 10 * len(expected))
        expected.append((frame, beside))
        arrivals[len(data) // size] = arrivals.get(len(data) // size, []) + beside
        data += encode(frame)
    reader = ZygoteFrameReader()
    got: list[tuple[ZygoteFrame, list[int]]] = []
    for at in range(0, len(data), size):
        got += reader.feed(data[at : at + size], arrivals.get(at // size, []))
    assert expected == got
    assert [] == list(reader.unclaimed)


def test_descriptors_of_an_unfinished_frame_are_unclaimed() -> None:
    """A reader that ends before a frame is complete can close the descriptors that arrived."""
    reader = ZygoteFrameReader()
    assert [] == list(reader.feed(encode(Forked(1, 2))[:-1], [5, 6]))
    assert [5, 6] == list(reader.unclaimed)


def test_missing_descriptors_are_an_error() -> None:
    """A frame without its descriptors is an error."""
    with pytest.raises(ValueError, match=r"only 1 of 2 descriptors arrived with Forked\(ident=1, pid=2\)"):
        list(ZygoteFrameReader().feed(encode(Forked(1, 2)), [5]))


@pytest.mark.parametrize("other", [frames.Ready(), frames.Raise(1)], ids=["Ready", "Raise"])
def test_frames_of_members_are_refused(other: Any) -> None:
    """Each channel has its own vocabulary, although the encoding is the same."""
    with pytest.raises(ValueError, match="not a frame"):
        list(ZygoteFrameReader().feed(frames.encode(other), []))
