"""What an import has stored is there for the runtime that is served next, as far as the options are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_uwsgi._runtime.configured import settings_of
from trio_uwsgi._runtime.stores import Stores
from trio_uwsgi.config import Cache, Config, Metric
from trio_uwsgi.errors import BootError


def stores(config: Config) -> Stores:
    """Those of tasks."""
    return Stores(settings_of(config), lambda: 0.0, None)


def test_stores_are_taken_over_by_size(tmp_path: Path) -> None:
    """Those of the same sizes; the others are closed, and are new."""
    caches = [Cache("c", items=10, store=str(tmp_path / "store"))]
    of_import = stores(Config(caches=caches, queue=2, sharedarea=[8], metrics=[Metric("m")]))
    of_import.open()
    of_import.caches.get("c").set("key", "value")
    of_import.queue.push("message")
    of_import.metrics.change("inc", "m", 3)
    of_import.areas.area(0).view[:1] = b"a"
    served = stores(Config(caches=caches, queue=3, sharedarea=[8], metrics=[Metric("m")]))
    served.take_over(of_import)
    with served:
        assert b"value" == served.caches.get("c").get("key")
        assert served.queue.pull() is None
        assert 3 == served.metrics.get("m")
        assert b"a" == bytes(served.areas.area(0).view[:1])
        of_import.close()
        assert b"value" == served.caches.get("c").get("key")


def test_nothing_stays_open_if_one_cannot_be_opened(tmp_path: Path) -> None:
    """The cache's store can be opened afterwards."""
    cache, queue = str(tmp_path / "cache"), tmp_path / "queue"
    queue.write_text("not a queue")
    broken = stores(Config(caches=[Cache("c", items=10, store=cache)], queue=2, queue_store=str(queue)))
    with pytest.raises(BootError):
        broken.open()
    with stores(Config(caches=[Cache("c", items=10, store=cache)])) as whole:
        assert whole.caches.get("c").get("key") is None
