"""What a test's handlers write down, wherever they run."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, overload

if TYPE_CHECKING:
    from trio_uwsgi._testing.event_buffer import EventBuffer

__all__ = ["Notes"]

T = TypeVar("T")


class Notes(Sequence[T], Generic[T]):
    """A list to which the application's code adds, and which the test reads.

    Where members are tasks it is a list and nothing more. Members that are processes have a copy of everything that the
    test has; what they add here arrives in the test, in the order in which it was added, and is there as soon as
    anything that came after it. It has to be something that can be pickled, and cannot be read there.

    Make it before the runtime is opened.

    Example:
        notes: Notes[int] = Notes()

        @uwsgi_registry.signal_handler(1)
        async def handler(signum: int) -> None:
            notes.append(signum)
    """

    # In a member's process: where notes go. In the test's: what brings here those that have been written.
    _event_buffer: ClassVar[EventBuffer | None] = None
    _catch_ups: ClassVar[list[Callable[[], None]]] = []
    _all: ClassVar[weakref.WeakValueDictionary[int, Notes[object]]] = weakref.WeakValueDictionary()
    _numbers: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(self) -> None:
        self._number = next(Notes._numbers)
        self._notes: list[T] = []
        Notes._all[self._number] = self  # type: ignore[assignment]

    def append(self, note: T) -> None:
        """Add a note, in any process or thread."""
        if Notes._event_buffer is None:
            self._read().append(note)
        else:
            Notes._event_buffer.write(("note", self._number, note))

    def extend(self, notes: Iterable[T]) -> None:
        """Add several."""
        for note in notes:
            self.append(note)

    def clear(self) -> None:
        """Forget all of them. For the test."""
        self._read().clear()

    def _read(self) -> list[T]:
        if Notes._event_buffer is not None:
            raise RuntimeError("notes are for the test to read: in this process, a member's, they can only be added")
        for catch_up in Notes._catch_ups:
            catch_up()
        return self._notes

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == (other._read() if isinstance(other, Notes) else other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return repr(self._read() if Notes._event_buffer is None else f"<Notes {self._number}>")
