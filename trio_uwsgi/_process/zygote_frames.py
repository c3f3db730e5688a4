"""The frames between the master and a zygote, and how descriptors are assigned to them. Pure.

The encoding is that of `_link/encoding.py`. Descriptors are sent beside the bytes, over the same unix socket. They
never arrive later than the first byte that they were sent with, but may arrive in one read with the end of the frame
before. So each frame has the number of its descriptors, and they are assigned in order.

Descriptors are only numbers here. `zygote_control.py` (the master) and `zygote.py` send and receive them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from trio_uwsgi._link.encoding import Frame, Reader, Vocabulary

__all__ = [
    "Exited",
    "Fork",
    "ForkFailed",
    "Forked",
    "Hello",
    "ImportFailed",
    "Imported",
    "Retire",
    "Sent",
    "ZygoteFrame",
    "ZygoteFrameReader",
    "encode",
]


class ZygoteFrame(Frame):
    """Base of these frames. `descriptors` is the number of descriptors that are sent beside one."""

    @property
    def descriptors(self) -> int:
        return 0


class Hello(ZygoteFrame):
    """Master to zygote, the first frame: what to import and run. Functions are named as `module:attribute`; "" is none.

    `argv` is the master's `sys.argv`. `app` has the values of an `AppReference`. `prepare` is called with `setup`
    before the application is imported, `describe` with the application afterwards, and `main` in each child.
    `importing`, called with the descriptors and `setup`, gives the context manager around the import. With `lazy` the
    zygote does not import the application, and each child is a new interpreter. `grace` is the time in seconds that
    children have to end after the master has ended.
    """

    argv: list[str]
    app: list[Any]
    main: str
    prepare: str
    setup: Any  # a JSON value
    describe: str
    importing: str
    lazy: bool
    grace: float
    count: int

    @property
    def descriptors(self) -> int:
        return self.count


class Sent(ZygoteFrame):
    """Zygote to master, before `Imported`: a frame of `_link/frames.py` that the application's import has sent."""

    frame: bytes
    tail: ClassVar[str] = "frame"


class Imported(ZygoteFrame):
    """Zygote to master: the application is imported, and children can be forked.

    `seconds` is the duration of the import. `os_threads` is the number of the process's threads, including those that
    Python does not know; `threads` has the names of those that it knows. `described` is what `Hello.describe` returned.
    """

    pid: int
    seconds: float
    os_threads: int
    threads: list[str]
    described: bytes
    tail: ClassVar[str] = "described"


class ImportFailed(ZygoteFrame):
    """Zygote to master, the last frame: why the import failed, and the traceback of the application's own code."""

    reason: str
    traceback: str


class Fork(ZygoteFrame):
    """Master to zygote: fork a child that calls `Hello.main` with these descriptors and this setup. It is answered."""

    ident: int
    name: str
    setup: Any  # a JSON value
    count: int

    @property
    def descriptors(self) -> int:
        return self.count


class Forked(ZygoteFrame):
    """Zygote to master: the child is forked. Its descriptors: the child's pidfd, and the write end of its lifeline."""

    ident: int
    pid: int

    @property
    def descriptors(self) -> int:
        return 2


class ForkFailed(ZygoteFrame):
    """Zygote to master: the system refused to fork the child, for this reason."""

    ident: int
    reason: str


class Exited(ZygoteFrame):
    """Zygote to master: the child has ended and is reaped. `status` is its exit code, or minus the signal's number."""

    ident: int
    status: int


class Retire(ZygoteFrame):
    """Master to zygote: fork no more, and end when the last child has ended."""


_VOCABULARY = Vocabulary(Hello, Sent, Imported, ImportFailed, Fork, Forked, ForkFailed, Exited, Retire)
encode = _VOCABULARY.encode


class ZygoteFrameReader:
    """Bytes and descriptors in, frames with their descriptors out."""

    def __init__(self) -> None:
        self._frames = Reader(_VOCABULARY)
        self.unclaimed: deque[int] = (
            deque()
        )  # of frames that are not complete yet; the owner closes them if it ends before

    def feed(self, data: bytes, descriptors: list[int]) -> Iterator[tuple[ZygoteFrame, list[int]]]:
        """The frames that this data completes, each with its descriptors, which the caller has to close.

        Raises:
            ValueError: the data is invalid, or descriptors of a frame are missing.
        """
        self.unclaimed += descriptors
        for frame in self._frames.feed(data):
            assert isinstance(frame, ZygoteFrame)
            if len(self.unclaimed) < frame.descriptors:
                raise ValueError(
                    f"only {len(self.unclaimed)} of {frame.descriptors} descriptors arrived with {frame!r}"
                )
            yield frame, [self.unclaimed.popleft() for _ in range(frame.descriptors)]
