"""What operations make of a metric's number."""

from __future__ import annotations

import pytest

from trio_uwsgi._metrics.rules import Operation, changed
from trio_uwsgi.errors import MetricError

pytestmark = pytest.mark.pure

MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("operation", "number", "value", "result"),
    [
        ("set", 5, -7, -7),
        ("inc", 5, 2, 7),
        ("inc", MOST - 1, 1, MOST),
        ("dec", 5, 7, -2),
        ("dec", -MOST, 1, -MOST - 1),
        ("mul", 5, -3, -15),
        ("div", 5, 2, 2),
        ("div", -5, 2, -2),
        ("div", -5, -2, 2),
        ("set_max", 5, 4, 5),
        ("set_max", 5, 6, 6),
        ("set_min", 5, 4, 4),
        ("set_min", 5, 6, 5),
        ("set", 5, True, 1),
    ],
)
def test_operations(operation: Operation, number: int, value: int, result: int) -> None:
    """Each is that of its name; a quotient has no fraction."""
    found = changed("m", operation, number, value)
    assert (result, int) == (found, type(found))


@pytest.mark.parametrize(
    ("operation", "number", "value", "message"),
    [
        ("inc", MOST, 1, f"metric 'm' is {MOST} and would be {MOST + 1}, which has more than 64 bits"),
        ("dec", -MOST - 1, 1, "more than 64 bits"),
        ("mul", MOST, 2, "more than 64 bits"),
        ("div", -MOST - 1, -1, "more than 64 bits"),
        ("set", 0, MOST + 1, "more than 64 bits"),
        ("div", 5, 0, "metric 'm' cannot be divided by 0"),
    ],
)
def test_what_is_refused(operation: Operation, number: int, value: int, message: str) -> None:
    """A number that does not fit does not begin anew at the smallest one."""
    with pytest.raises(MetricError, match=message):
        changed("m", operation, number, value)


def test_a_value_is_an_int() -> None:
    """A float would lose its fraction."""
    with pytest.raises(TypeError, match="by an int, not by float"):
        changed("m", "inc", 1, 1.5)  # type: ignore[arg-type]
