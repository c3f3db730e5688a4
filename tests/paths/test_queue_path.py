"""The shared queue, from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._queues.rules import QueueStatistics
from trio_uwsgi.errors import NotServing, QueueError, QueueMessageTooLarge
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


@all_placements
async def test_members_share_a_queue(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """One mule pushes more than there is room for; another one takes from both ends, in a thread too."""
    got: Notes[Any] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def push(signum: int) -> None:
        got.append([uwsgi.queue_push(f"{number}") for number in range(5)])
        got.append((uwsgi.queue_slot(), uwsgi.queue_pull_slot()))

    @uwsgi_registry.signal_handler(2, target="mule2")
    def take(signum: int) -> None:
        got.append((uwsgi.queue_last(), uwsgi.queue_last(2), uwsgi.queue_get(3)))
        uwsgi.queue_set(3, b"three")
        got.append([uwsgi.queue_pull(), uwsgi.queue_pop(), uwsgi.queue_shift(), uwsgi.queue_pull(), uwsgi.queue_pull()])
        got.append((uwsgi.queue_last(), uwsgi.queue_get(0)))

    config = Config(mules=2, queue=4, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for signum in (1, 2):
            runtime.signal(signum)
            await trio.sleep(1)
        assert QueueStatistics(slots=4, waiting=0, pushed=5, taken=4, overwritten=1) == runtime.statistics().queue
    assert [
        [True, True, True, True, False],
        (1, 1),
        (b"4", [b"4", b"3"], b"3"),
        [b"1", b"4", b"2", b"three", None],
        (None, None),
    ] == got
    assert QueueStatistics(slots=4, waiting=0, pushed=5, taken=4, overwritten=1) == runtime.statistics().queue


@all_placements
async def test_a_store_outlives_the_runtime(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Path
) -> None:
    """A message of one run is pulled in the next."""
    got: Notes[bytes | None] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule")
    async def turn(signum: int) -> None:
        got.append(uwsgi.queue_pull())
        uwsgi.queue_push("later")

    config = Config(mules=1, queue=4, queue_store=str(tmp_path / "store"), queue_store_sync=1, placement=placement)
    for _ in range(2):
        async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
            runtime.signal(1)
            await trio.sleep(2)
    assert [None, b"later"] == got


@task_placements("they show the texts of errors, which are the same everywhere")
async def test_what_the_queue_refuses(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Each call says what to do, and the queue is as it was."""
    done: Notes[int] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule")
    async def misuse(signum: int) -> None:
        uwsgi.queue_push("here")
        with pytest.raises(QueueMessageTooLarge, match="at most 4 bytes, but this one has 5"):
            uwsgi.queue_push("lang1")
        with pytest.raises(QueueError, match="there is no slot 2"):
            uwsgi.queue_set(2, "here")
        with pytest.raises(QueueError, match="-1 messages cannot be listed"):
            uwsgi.queue_last(-1)
        with pytest.raises(TypeError, match="bytes or str, not int"):
            uwsgi.queue_push(5)  # type: ignore[arg-type]
        assert [b"here", None] == uwsgi.queue_last(2)
        done.append(signum)

    config = Config(mules=1, queue=2, queue_blocksize=4, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
    assert [1] == done


@task_placements("they show the texts of errors, which are the same everywhere")
async def test_without_a_queue(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """The error says how to get one; so it does outside of members."""
    done: Notes[int] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule")
    async def misuse(signum: int) -> None:
        with pytest.raises(QueueError, match=r"set Config\(queue=100\), on the command line --queue 100"):
            uwsgi.queue_pull()
        done.append(signum)

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        assert runtime.statistics().queue is None
    assert [1] == done
    with pytest.raises(NotServing):
        uwsgi.queue_pull()
