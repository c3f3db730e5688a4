"""What the code of an import has sent to the master, once members serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi import Config, Registry
from trio_uwsgi._link.frames import Post, Raise, SpoolerFrequency
from trio_uwsgi._runtime.import_phase import obey_import
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock


def app(environ: object, start_response: object) -> list[bytes]:
    """It is not called."""
    return []


async def test_each_frame_counts_for_itself(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """One that is refused is told, and the others are obeyed."""
    registry = Registry()
    seen: list[int] = []
    frequencies: list[float] = []
    registry.register_signal(17, "workers", seen.append)
    async with open_runtime(app, Config(workers=2), registry=registry) as runtime:
        obey_import(runtime._tree.master, [Post(1, b"m"), Raise(17), SpoolerFrequency(3)], frequencies.append)
    assert [17, 17] == seen
    assert [3] == frequencies
    assert "what the application's import has sent was refused: there is no mule" in caplog.text
