"""The metrics of a runtime, for members and their threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._metrics.numbers import Numbers
from trio_uwsgi._metrics.rules import MetricStatistics, Operation, changed
from trio_uwsgi.errors import BootError, MetricError

if TYPE_CHECKING:
    from trio_uwsgi.config.metrics import Metric

__all__ = ["Metrics"]


class Metrics:
    """The metrics of a runtime. Their methods never wait, and any thread may call them.

    Args:
        specs: their names and first values.
        folder: the folder that the runtime's processes share, once it exists; None if members are tasks.
        joins: the master has made the numbers.
    """

    def __init__(self, specs: Sequence[Metric], folder: Callable[[], Path | None], joins: bool = False) -> None:
        self._specs = specs
        self._folder = folder
        self._joins = joins
        self._places = {spec.name: place for place, spec in enumerate(specs)}
        self._initial = [spec.initial_value for spec in specs]
        self._numbers = Numbers(self._initial, None)
        self._is_open = False  # in shared memory

    def open(self) -> None:
        """Open the numbers in shared memory, where processes share them, unless they are open.

        Raises:
            BootError: there is no room for them in shared memory.
        """
        folder = self._folder()
        if not self._specs or folder is None or self._is_open:
            return
        path = folder / "metrics"
        try:
            self._numbers = Numbers(self._initial, path, self._joins)
        except OSError as error:
            raise BootError(
                f"the shared memory of metrics, {path}, cannot be opened: {error.strerror}; make the shared memory "
                f"larger, or run members as tasks, without --processes"
            ) from error
        self._is_open = True

    def close(self) -> None:
        """Close the shared memory, if it is open."""
        if self._is_open:
            self._is_open = False
            self._numbers.close()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the numbers, wait until cancelled, close them.

        Raises:
            BootError: there is no room for them in shared memory.
        """
        self.open()
        task_status.started()
        if not self._is_open:
            return
        try:
            await trio.sleep_forever()
        finally:
            self.close()

    def get(self, name: str) -> int:
        """The number of a metric.

        Raises:
            MetricError: there is no such metric; the text says which ones there are.
        """
        return self._numbers.get(self._place(name))

    def change(self, operation: Operation, name: str, value: int) -> int:
        """Change the number of a metric, and return the new one.

        Raises:
            TypeError: the value is not an int.
            MetricError: there is no such metric, or its new number is impossible.
        """
        return self._numbers.change(self._place(name), partial(_changed, operation, name, value))

    def statistics(self) -> tuple[MetricStatistics, ...]:
        """All metrics, in the order of their definition; as they were at the end, if the runtime has ended."""
        return tuple(
            MetricStatistics(spec.name, spec.type, self._numbers.get(place)) for place, spec in enumerate(self._specs)
        )

    def _place(self, name: str) -> int:
        try:
            return self._places[name]
        except (KeyError, TypeError):
            pass
        if not self._specs:
            raise MetricError(
                "this runtime has no metrics; set Config(metrics=[Metric('orders')]), on the command line "
                "--metric name=orders"
            )
        known = ", ".join(map(repr, self._places))
        raise MetricError(f"there is no metric {name!r}; the metrics are {known}")


def _changed(operation: Operation, name: str, value: int, number: int) -> int:
    return changed(name, operation, number, value)
