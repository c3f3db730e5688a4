"""`atexit` hooks of members, from the declaration to a hook that does not return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Mules, Registry, uwsgi
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


Receive = Callable[[], Awaitable[dict[str, object]]]
Send = Callable[[dict[str, object]], Awaitable[None]]


class Ends:
    """What members have done, in their order."""

    def __init__(self) -> None:
        self._notes: Notes[tuple[str, str]] = Notes()

    def note(self, what: str) -> None:
        """The member that runs this did so."""
        unit = UNIT.get(None)
        self._notes.append(("" if unit is None else unit.member.name, what))

    @property
    def all(self) -> list[str]:
        """Of whomever."""
        return [what for _, what in self._notes]

    @property
    def of(self) -> dict[str, list[str]]:
        """By member; "" is none."""
        return {name: [what for other, what in self._notes if other == name] for name, _ in self._notes}


@pytest.fixture
def ends() -> Ends:
    return Ends()


@all_placements
async def test_every_member_ends_with_its_hooks(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path, ends: Ends
) -> None:
    """Workers, mules and spoolers call their hooks when all that was delivered to them has ended, the last declared
    first.
    """

    @uwsgi_registry.atexit
    async def first() -> None:
        ends.note("first")

    @uwsgi_registry.atexit
    def second() -> None:
        ends.note(f"second of worker {uwsgi.worker_id()}")

    @uwsgi_registry.signal_handler(1, target="workers")
    async def handler(signum: int) -> None:
        await trio.sleep(1)
        ends.note("signal")

    config = Config(workers=2, mules=1, spooler=str(tmp_path / "jobs"), placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(1)
    expected = {f"worker{n}": ["signal", "signal", f"second of worker {n}", "first"] for n in (1, 2)}
    others = {name: ["second of worker 0", "first"] for name in ("mule1", "spooler1")}
    assert expected | others == ends.of


async def test_the_lifespan_is_up_still(autojump_clock: MockClock, uwsgi_registry: Registry, ends: Ends) -> None:
    """A request has ended before, and the application is shut down after it."""

    @uwsgi_registry.atexit
    async def close() -> None:
        ends.note("hook")

    async def app(scope: dict[str, object], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                ends.note(step)
                await send({"type": f"lifespan.{step}.complete"})
            return
        await trio.sleep(2)
        ends.note("request")
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with open_runtime(app, registry=uwsgi_registry) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.client.get, "/")
        await trio.sleep(1)
        runtime.stop()
    assert ["startup", "request", "hook", "shutdown"] == ends.all


async def test_a_hook_that_fails_leaves_the_others(
    autojump_clock: MockClock, uwsgi_registry: Registry, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is in the log."""
    for number in (1, 2):
        uwsgi_registry.atexit(lambda number=number: ends.note(str(number)))

        @uwsgi_registry.atexit
        async def failing() -> None:
            raise LookupError("no database")

    async with open_runtime(None, registry=uwsgi_registry, allow_failures=True):
        pass
    assert {"worker1": ["2", "1"]} == ends.of
    assert 2 == caplog.text.count("worker1: atexit failing failed: LookupError: no database")


@all_placements
@pytest.mark.parametrize("busy", [0, 3])
async def test_hooks_have_what_is_left_of_the_mercy(
    placement: Placement,
    busy: float,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    ends: Ends,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hook that does not return is cancelled and named in time; the later ones begin, and must not wait."""

    @uwsgi_registry.atexit
    async def late() -> None:
        ends.note("late")
        await trio.sleep(1)
        ends.note("never")

    @uwsgi_registry.atexit
    async def endless() -> None:
        await trio.sleep_forever()

    @uwsgi_registry.signal_handler(1, target="worker1")
    async def handler(signum: int) -> None:
        await trio.sleep(busy)

    config = Config(mercy=5, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.stop()
        began = trio.current_time()
        await runtime.runtime._tree.ended.wait()
        assert 4.7 < trio.current_time() - began < 5
    assert {"worker1": ["late"]} == ends.of
    assert f"harakiri on worker1: atexit endless was cancelled after {4.75 - busy:.2f} s" in caplog.text
    assert "harakiri on worker1: atexit late was cancelled after 0.00" in caplog.text


async def test_hooks_of_stopped_and_killed_members(
    autojump_clock: MockClock, uwsgi_registry: Registry, ends: Ends
) -> None:
    """An idle mule that is stopped calls its hooks; a member that is killed or cancelled calls none."""

    @uwsgi_registry.atexit
    async def close() -> None:
        ends.note("closed")

    @uwsgi_registry.mule_message_handler
    async def handler(message: bytes) -> None:
        ends.note("message")

    config = Config(workers=2, mules=Mules(min=0, max=1, idle=10))
    with trio.CancelScope() as scope:
        async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
            runtime.mule_msg(b"x", 1)
            await trio.sleep(20)
            assert {"mule1": ["message", "closed"]} == ends.of
            runtime.kill("worker1")
            await trio.sleep(20)
            scope.cancel()
    assert {"mule1": ["message", "closed"]} == ends.of
