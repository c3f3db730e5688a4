"""Metrics of the module `uwsgi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.compat.modes import Enter, all_modes, asking, get
from trio_uwsgi import Config, Metric
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


@all_modes
async def test_every_call(mode: dict[str, object], enter: Enter, autojump_clock: MockClock) -> None:
    """Changes answer True; None for a metric that does not exist, a division by 0 and a number that does not fit."""
    config = Config(metrics=[Metric("orders")], **mode)  # type: ignore[arg-type]
    uwsgi = enter(config)

    def change() -> object:
        answers = []
        for how, *value in (
            *(("set", 5), ("inc",), ("inc", 4), ("dec",), ("mul", 3), ("div", 2), ("div", 0), ("set_max", 3)),
            *(("set_min", 10), ("mul", 2**63)),
        ):
            answers.append((getattr(uwsgi, f"metric_{how}")("orders", *value), uwsgi.metric_get("orders")))
        return answers

    app = asking(
        change=change,
        unknown=lambda: [uwsgi.metric_get("no"), uwsgi.metric_inc("no"), uwsgi.metric_set("worker.1.requests", 5)],
        name=lambda: uwsgi.metric_get(b"orders"),
        fraction=lambda: uwsgi.metric_inc("orders", 1.5),
    )
    async with open_runtime(app, config) as runtime:
        expected = [*((True, value) for value in (5, 6, 10, 9, 27, 13)), (None, 13), (True, 13), (True, 10), (None, 10)]
        assert repr(expected) == await get(runtime, "change")
        assert repr([0, None, None]) == await get(runtime, "unknown")
        assert (await get(runtime, "name")).startswith("TypeError: ")
        assert (await get(runtime, "fraction")).startswith("TypeError: ")
