"""Metrics of the module `uwsgi`: those of `Config.metrics`."""

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
    """Return the value of a metric; 0 if there is none of this name.

    uWSGI: there are no metrics of the server itself, such as `worker.1.requests`: see `Runtime.statistics`.
    """
    name = as_name("metric_get", key)
    try:
        return native.metric_get(name)
    except MetricError:
        return 0


def metric_set(key: str, value: int = 1, /) -> TrueOrNone:
    """Set a metric to a value; None if there is none of this name."""
    return _change(native.metric_set, key, value)


def metric_inc(key: str, increment: int = 1, /) -> TrueOrNone:
    """Add to a metric; None if there is none of this name.

    uWSGI: a result of more than 64 bits is refused, with None; there negative numbers follow the largest one.
    """
    return _change(native.metric_inc, key, increment)


def metric_dec(key: str, decrement: int = 1, /) -> TrueOrNone:
    """Subtract from a metric; None if there is none of this name.

    uWSGI: as `metric_inc`.
    """
    return _change(native.metric_dec, key, decrement)


def metric_mul(key: str, factor: int = 1, /) -> TrueOrNone:
    """Multiply a metric; None if there is none of this name.

    uWSGI: as `metric_inc`.
    """
    return _change(native.metric_mul, key, factor)


def metric_div(key: str, divisor: int = 1, /) -> TrueOrNone:
    """Divide a metric, and drop the fraction; None for a divisor of 0, and if there is no metric of this name."""
    return _change(native.metric_div, key, divisor)


def metric_set_max(key: str, value: int = 1, /) -> TrueOrNone:
    """Set a metric to a value if that is larger; None if there is no metric of this name."""
    return _change(native.metric_set_max, key, value)


def metric_set_min(key: str, value: int = 1, /) -> TrueOrNone:
    """Set a metric to a value if that is smaller; None if there is no metric of this name.

    uWSGI: also a value below the metric's initial one counts.
    """
    return _change(native.metric_set_min, key, value)


def _change(change: Callable[[str, int], int], key: str, value: int) -> TrueOrNone:
    name, number = as_name(change.__name__, key), whole(value)
    try:
        change(name, number)
    except MetricError:
        return None
    return True
