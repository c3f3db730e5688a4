"""Metrics as options."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trio_uwsgi.config.metrics import Metric
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("", {}, "'' is not the name of a metric; use letters"),
        ("a b", {}, "'a b' is not the name of a metric"),
        ("a" * 256, {}, "is not the name of a metric"),
        (5, {}, "5 is not the name of a metric"),
        ("a", {"type": "alias"}, "metric 'a': the type 'alias' does not exist; use one of 'counter', 'gauge'"),
        ("a", {"initial_value": 2**63}, "metric 'a': initial_value=9223372036854775808 is not possible"),
        ("a", {"initial_value": True}, "metric 'a': initial_value=True is not possible"),
    ],
)
def test_impossible_metrics_are_refused(name: Any, fields: dict[str, Any], message: str) -> None:
    """A metric that cannot be says so when it is made."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Metric(name, **fields)


def test_a_metric_is_read_with_uwsgis_words() -> None:
    """A name alone, or keys with values."""
    assert Metric("my.orders-1_a") == Metric.parse("my.orders-1_a") == Metric.parse("name=my.orders-1_a")
    assert Metric("load", type="gauge", initial_value=-5) == Metric.parse("name=load, type=gauge, initial_value=-5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=a,collector=sum", "'collector' does not exist here; leave it out: only the application changes"),
        ("name=a,oid=1.2", "'oid' does not exist here; leave it out: there is no SNMP"),
        ("name=a,typ=gauge", "there is no 'typ'; did you mean 'type'?"),
        ("name=a,zzzz=1", "there is no 'zzzz'; use name, type, initial_value"),
        ("name=a,type=alias", "the type 'alias' does not exist"),
        ("name=a,initial_value=many", "the initial_value of 'name=a,initial_value=many' is not possible"),
        ("type=gauge", "'type=gauge' lacks a name; write name=orders"),
    ],
)
def test_what_cannot_be_read_says_what_is_right(text: str, message: str) -> None:
    """Unknown keys, keys of uWSGI that have no meaning here, and values."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Metric.parse(text)
