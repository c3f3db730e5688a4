"""The API of metrics: counters and gauges that `Config.metrics` defines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi.uwsgi._base import current_unit

if TYPE_CHECKING:
    from trio_uwsgi._metrics.metrics import Metrics

__all__ = [
    "metric_dec",
    "metric_div",
    "metric_get",
    "metric_inc",
    "metric_mul",
    "metric_set",
    "metric_set_max",
    "metric_set_min",
]

_REMEDY = "call it in a request, a handler or a mule's program"


def metric_get(name: str) -> int:
    """Return the value of a metric.

    Args:
        name: the name of the metric in `Config.metrics`.
    Raises:
        MetricError: there is no such metric; the text names those that there are.
        NotServing: called neither by a member nor in the application's import. Other code reads `Runtime.statistics`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_get`, which returns 0 for a metric that does not exist.
    Example:
        print(uwsgi.metric_get("orders"))
    """
    return _metrics("metric_get").get(name)


def metric_set(name: str, value: int = 1) -> int:
    """Set a metric to a value.

    Each change of a metric is atomic, for all members and threads. Whoever is killed while making one has made it, or
    not.

    Args:
        name: as in `metric_get`.
        value: the number, which fits into 64 bits.
    Returns:
        The new value.
    Raises:
        MetricError: there is no such metric, or the new value has more than 64 bits. Nothing has changed.
        TypeError: the value is not an int.
        NotServing: as `metric_get`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_set`, which returns True, or None if there is no such metric.
    """
    return _metrics("metric_set").change("set", name, value)


def metric_inc(name: str, value: int = 1) -> int:
    """Add to a metric.

    Args:
        name: as in `metric_get`.
        value: the number to add.
    Returns:
        The new value.
    Raises:
        MetricError, TypeError, NotServing: as `metric_set`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_inc`, which returns True or None, and continues with negative numbers after the largest one.
    Example:
        uwsgi.metric_inc("orders")
    """
    return _metrics("metric_inc").change("inc", name, value)


def metric_dec(name: str, value: int = 1) -> int:
    """Subtract from a metric.

    Args:
        name: as in `metric_get`.
        value: the number to subtract.
    Returns:
        The new value.
    Raises:
        MetricError, TypeError, NotServing: as `metric_set`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_dec`; the differences are those of `metric_inc`.
    """
    return _metrics("metric_dec").change("dec", name, value)


def metric_mul(name: str, value: int = 1) -> int:
    """Multiply a metric.

    Args:
        name: as in `metric_get`.
        value: the factor.
    Returns:
        The new value.
    Raises:
        MetricError, TypeError, NotServing: as `metric_set`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_mul`; the differences are those of `metric_inc`.
    """
    return _metrics("metric_mul").change("mul", name, value)


def metric_div(name: str, value: int = 1) -> int:
    """Divide a metric, and drop the fraction: -5 divided by 2 is -2.

    Args:
        name: as in `metric_get`.
        value: the divisor, not 0.
    Returns:
        The new value.
    Raises:
        MetricError: the divisor is 0; or as `metric_set`.
        TypeError, NotServing: as `metric_set`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_div`, which returns True, or None if the divisor is 0 or there is no such metric.
    """
    return _metrics("metric_div").change("div", name, value)


def metric_set_max(name: str, value: int = 1) -> int:
    """Set a metric to a value if that is larger.

    Args:
        name: as in `metric_get`.
        value: the number.
    Returns:
        The value afterwards.
    Raises:
        MetricError, TypeError, NotServing: as `metric_set`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_set_max`, which returns True, also if nothing has changed.
    """
    return _metrics("metric_set_max").change("set_max", name, value)


def metric_set_min(name: str, value: int = 1) -> int:
    """Set a metric to a value if that is smaller.

    Args:
        name: as in `metric_get`.
        value: the number.
    Returns:
        The value afterwards.
    Raises:
        MetricError, TypeError, NotServing: as `metric_set`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.metric_set_min`, which returns True, also if nothing has changed, and ignores a value below the
        metric's initial one.
    """
    return _metrics("metric_set_min").change("set_min", name, value)


def _metrics(call: str) -> Metrics:
    return current_unit(call, _REMEDY).member.services.metrics
