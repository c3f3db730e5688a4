"""`post_fork` hooks of members, from the declaration to a failed start."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import BootError, RegistrationError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


@all_placements
async def test_every_member_begins_with_its_hooks(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """Workers, mules and spoolers call their hooks in the order of declaration, and take work when the last one has
    ended.
    """
    began: Notes[tuple[str, str]] = Notes()

    @uwsgi_registry.post_fork
    async def first() -> None:
        await trio.sleep(1)
        began.append((UNIT.get().member.name, "first"))

    @uwsgi_registry.post_fork
    def second() -> None:
        began.append((UNIT.get().member.name, "second"))

    @uwsgi_registry.signal_handler(1, target="workers")
    async def handler(signum: int) -> None:
        began.append((f"worker{uwsgi.worker_id()}", "signal"))

    config = Config(workers=2, mules=1, spooler=str(tmp_path / "jobs"), placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        with pytest.raises(RegistrationError, match="members have begun already"):
            uwsgi_registry.post_fork(second)
    work: dict[str, list[str]] = {}
    for name, what in began:
        work.setdefault(name, []).append(what)
    hooks = ["first", "second"]
    signalled = [*hooks, "signal"]
    assert {"worker1": signalled, "worker2": signalled, "mule1": hooks, "spooler1": hooks} == work


@all_placements
async def test_restarted_members_call_their_hooks(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """The hooks are called once for each instance in a slot."""
    began: Notes[int] = Notes()

    @uwsgi_registry.post_fork
    async def count() -> None:
        began.append(uwsgi.worker_id())

    async with open_runtime(None, Config(workers=2, placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(10)
        runtime.kill("worker2")
        await trio.sleep(10)
    assert {1: 1, 2: 2} == Counter(began)


@all_placements
@pytest.mark.parametrize("kind", ["async", "def"])
async def test_a_hook_that_fails_is_a_failed_start(
    placement: Placement, kind: str, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Nothing is served; the error says which hook and why, also when it fails in all members."""

    async def failing() -> None:
        raise LookupError("no database")

    def failing_in_a_thread() -> None:
        raise LookupError("no database")

    uwsgi_registry.post_fork(failing if kind == "async" else failing_in_a_thread)
    with pytest.raises(BootError, match=r"the post_fork hook failing\w* failed in worker\d: LookupError: no database"):
        async with open_runtime(None, Config(workers=2, placement=placement), registry=uwsgi_registry):
            pass  # pragma: no cover
