"""The rules of the spooler: the names of jobs, their order, and when a failed job is retried. Pure.

Time and random numbers are arguments; time is in seconds since the epoch. A job is identified by its *name*: the path
of its file inside of the spooler's directory, `uwsgi_spoolfile_on_...`, or `5/uwsgi_spoolfile_on_...` with priority 5.
Names are str with surrogates for bytes that are not UTF-8, as `os.fsdecode` makes them.

The order is: by priority, 0 first and jobs without one last; then first in, first out, by the time and the counter in
the name. Names without a time come last.
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
# Larger than all priorities: the name of their directory has at most 255 digits.
_NO_PRIORITY = 10**256
# A file name has at most 255 bytes; the numbers in it need up to 80 of them.
_MAX_HOST = 100

# Priority; 1 if the name has no time; seconds, microseconds, counter; and the name itself, to break ties.
Order: TypeAlias = tuple[int, int, int, int, int, str]


@dataclass(frozen=True, slots=True)
class JobName:
    """The parts of the name of a job's file: the host and the process that wrote it, and when."""

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
        writer: the process's id, and the number of files that it has written.
        chance: a random number from 0 on.
        now: the time, in seconds since the epoch.
    """
    micro = round(now * 1_000_000)
    return str(JobName(host.replace("/", "-")[:_MAX_HOST], *writer, chance, micro // 1_000_000, micro % 1_000_000))


def parse_name(file: str) -> JobName | None:
    """Read the name of a file; None if it does not have uWSGI's form. (The file may still be a job.)"""
    if not file.startswith(PREFIX):
        return None
    parts = file.rsplit("_", 5)
    numbers = [part for part in parts[1:] if part.isascii() and part.isdigit()]
    if len(numbers) != 5 or len(parts[0]) < len(PREFIX):
        return None
    return JobName(parts[0][len(PREFIX) :], *map(int, numbers))


def is_priority(folder: str) -> bool:
    """Is this the name of the directory of a priority?"""
    return folder.isascii() and folder.isdigit()


def is_job(name: str) -> bool:
    """Is this the name of a job? Such a name cannot lead out of the directory, so names from outside are checked."""
    folder, slash, file = name.rpartition("/")
    return file.startswith(PREFIX) and (not slash or is_priority(folder))


def priority(name: str) -> int | None:
    """The priority in the name of a job; None if it has none."""
    folder, slash, _ = name.rpartition("/")
    return int(folder) if slash else None


def order(name: str) -> Order:
    """The sort key of a job, see the module's docstring."""
    folder, slash, file = name.rpartition("/")
    first = int(folder) if slash else _NO_PRIORITY
    try:
        _, _, counter, _, seconds, micro = file.rsplit("_", 5)
        return first, 0, int(seconds), int(micro), int(counter), name
    except ValueError:
        return first, 1, 0, 0, 0, name


def first_names(names: Iterable[str], limit: int) -> tuple[list[str], int]:
    """The first `limit` of these names of jobs, in order, and the number of all. Keeps O(limit) names in memory."""
    if not limit:
        return [], sum(1 for _ in names)
    kept: list[str] = []
    # Names without a priority and of a later second are skipped early, which makes a million of them fast.
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
        if len(kept) > 4 * limit + 256:
            kept = heapq.nsmallest(limit, kept, key=order)
            first, odd, seconds, *_ = order(kept[-1])
            last = inf if odd else seconds if first == _NO_PRIORITY else -1
    return heapq.nsmallest(limit, kept, key=order), count


class Entry(NamedTuple):
    """A job in the index: its sort key, its name, and when it may run."""

    order: Order
    name: str
    due: float


@dataclass(frozen=True, slots=True)
class SpoolCounts:
    """How many jobs are due (`waiting`), due later (`delayed`), and `taken`; the seconds that the oldest one has been
    due, None without one; `complete` is False if there are more jobs on the disk.
    """

    waiting: int
    delayed: int
    taken: int
    oldest: float | None
    complete: bool


class SpoolIndex:
    """The jobs of one directory, up to a limit of memory.

    At most 1.5 times `capacity` jobs that are due and as many that are delayed are held in memory; the rest stay on
    disk. The first ones in order are kept, and when few are left, `wants_scan` is True. While the scan runs, jobs may
    be taken before others that the scan has not reached yet.
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
        # The dicts are authoritative; the heaps may also hold entries that have been replaced or forgotten.
        self._ready: dict[str, Entry] = {}
        self._ready_heap: list[Entry] = []
        self._delayed: dict[str, Entry] = {}
        self._delayed_heap: list[tuple[float, Entry]] = []
        # Jobs given out by `pop`; the value is when the job is due if it was noticed again since.
        self._taken: dict[str, float | None] = {}
        # Jobs after these exist on disk only, so new ones after these are not added. None: all jobs are in memory.
        self._last_ready: Order | None = None
        self._last_delayed: float | None = None
        # Names that were known when the scan began, and that it has not reached.
        self._unseen: set[str] = set()

    def __repr__(self) -> str:
        more = ", and more on the disk" if self.incomplete else ""
        return f"<SpoolIndex {len(self._ready)} ready, {len(self._delayed)} delayed, {len(self._taken)} taken{more}>"

    def notice(self, name: str, due: float, now: float) -> None:
        """Add a job, which may run from `due` on, or update it."""
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
        """The job still exists. Does not add it."""
        self._unseen.discard(name)

    def forget(self, name: str) -> None:
        """Remove a job from the index."""
        self._ready.pop(name, None)
        self._delayed.pop(name, None)
        self._taken.pop(name, None)

    def pop(self, now: float) -> Entry | None:
        """Take the first job that is due; None if there is none. `forget` or `put_back` must follow."""
        self._move_due(now)
        while self._ready_heap:
            entry = heapq.heappop(self._ready_heap)
            if self._ready.get(entry.name) is entry:
                del self._ready[entry.name]
                self._taken[entry.name] = None
                return entry
        return None

    def put_back(self, entry: Entry, due: float) -> None:
        """Return a job to the index: it may run from `due` on, or earlier if it was noticed so meanwhile."""
        noticed = self._taken.pop(entry.name, None)
        due = due if noticed is None else min(due, noticed)
        self.forget(entry.name)
        self._delay(entry._replace(due=due))

    def next_due(self, now: float) -> float | None:
        """When the next `pop` will return a job: `now` if it does so now, None if there is none."""
        self._move_due(now)
        if self._ready:
            return now
        self._tidy_delayed()
        return self._delayed_heap[0][0] if self._delayed_heap else None

    def due(self, now: float) -> int:
        """How many jobs may run now and have not been taken."""
        self._move_due(now)
        return len(self._ready)

    @property
    def incomplete(self) -> bool:
        """Are there jobs that exist on disk only?"""
        return self._last_ready is not None or self._last_delayed is not None

    @property
    def wants_scan(self) -> bool:
        """Are less than a quarter of `capacity` jobs left in memory, while more exist on disk?"""
        few = max(self._capacity // 4, 1)
        return (self._last_ready is not None and len(self._ready) < few) or (
            self._last_delayed is not None and len(self._delayed) < few
        )

    def begin_scan(self) -> None:
        """A scan begins: until `end_scan`, `notice` or `still_there` is called for every job of the directory."""
        self._last_ready = self._last_delayed = None
        self._unseen = {*self._ready, *self._delayed}

    def end_scan(self) -> None:
        """The scan has ended: jobs that it has not reached do not exist any more."""
        for name in self._unseen - self._taken.keys():
            self.forget(name)
        self._unseen = set()

    def statistics(self, now: float) -> SpoolCounts:
        """The counts. O(number of waiting jobs)."""
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
    """When a failed job is retried.

    Args:
        max_tries: the most attempts; 0 is no limit.
        first_delay: seconds before the second attempt.
        longest_delay: the delay doubles with each attempt, up to this many seconds.
    """

    max_tries: int
    first_delay: float
    longest_delay: float

    def delay_after(self, tries: int, jitter: float) -> float | None:
        """Seconds until the next attempt after `tries` failed ones; None if there is none.

        `jitter`, a random number from 0 to below 1, adds up to a quarter, so that jobs that failed together are not
        retried together.
        """
        if self.max_tries and tries >= self.max_tries:
            return None
        # 2.0 ** 1024 overflows; 2**64 times any first delay is longer than any longest one.
        delay = min(self.first_delay * 2.0 ** min(max(tries - 1, 0), 64), self.longest_delay)
        return delay * (1 + jitter / 4)
