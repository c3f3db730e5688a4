"""The shared queue and metrics, the same calls in a real uWSGI and in ours.

What is pushed, taken, read and counted is equal in both. The differences:

what                         | uWSGI            | ours                  | why
-----------------------------|------------------|-----------------------|------------------------------------------
queue_push to a full queue   | True             | False                 | the caller learns that a message was lost
then queue_pull              | the newest first | the oldest first      | uWSGI does not move the slot of the pull
queue_pop of an empty queue  | moves the slot   | changes nothing       | a push would leave a slot out
queue_pull where queue_set   | moves its slot   | moves that of the     | the next message that is pushed would not
wrote, of an empty queue     | alone            | next push, too        | be the next one that is pulled
queue_set                    | True             | None                  | it cannot fail without an error
a call that is impossible    | None             | `QueueError`          | it says what to do
metric_inc and its like      | True             | the new value         | uWSGI's says nothing
an unknown metric            | 0 or None        | `MetricError`         | a wrong name is a mistake
division by 0                | None             | `MetricError`         | likewise
more than 64 bits            | begins anew at   | `MetricError`         | a counter does not become negative
                             | the smallest     |                       |
metric_set_min to less than  | changes nothing  | sets it               | uWSGI compares without a sign
the initial_value            |                  |                       |
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any  # what the functions return differs from one to the next

import pytest

from tests.interop.peers import Node, Raised, our_command, uwsgi_command

pytestmark = pytest.mark.real

METRICS = ("--metric", "orders", "--metric", "name=load,type=gauge,initial_value=9")


@pytest.fixture(scope="module")
def both(uwsgi_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """A real uWSGI and ours, with a queue of 4 slots and two metrics."""
    theirs = uwsgi_command(uwsgi_program, "uwsgi_node.py", "--queue", "4", "--enable-metrics", *METRICS)
    ours = our_command("trio_node.py", "--queue", "4", *METRICS)
    with contextlib.ExitStack() as ends:
        nodes = []
        for kind, command in (("uwsgi", theirs), ("ours", ours)):
            nodes.append(Node(kind, command, tmp_path_factory.mktemp(kind)))
            ends.callback(nodes[-1].kill)
        yield nodes[0], nodes[1]


def play(both: tuple[Node, Node], story: list[tuple[str, tuple[object, ...], Any, Any]]) -> None:
    """Make the calls in both, one after the other; each row has what uWSGI answers, and ours."""
    for number, (command, args, theirs, ours) in enumerate(story):
        answers = [node.run(command, *args) for node in both]
        found = [answer.name if isinstance(answer, Raised) else answer for answer in answers]
        assert [theirs, ours] == found, (number, command, args)


def same(command: str, *args: object, answer: Any) -> tuple[str, tuple[object, ...], Any, Any]:
    """A call with the same answer in both."""
    return command, args, answer, answer


def test_the_queue(both: tuple[Node, Node]) -> None:
    """Both ends, slots, an empty queue, what is impossible, and a full queue."""
    error = "QueueError"
    play(
        both,
        [
            same("queue_pull", answer=None),
            same("queue_last", answer=None),
            same("queue_last", 2, answer=[None, None]),
            *(same("queue_push", text, answer=True) for text in ("a", b"b", "c")),
            same("queue_slot", answer=3),
            same("queue_pull_slot", answer=0),
            same("queue_last", answer=b"c"),
            same("queue_last", 9, answer=[b"c", b"b", b"a", None]),
            same("queue_get", 1, answer=b"b"),
            same("queue_get", 3, answer=None),
            same("queue_pull", answer=b"a"),
            same("queue_pop", answer=b"c"),
            ("queue_set", (1, "B"), True, None),
            same("queue_pull", answer=b"B"),
            same("queue_pull", answer=None),
            same("queue_slot", answer=2),
            same("queue_pull_slot", answer=2),
            # A message that was written by its slot, where the next pull looks.
            ("queue_set", (2, "x"), True, None),
            same("queue_pull", answer=b"x"),
            same("queue_pull_slot", answer=3),
            ("queue_slot", (), 2, 3),
            ("queue_push", ("",), None, error),
            ("queue_push", (b"x" * 8193,), None, "QueueMessageTooLarge"),
            ("queue_set", (4, "x"), None, error),
            ("queue_set", (0, ""), None, error),
            ("queue_get", (4,), None, error),
            ("queue_get", (-1,), None, error),
            same("queue_push", 5, answer="TypeError"),
        ],
    )


def test_a_full_queue(both: tuple[Node, Node]) -> None:
    """The newest messages are the same; which of them is pulled first is not."""
    for node in both:
        while node.run("queue_pull_slot") != 0 or node.run("queue_slot") != 0:
            node.run("queue_push", "x")
            node.run("queue_pull")
    play(
        both,
        [
            *(same("queue_push", text, answer=True) for text in "0123"),
            ("queue_push", ("4",), True, False),
            ("queue_push", ("5",), True, False),
            same("queue_last", 4, answer=[b"5", b"4", b"3", b"2"]),
            same("queue_slot", answer=2),
            ("queue_pull_slot", (), 0, 2),
            ("queue_pull", (), b"4", b"2"),
            ("queue_pull", (), b"5", b"3"),
        ],
    )


def test_a_pop_of_an_empty_queue(both: tuple[Node, Node]) -> None:
    """It moves the slot of uWSGI's next push by one."""
    moved = []
    for node in both:
        for _ in range(4):
            node.run("queue_pop")
        before = node.run("queue_slot")
        assert node.run("queue_pop") is None
        moved.append((before - node.run("queue_slot")) % 4)
    assert [1, 0] == moved


def test_metrics(both: tuple[Node, Node]) -> None:
    """Each operation, and what is impossible."""
    most = 2**63 - 1
    story: list[tuple[str, tuple[object, ...], Any, Any]] = [same("metric_get", "load", answer=9)]
    for operation, value, result in [
        ("set", -5, -5),
        ("div", 2, -2),
        ("mul", -7, 14),
        ("inc", 5, 19),
        ("dec", 20, -1),
        ("set_max", 7, 7),
        ("set_max", 3, 7),
        ("set_min", 8, 7),
        ("set_min", 2, 2),
        ("set", most, most),
    ]:
        story += [(f"metric_{operation}", ("orders", value), True, result), same("metric_get", "orders", answer=result)]
    for operation, result in [("set", 1), ("inc", 2), ("dec", 1), ("mul", 1), ("div", 1)]:
        story.append((f"metric_{operation}", ("load",), True, result))
    error = "MetricError"
    play(
        both,
        [
            *story,
            ("metric_set_min", ("load", 5), True, 1),
            same("metric_get", "load", answer=1),
            ("metric_set_min", ("load", -5), True, -5),
            ("metric_get", ("load",), 1, -5),
            ("metric_div", ("load", 0), None, error),
            ("metric_get", ("nothing",), 0, error),
            ("metric_inc", ("nothing",), None, error),
            same("metric_inc", "load", 1.5, answer="TypeError"),
            ("metric_inc", ("orders",), True, error),
            ("metric_get", ("orders",), -most - 1, most),
        ],
    )
