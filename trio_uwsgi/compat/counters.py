"""Metrics of the module `uwsgi`."""

from __future__ import annotations

from collections.abc import Callable

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import TrueOrNone, as_name, whole
from trio_uwsgi.errors import MetricError

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


def metric_get(key: str, /) -> int:
    """Get the value of a metric; 0 if there is no such metric."""
    try:
        return native.metric_get(as_name("metric_get", key))
    except MetricError:
        return 0


def metric_set(key: str, value: int = 1, /) -> TrueOrNone:
    """Set a metric; None if there is no such metric, as for all changes.

    uWSGI: a change beyond 64 bits, or by a divisor of 0, is None too; there the first continues with negative numbers.
    """
    return _change(native.metric_set, key, value)


def metric_inc(key: str, increment: int = 1, /) -> TrueOrNone:
    """Add to a metric.

    uWSGI: as `metric_set`.
    """
    return _change(native.metric_inc, key, increment)


def metric_dec(key: str, decrement: int = 1, /) -> TrueOrNone:
    """Subtract from a metric.

    uWSGI: as `metric_set`.
    """
    return _change(native.metric_dec, key, decrement)


def metric_mul(key: str, factor: int = 1, /) -> TrueOrNone:
    """Multiply a metric.

    uWSGI: as `metric_set`.
    """
    return _change(native.metric_mul, key, factor)


def metric_div(key: str, divisor: int = 1, /) -> TrueOrNone:
    """Divide a metric.

    uWSGI: as `metric_set`.
    """
    return _change(native.metric_div, key, divisor)


def metric_set_max(key: str, value: int = 1, /) -> TrueOrNone:
    """Set a metric if the value is larger than its own."""
    return _change(native.metric_set_max, key, value)


def metric_set_min(key: str, value: int = 1, /) -> TrueOrNone:
    """Set a metric if the value is smaller than its own."""
    return _change(native.metric_set_min, key, value)


def _change(change: Callable[[str, int], object], key: str, value: int) -> TrueOrNone:
    try:
        change(as_name(getattr(change, "__name__", "metric"), key), whole(value))
    except MetricError:
        return None
    return True
