"""Metrics and log variables of the module `uwsgi`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tests.compat.modes import Enter, all_modes, asking, get
from trio_uwsgi import Config
from trio_uwsgi.config.metrics import Metric
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    import pytest
    import trio.testing


@all_modes
async def test_metrics(mode: dict[str, object], enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A change is True, or None if there is no such metric or the number cannot be; an unknown metric is 0."""
    config = Config(metrics=[Metric("m")], **mode)  # type: ignore[arg-type]
    uwsgi = enter(config)

    def change() -> object:
        answers = [uwsgi.metric_set("m", 5), uwsgi.metric_inc("m"), uwsgi.metric_mul("m", 4), uwsgi.metric_dec("m", 4)]
        answers += [uwsgi.metric_div("m", 2), uwsgi.metric_set_max("m", 3), uwsgi.metric_set_min("m", 7)]
        return [*answers, uwsgi.metric_get("m")]

    def refused() -> object:
        answers = [uwsgi.metric_get("n"), uwsgi.metric_inc("n"), uwsgi.metric_div("m", 0)]
        return [*answers, uwsgi.metric_inc("m", 2**63 - 1), uwsgi.metric_get("m")]

    async with open_runtime(asking(change=change, refused=refused), config) as runtime:
        assert repr([True] * 7 + [7]) == await get(runtime, "change")
        assert "[0, None, None, None, 7]" == await get(runtime, "refused")


async def test_log_variables(
    enter: Enter, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A request's variable is in its line of the access log, and a request can ask for that line."""
    config = Config(log_format="%(uri) %(who)", disable_logging=True)
    uwsgi = enter(config)
    caplog.set_level(logging.INFO)
    app = asking(
        set=lambda: [uwsgi.set_logvar(b"who", "ann"), uwsgi.get_logvar("who"), uwsgi.log_this_request()],
        get=lambda: uwsgi.get_logvar("who"),
    )
    async with open_runtime(app, config) as runtime:
        assert "[None, b'ann', None]" == await get(runtime, "set")
        assert "None" == await get(runtime, "get")
    assert ["/set ann"] == [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
