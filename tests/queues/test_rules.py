"""The rules of the shared queue: the ring, what is overwritten, and who takes what."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._queues.rules import MemorySlots, QueueRules, QueueState, QueueStatistics, message_bytes
from trio_uwsgi.errors import QueueError, QueueMessageTooLarge

pytestmark = pytest.mark.pure


def queue(size: int = 4, largest: int = 3) -> QueueRules:
    """An empty queue."""
    return QueueRules(size, largest, MemorySlots(), QueueState())


def play(rules: QueueRules, story: str) -> list[object]:
    """Take steps: `1` pushes that letter, `<` pulls, `>` pops, `2=x` writes into a slot. The answers of the takes."""
    answers: list[object] = []
    for step in story.split():
        if step == "<":
            answers.append(rules.pull())
        elif step == ">":
            answers.append(rules.pop())
        elif "=" in step:
            slot, message = step.split("=")
            rules.set(int(slot), message.encode())
        else:
            rules.push(step.encode())
    return answers


@pytest.mark.parametrize(
    ("story", "answers", "slots"),
    [
        ("< >", [None, None], (0, 0)),
        ("a b < < <", [b"a", b"b", None], (2, 2)),
        ("a b > > >", [b"b", b"a", None], (0, 0)),
        ("a b c > <", [b"c", b"a"], (2, 1)),
        ("a b c d", [], (0, 0)),
        ("0 1 2 3 4 5 < < < < <", [b"2", b"3", b"4", b"5", None], (2, 2)),
        ("0 1 2 3 4 5 > > > > >", [b"5", b"4", b"3", b"2", None], (2, 2)),
        ("a b < c d e f < >", [b"a", b"c", b"f"], (1, 3)),
        # Slots that are written by their number.
        ("2=x <", [None], (0, 0)),
        ("0=x < a < <", [b"x", b"a", None], (2, 2)),
        ("3=x > a < >", [b"x", b"a", None], (0, 0)),
        ("0=x a < <", [b"a", None], (1, 1)),
        ("a b 0=x < <", [b"x", b"b"], (2, 2)),
    ],
)
def test_who_takes_what(story: str, answers: list[object], slots: tuple[int, int]) -> None:
    """The oldest is pulled and the newest popped, also where the ring was full or a slot was written."""
    rules = queue()
    assert answers == play(rules, story)
    assert slots == (rules.state.slot, rules.pull_slot)


def test_a_full_queue_overwrites_the_oldest() -> None:
    """It says so, and counts it."""
    rules = queue()
    assert [True] * 4 + [False] * 2 == [rules.push(b"%d" % number) for number in range(6)]
    assert [b"5", b"4", b"3", b"2"] == rules.last(9)
    assert QueueStatistics(slots=4, waiting=4, pushed=6, taken=0, overwritten=2) == rules.statistics()
    assert [b"2", b"5"] == play(rules, "< >")
    assert QueueStatistics(slots=4, waiting=2, pushed=6, taken=2, overwritten=2) == rules.statistics()


def test_slots_are_read_and_replaced() -> None:
    """Nothing is taken by that, and empty slots have None."""
    rules = queue()
    play(rules, "a b 3=x")
    assert [b"a", b"b", None, b"x"] == [rules.get(slot) for slot in range(4)]
    assert [b"b", b"a", b"x", None] == rules.last(4)
    assert [b"b"] == rules.last(1)
    assert [] == rules.last(0)
    assert (2, 0) == (rules.state.slot, rules.pull_slot)


def test_one_slot() -> None:
    """The smallest queue holds the last message."""
    rules = queue(size=1)
    assert [b"b", None] == play(rules, "a b < >")
    assert [b"c", None] == play(rules, "c > <")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rules: rules.push(b""), "an empty message cannot be stored"),
        (lambda rules: rules.set(0, b""), "an empty message cannot be stored"),
        (lambda rules: rules.push(b"long"), r"at most 3 bytes, but this one has 4; .* --queue-blocksize 4"),
        (lambda rules: rules.set(0, b"long"), "at most 3 bytes"),
        (lambda rules: rules.get(4), "there is no slot 4: the shared queue has the slots 0 to 3"),
        (lambda rules: rules.get(-1), "there is no slot -1"),
        (lambda rules: rules.get("0"), "there is no slot '0'"),
        (lambda rules: rules.set(4, b"x"), "there is no slot 4"),
        (lambda rules: rules.last(-1), "-1 messages cannot be listed"),
        (lambda rules: rules.last(1.5), "1.5 messages cannot be listed"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    """The error says what is possible, and the queue is as it was."""
    rules = queue()
    play(rules, "a")
    with pytest.raises(QueueError, match=message):
        call(rules)
    assert ([b"a", None], 1) == (rules.last(2), rules.statistics().pushed)


def test_a_message_that_is_too_large_has_its_size() -> None:
    """The error has the two numbers."""
    with pytest.raises(QueueMessageTooLarge) as caught:
        queue().push(b"four")
    assert (4, 3) == (caught.value.size, caught.value.limit)


def test_messages_are_bytes() -> None:
    """A str is encoded; everything else is refused."""
    messages: list[Any] = [b"a", "ö", bytearray(b"b"), memoryview(b"c")]
    assert [b"a", "ö".encode(), b"b", b"c"] == [message_bytes(message) for message in messages]
    with pytest.raises(TypeError, match="bytes or str, not int"):
        message_bytes(3)  # type: ignore[arg-type]
    with pytest.raises(QueueError, match="use bytes"):
        message_bytes("\udc80")


@given(size=st.integers(1, 5), steps=st.lists(st.sampled_from(["push", "push", "pull", "pop"]), max_size=60))
def test_it_is_a_deque_that_drops_its_oldest(size: int, steps: list[str]) -> None:
    """Whatever is pushed, pulled and popped, the answers are those of a bounded deque."""
    rules, model = queue(size), deque[bytes](maxlen=size)
    for number, step in enumerate(steps):
        if step == "push":
            message = b"%d" % number
            assert (len(model) < size) == rules.push(message)
            model.append(message)
        elif step == "pull":
            assert (model.popleft() if model else None) == rules.pull()
        else:
            assert (model.pop() if model else None) == rules.pop()
        assert len(model) == rules.statistics().waiting
        assert [*reversed(model), *[None] * (size - len(model))] == rules.last(size)
        assert (rules.state.slot - len(model)) % size == rules.pull_slot
