"""What members store: caches, the shared queue, metrics, shared areas. They exist before the application is imported.

So the code of an import may use them, as in uWSGI. Where members are tasks, the runtime continues with the same objects
(`take_over`). Where members are processes, each process opens its own, over what the master has made.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from trio_uwsgi._caches.caches import Caches
from trio_uwsgi._metrics.metrics import Metrics
from trio_uwsgi._queues.queue import Queue
from trio_uwsgi._shared_areas.areas import SharedAreas

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._runtime.settings import Settings, Shared

__all__ = ["Stores"]


class Stores:
    """The stores of a runtime, or of a process of one. As a context manager they are open in the block.

    Args:
        settings: their sizes.
        now: the time of day.
        shared: what the processes of the runtime share; None if members are tasks of this one.
    """

    def __init__(self, settings: Settings, now: Callable[[], float], shared: Shared | None) -> None:
        self._settings = settings
        self.caches = caches = Caches(settings.caches, now, shared=False if shared is None else shared.caches)
        joins = shared is not None and shared.caches is not True  # the process of a member
        self.queue = Queue(settings.queue, lambda: caches.folder, joins)
        self.metrics = Metrics(settings.metrics, lambda: caches.folder, joins)
        self.areas = (
            SharedAreas(settings.areas)
            if shared is None
            else SharedAreas(settings.areas, shared.scoreboard.areas, shared.scoreboard.descriptor)
        )

    def open(self) -> None:
        """Open what is not open.

        Raises:
            BootError: something cannot be opened; nothing is open.
        """
        try:
            self.caches.open()
            self.queue.open()
            self.metrics.open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        self.open()
        return self

    def close(self) -> None:
        """Close what is open."""
        self.metrics.close()
        self.queue.close()
        self.caches.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take_over(self, other: Stores) -> None:
        """Continue with those of `other` that are of the same sizes, where members are tasks. The rest is closed."""
        for name in ("caches", "queue", "metrics", "areas"):
            if getattr(self._settings, name) == getattr(other._settings, name):
                mine = getattr(self, name)
                setattr(self, name, getattr(other, name))
                setattr(other, name, mine)
        other.close()
