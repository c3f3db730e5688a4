"""Metrics, from end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Metric, Registry, uwsgi
from trio_uwsgi._metrics.rules import MetricStatistics
from trio_uwsgi.errors import MetricError, NotServing
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

METRICS = [Metric("orders"), Metric("load", type="gauge", initial_value=9)]


@all_placements
async def test_members_share_metrics(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Two mules change them, in threads too; the runtime lists them, also after its end."""
    got: Notes[Any] = Notes()

    @uwsgi_registry.signal_handler(1, target="mules")
    def count(signum: int) -> None:
        for _ in range(100):
            uwsgi.metric_inc("orders")

    @uwsgi_registry.signal_handler(2, target="mule2")
    async def change(signum: int) -> None:
        got.append([uwsgi.metric_get("orders"), uwsgi.metric_dec("orders", 50), uwsgi.metric_mul("load", -3)])
        got.append([uwsgi.metric_div("load", 2), uwsgi.metric_set_max("load", 7), uwsgi.metric_set_min("load")])
        got.append([uwsgi.metric_set("load", 4), uwsgi.metric_get("load")])

    config = Config(mules=2, metrics=METRICS, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        assert [0, 9] == [metric.value for metric in runtime.statistics().metrics]
        for signum in (1, 2):
            runtime.signal(signum)
            await trio.sleep(5)
        last = runtime.statistics().metrics
    assert [[200, 150, -27], [-13, 7, 1], [4, 4]] == got
    expected = (MetricStatistics("orders", "counter", 150), MetricStatistics("load", "gauge", 4))
    assert expected == last == runtime.statistics().metrics


@task_placements("they show the texts of errors, which are the same everywhere")
async def test_what_metrics_refuse(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Each call says what to do, and the metric is as it was."""
    done: Notes[int] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule")
    async def misuse(signum: int) -> None:
        for name in ("order", ["orders"], b"orders"):
            with pytest.raises(MetricError, match=r"there is no metric .*; the metrics are 'orders', 'load'"):
                uwsgi.metric_inc(name)  # type: ignore[arg-type]
        with pytest.raises(MetricError, match="metric 'load' cannot be divided by 0"):
            uwsgi.metric_div("load", 0)
        with pytest.raises(MetricError, match="more than 64 bits"):
            uwsgi.metric_inc("load", 2**63 - 1)
        with pytest.raises(TypeError, match="by an int, not by str"):
            uwsgi.metric_set("load", "1")  # type: ignore[arg-type]
        assert (0, 9) == (uwsgi.metric_get("orders"), uwsgi.metric_get("load"))
        done.append(signum)

    config = Config(mules=1, metrics=METRICS, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
    assert [1] == done


@task_placements("they show the texts of errors, which are the same everywhere")
async def test_without_metrics(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """The error says how to define one; so it does outside of members."""
    done: Notes[int] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule")
    async def misuse(signum: int) -> None:
        with pytest.raises(MetricError, match=r"set Config\(metrics=\[Metric\('orders'\)\]\), .* --metric name=orders"):
            uwsgi.metric_get("orders")
        done.append(signum)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        assert () == runtime.statistics().metrics
    assert [1] == done
    with pytest.raises(NotServing):
        uwsgi.metric_get("orders")
