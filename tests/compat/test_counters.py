"""Metrics, the queue, log variables and file monitors of the module `uwsgi`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi import uwsgi as native
from trio_uwsgi.config.metrics import Metric
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    import pytest
    import trio.testing


@all_modes
async def test_metrics(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A change is True, or None if there is no such metric or the number cannot be; an unknown metric is 0."""
    config = config_in(mode, metrics=[Metric("m")])
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


@all_modes
async def test_the_queue(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """Messages are pulled in order and popped from the end; what cannot be is None."""
    config = config_in(mode, queue=4, queue_blocksize=100)
    uwsgi = enter(config)
    assert 4 == uwsgi.queue_size

    def use() -> object:
        answers = [uwsgi.queue_push("a"), uwsgi.queue_push(b"b"), uwsgi.queue_push(b""), uwsgi.queue_push(b"x" * 101)]
        answers += [uwsgi.queue_push(b"c"), uwsgi.queue_slot(), uwsgi.queue_pull_slot(), uwsgi.queue_last()]
        answers += [uwsgi.queue_last(2), uwsgi.queue_get(1), uwsgi.queue_get(9), uwsgi.queue_set(1, "B")]
        return [*answers, uwsgi.queue_set(9, b"x"), *(uwsgi.queue_pull(), uwsgi.queue_pop(), uwsgi.queue_pull())]

    async with open_runtime(asking(use=use, last=lambda: uwsgi.queue_last(-1)), config) as runtime:
        expected: list[object] = [True, True, None, None, True, 3, 0, b"c", [b"c", b"b"], b"b", None, True, None]
        assert repr([*expected, b"a", b"c", b"B"]) == await get(runtime, "use")
        assert (await get(runtime, "last")).startswith("QueueError: ")


def test_file_monitors(enter: Enter, decorators: Callable[[], ModuleType]) -> None:
    """@filemon registers its function for a signal, and monitors the path."""
    uwsgi = enter(Config())

    def changed(signum: int) -> None: ...

    assert changed is decorators().filemon("/tmp", target="worker")(changed)
    assert [(0, "/tmp")] == [(monitor.signum, monitor.path) for monitor in native.registry.file_monitors]
    assert True is uwsgi.signal_registered(0)
