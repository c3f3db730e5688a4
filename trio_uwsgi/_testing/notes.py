"""`Notes`: a list that a test's handlers can append to from any process."""

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
    """A list to which the application's code appends, and which the test reads.

    Where members are tasks it is an ordinary list. Members that are processes have copies of the test's objects, but a
    note that they append to a `Notes` arrives in the test: in the order of the calls, and before anything that happens
    later. Notes have to be picklable, and a member's process can append but not read.

    Create it before the runtime is opened.

    Example:
        notes: Notes[int] = Notes()

        @uwsgi_registry.signal_handler(1)
        async def handler(signum: int) -> None:
            notes.append(signum)
    """

    # In a member's process: the buffer that notes are written to. In the test's: functions that fetch them from there.
    _event_buffer: ClassVar[EventBuffer | None] = None
    _catch_ups: ClassVar[list[Callable[[], None]]] = []
    _all: ClassVar[weakref.WeakValueDictionary[int, Notes[object]]] = weakref.WeakValueDictionary()
    _numbers: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(self) -> None:
        self._number = next(Notes._numbers)
        self._notes: list[T] = []
        Notes._all[self._number] = self  # type: ignore[assignment]

    def append(self, note: T) -> None:
        """Append a note, in any process or thread."""
        if Notes._event_buffer is None:
            self._read().append(note)
        else:
            Notes._event_buffer.write(("note", self._number, note))

    def extend(self, notes: Iterable[T]) -> None:
        """Append several notes."""
        for note in notes:
            self.append(note)

    def clear(self) -> None:
        """Remove all notes. Only the test may call this."""
        self._read().clear()

    def _read(self) -> list[T]:
        if Notes._event_buffer is not None:
            raise RuntimeError("Notes can be read in the test only; a member's process can only append to them")
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
