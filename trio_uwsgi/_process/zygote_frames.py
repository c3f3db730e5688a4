"""What the master and a zygote say to each other, and how descriptors find their frames. Pure.

The bytes are those of `frames.py`. Descriptors travel beside them, over the same unix socket: they never arrive later
than the first byte that they were sent with, but may come in one read with the end of the frame before. So each frame
says how many are its own, and takes them in order.

Here are only numbers: who sends and receives them is in `zygote_control.py` (the master) and `zygote.py`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from trio_uwsgi._link.frames import Frame, FrameReader, Vocabulary

__all__ = [
    "Exited",
    "Fork",
    "ForkFailed",
    "Forked",
    "Hello",
    "ImportFailed",
    "Imported",
    "Retire",
    "ZygoteFrame",
    "ZygoteFrameReader",
    "encode",
]


@dataclasses.dataclass(frozen=True, slots=True)
class ZygoteFrame(Frame):
    """Base of these frames. `descriptors` is how many travel beside one."""

    @property
    def descriptors(self) -> int:
        return 0


@dataclasses.dataclass(frozen=True, slots=True)
class Hello(ZygoteFrame):
    """Master to zygote, first: what to be. Functions are named as `module:attribute`, and "" is none.

    `argv` is the program's, for `sys.argv`. `app` has the values of an `AppReference`. `prepare` is called with `setup`
    before the application is imported, `describe` with the application afterwards, and `main` in each child. With
    `lazy` the application is not imported here, and each child is a fresh interpreter. `grace` is what children have,
    in seconds, when the master is gone.
    """

    argv: list[str]
    app: list[Any]
    main: str
    prepare: str
    setup: Any  # a JSON value
    describe: str
    lazy: bool
    grace: float


@dataclasses.dataclass(frozen=True, slots=True)
class Imported(ZygoteFrame):
    """Zygote to master: the application is here, and children may be asked for.

    `seconds` is what the import took. `os_threads` counts the threads of the process, which are more than Python knows
    of; `threads` names those that Python knows. `described` is what `Hello.describe` returned.
    """

    pid: int
    seconds: float
    os_threads: int
    threads: list[str]
    described: bytes
    tail: ClassVar[str] = "described"


@dataclasses.dataclass(frozen=True, slots=True)
class ImportFailed(ZygoteFrame):
    """Zygote to master, last: what failed, in a sentence, and the traceback of the application's own code."""

    reason: str
    traceback: str


@dataclasses.dataclass(frozen=True, slots=True)
class Fork(ZygoteFrame):
    """Master to zygote: make a child that calls `Hello.main` with these descriptors and this setup. Answered."""

    ident: int
    name: str
    setup: Any  # a JSON value
    count: int

    @property
    def descriptors(self) -> int:
        return self.count


@dataclasses.dataclass(frozen=True, slots=True)
class Forked(ZygoteFrame):
    """Zygote to master: the child is there. Beside it: its pidfd, and the end of its lifeline that is not to close."""

    ident: int
    pid: int

    @property
    def descriptors(self) -> int:
        return 2


@dataclasses.dataclass(frozen=True, slots=True)
class ForkFailed(ZygoteFrame):
    """Zygote to master: the system refused the child, for this reason."""

    ident: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Exited(ZygoteFrame):
    """Zygote to master: the child has ended and is reaped. `status` is its exit code, or minus the signal's number."""

    ident: int
    status: int


@dataclasses.dataclass(frozen=True, slots=True)
class Retire(ZygoteFrame):
    """Master to zygote: fork no more, and leave when the last child has ended."""


_WORDS = Vocabulary(Hello, Imported, ImportFailed, Fork, Forked, ForkFailed, Exited, Retire)
encode = _WORDS.encode


class ZygoteFrameReader:
    """Bytes and descriptors in, frames with their descriptors out."""

    def __init__(self) -> None:
        self._frames = FrameReader(_WORDS)
        self.unclaimed: deque[int] = deque()  # of frames that are not here yet; whoever ends early closes them

    def feed(self, data: bytes, descriptors: list[int]) -> Iterator[tuple[ZygoteFrame, list[int]]]:
        """The frames that this data completes, each with the descriptors that are now its reader's to close.

        Raises:
            ValueError: the data is not of this format, or a frame has fewer descriptors than it says.
        """
        self.unclaimed += descriptors
        for frame in self._frames.feed(data):
            assert isinstance(frame, ZygoteFrame)
            if len(self.unclaimed) < frame.descriptors:
                raise ValueError(f"{len(self.unclaimed)} descriptors came for {frame!r}")
            yield frame, [self.unclaimed.popleft() for _ in range(frame.descriptors)]
