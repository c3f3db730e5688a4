"""The rules of the spooler: how jobs are called, which one is next, and when a failed one is tried again. Pure.

Time and chance are arguments; time is in seconds since the epoch. A job is known by its *name*: the path of its file
inside of the spooler's directory, `uwsgi_spoolfile_on_...`, or `5/uwsgi_spoolfile_on_...` for one of priority 5. Names
are str as the system gives them, where bytes that are no UTF-8 are surrogates.

The order is: by priority, 0 first and jobs without one last; then first in, first out, by the time and the counter in
the name; a name that does not tell its time comes after those that do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = [
    "PREFIX",
    "Entry",
    "JobName",
    "Order",
    "Retry",
    "SpoolCounts",
    "SpoolIndex",
    "first_names",
    "is_job",
    "is_priority",
    "make_name",
    "order",
    "parse_name",
    "priority",
]

PREFIX = "uwsgi_spoolfile_on_"
# Behind all numbers of priority directories, which are file names and so have at most 255 digits.
_NO_PRIORITY = 10**256
# A name has at most 255 bytes, and the numbers in it need up to 80 of them.
_MAX_HOST = 100

# Priority, 1 if the name does not tell its time, seconds, microseconds, counter, and the name to decide between equals.
Order: TypeAlias = tuple[int, int, int, int, int, str]


@dataclass(frozen=True, slots=True)
class JobName:
    """What the name of a job's file tells: who wrote it, and when."""

    host: str
    pid: int
    counter: int
    chance: int
    seconds: int
    microseconds: int

    def __str__(self) -> str:
        return f"{PREFIX}{self.host}_{self.pid}_{self.counter}_{self.chance}_{self.seconds}_{self.microseconds:d}"


def make_name(host: str, writer: tuple[int, int], chance: int, now: float) -> str:
    """Make the name of a new file.

    Args:
        host: the machine's name.
        writer: the process's id, and how many files it has written.
        chance: a random number from 0 on.
        now: the time, in seconds since the epoch.
    """
    micro = round(now * 1_000_000)
    return str(JobName(host.replace("/", "-")[:_MAX_HOST], *writer, chance, micro // 1_000_000, micro % 1_000_000))


def parse_name(file: str) -> JobName | None:
    """Read the name of a file; None if it is none of uWSGI's form, which does not keep it from being a job."""
    if not file.startswith(PREFIX):
        return None
    parts = file.rsplit("_", 5)
    numbers = [part for part in parts[1:] if part.isascii() and part.isdigit()]
    if len(numbers) != 5 or len(parts[0]) < len(PREFIX):
        return None
    return JobName(parts[0][len(PREFIX) :], *map(int, numbers))


def is_priority(folder: str) -> bool:
    """Is this the name of a directory of a priority?"""
    return folder.isascii() and folder.isdigit()


def is_job(name: str) -> bool:
    """Is this the name of a job? Whoever takes names from outside asks: it cannot lead out of the directory."""
    folder, slash, file = name.rpartition("/")
    return file.startswith(PREFIX) and (not slash or is_priority(folder))


def priority(name: str) -> int | None:
    """The priority of a job, by its name; None for one without."""
    folder, slash, _ = name.rpartition("/")
    return int(folder) if slash else None


def order(name: str) -> Order:
    """What jobs are sorted by, see the top of this module."""
    folder, slash, file = name.rpartition("/")
    first = int(folder) if slash else _NO_PRIORITY
    try:
        _, _, counter, _, seconds, micro = file.rsplit("_", 5)
        return first, 0, int(seconds), int(micro), int(counter), name
    except ValueError:
        return first, 1, 0, 0, 0, name


def first_names(names: Iterable[str], many: int) -> tuple[list[str], int]:
    """The first `many` of these names of jobs, in order, and how many there are in all. Holds no more than it gives."""
    if not many:
        return [], sum(1 for _ in names)
    kept: list[str] = []
    # Plain names of a later second need no closer look, which is what makes a million of them quick.
    last = inf = float("inf")
    count = 0
    for name in names:
        count += 1
        if last < inf:
            try:
                if int(name.rsplit("_", 2)[1]) > last and "/" not in name:
                    continue
            except (ValueError, IndexError):
                pass
        kept.append(name)
        if len(kept) > 4 * many + 256:
            kept = heapq.nsmallest(many, kept, key=order)
            first, odd, seconds, *_ = order(kept[-1])
            last = inf if odd else seconds if first == _NO_PRIORITY else -1
    return heapq.nsmallest(many, kept, key=order), count


class Entry(NamedTuple):
    """A job that is known: its place in the order, its name, and when it may run."""

    order: Order
    name: str
    due: float


@dataclass(frozen=True, slots=True)
class SpoolCounts:
    """Jobs that are due, that are due later, and that were taken and not given back; the longest time in seconds that
    one has been due, None without one; and is that all, or are there more on the disk?
    """

    waiting: int
    delayed: int
    taken: int
    oldest: float | None
    complete: bool


class SpoolIndex:
    """The jobs of one directory, as far as memory may hold them.

    It never holds much more than `capacity` jobs that are due and `capacity` that are not. What is more is left to the
    disk: the first ones are kept, everything behind them is forgotten, and once few are left `wants_scan` says so.
    While that scan runs jobs may be taken before others which it has not come to yet.
    """

    __slots__ = (
        "_capacity",
        "_delayed",
        "_delayed_heap",
        "_last_delayed",
        "_last_ready",
        "_ready",
        "_ready_heap",
        "_taken",
        "_unseen",
    )

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        # The dicts are the truth; a heap may hold entries that have been replaced or forgotten since.
        self._ready: dict[str, Entry] = {}
        self._ready_heap: list[Entry] = []
        self._delayed: dict[str, Entry] = {}
        self._delayed_heap: list[tuple[float, Entry]] = []
        # Given out by `pop`; and when it is due, if somebody noticed it since.
        self._taken: dict[str, float | None] = {}
        # What is behind these has been left to the disk, so what comes must be too. None: nothing has been.
        self._last_ready: Order | None = None
        self._last_delayed: float | None = None
        # Names that were known when the scan began, and that it has not come to.
        self._unseen: set[str] = set()

    def __repr__(self) -> str:
        more = ", and more on the disk" if self.incomplete else ""
        return f"<SpoolIndex {len(self._ready)} ready, {len(self._delayed)} delayed, {len(self._taken)} taken{more}>"

    def notice(self, name: str, due: float, now: float) -> None:
        """There is such a job, and it may run from `due` on. A job that is known is not known twice."""
        if self._unseen:
            self._unseen.discard(name)
        if name in self._taken:
            self._taken[name] = due
            return
        known = self._ready.get(name) or self._delayed.get(name)
        if known is not None:
            if known.due == due:
                return
            self.forget(name)
        self._add(Entry(order(name), name, due), now)

    def still_there(self, name: str) -> None:
        """There still is such a job, as far as it is known."""
        self._unseen.discard(name)

    def forget(self, name: str) -> None:
        """There is no such job any more."""
        self._ready.pop(name, None)
        self._delayed.pop(name, None)
        self._taken.pop(name, None)

    def pop(self, now: float) -> Entry | None:
        """Take the first of those that are due; None if there is none. End with `forget` or `put_back`."""
        self._move_due(now)
        while self._ready_heap:
            entry = heapq.heappop(self._ready_heap)
            if self._ready.get(entry.name) is entry:
                del self._ready[entry.name]
                self._taken[entry.name] = None
                return entry
        return None

    def put_back(self, entry: Entry, due: float) -> None:
        """Give back what `pop` gave: it may run from `due` on, or earlier if it was noticed so since."""
        noticed = self._taken.pop(entry.name, None)
        due = due if noticed is None else min(due, noticed)
        self.forget(entry.name)
        self._delay(entry._replace(due=due))

    def next_due(self, now: float) -> float | None:
        """When the next `pop` will give something: `now` if it does so now, None if nothing is known."""
        self._move_due(now)
        if self._ready:
            return now
        self._tidy_delayed()
        return self._delayed_heap[0][0] if self._delayed_heap else None

    def due(self, now: float) -> int:
        """How many may run now, and have not been given out."""
        self._move_due(now)
        return len(self._ready)

    @property
    def incomplete(self) -> bool:
        """Are there jobs that were left to the disk?"""
        return self._last_ready is not None or self._last_delayed is not None

    @property
    def wants_scan(self) -> bool:
        """Are so few jobs left that those on the disk should be looked for?"""
        few = max(self._capacity // 4, 1)
        return (self._last_ready is not None and len(self._ready) < few) or (
            self._last_delayed is not None and len(self._delayed) < few
        )

    def begin_scan(self) -> None:
        """From now on until `end_scan` every job of the directory is noticed."""
        self._last_ready = self._last_delayed = None
        self._unseen = {*self._ready, *self._delayed}

    def end_scan(self) -> None:
        """All have been noticed: what has not been is gone."""
        for name in self._unseen - self._taken.keys():
            self.forget(name)
        self._unseen = set()

    def statistics(self, now: float) -> SpoolCounts:
        """How many there are. Takes a moment: it looks at all that are waiting."""
        self._move_due(now)
        oldest = max((now - entry.due for entry in self._ready.values()), default=None)
        return SpoolCounts(len(self._ready), len(self._delayed), len(self._taken), oldest, not self.incomplete)

    # ----- below

    def _add(self, entry: Entry, now: float) -> None:
        if entry.due > now:
            self._delay(entry)
            return
        if self._last_ready is not None and entry.order > self._last_ready:
            return
        self._ready[entry.name] = entry
        heapq.heappush(self._ready_heap, entry)
        if len(self._ready) > self._capacity + self._capacity // 2:
            self._ready_heap = heapq.nsmallest(self._capacity, self._ready.values())  # sorted, so it is a heap
            self._ready = {entry.name: entry for entry in self._ready_heap}
            self._last_ready = self._ready_heap[-1].order
        elif len(self._ready_heap) > 2 * len(self._ready) + 64:
            self._ready_heap = sorted(self._ready.values())

    def _delay(self, entry: Entry) -> None:
        if self._last_delayed is not None and entry.due > self._last_delayed:
            return
        self._delayed[entry.name] = entry
        heapq.heappush(self._delayed_heap, (entry.due, entry))
        if len(self._delayed) > self._capacity + self._capacity // 2:
            self._delayed_heap = heapq.nsmallest(
                self._capacity, ((known.due, known) for known in self._delayed.values())
            )
            self._delayed = {known.name: known for _, known in self._delayed_heap}
            self._last_delayed = self._delayed_heap[-1][0]
        elif len(self._delayed_heap) > 2 * len(self._delayed) + 64:
            self._delayed_heap = sorted((known.due, known) for known in self._delayed.values())

    def _move_due(self, now: float) -> None:
        heap = self._delayed_heap
        while heap and heap[0][0] <= now:
            _, entry = heapq.heappop(heap)
            if self._delayed.get(entry.name) is entry:
                del self._delayed[entry.name]
                self._add(entry, now)

    def _tidy_delayed(self) -> None:
        heap = self._delayed_heap
        while heap and self._delayed.get(heap[0][1].name) is not heap[0][1]:
            heapq.heappop(heap)


@dataclass(frozen=True, slots=True)
class Retry:
    """When a job that failed is tried again.

    Args:
        max_tries: how often a job is tried before it is given up; 0 is for ever.
        first_delay: seconds until the second try.
        longest_delay: seconds that the delay, which doubles each time, grows to.
    """

    max_tries: int
    first_delay: float
    longest_delay: float

    def delay_after(self, tries: int, jitter: float) -> float | None:
        """Seconds until the next try of a job that has failed `tries` times; None if there is none.

        `jitter`, from 0 to below 1, is a random number: up to a quarter is added, so that jobs that failed together
        are not tried together.
        """
        if self.max_tries and tries >= self.max_tries:
            return None
        # A power above 1023 is no float any more; 2**64 first delays are longer than any delay that makes sense.
        delay = min(self.first_delay * 2.0 ** min(max(tries - 1, 0), 64), self.longest_delay)
        return delay * (1 + jitter / 4)
