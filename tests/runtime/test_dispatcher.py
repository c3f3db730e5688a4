"""Which member gets the next signal or message, how much may wait, and what becomes of it when a member ends."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi._link.encoding import MAX_MESSAGE
from trio_uwsgi._runtime.dispatcher import Dispatcher
from trio_uwsgi._runtime.slots import Delivery, Reassignment, Slot, SlotState, Tick, signal_numbers
from trio_uwsgi._signals.targets import Headcount, parse_target
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

pytestmark = pytest.mark.pure

WORKER = parse_target("")
WORKERS = parse_target("workers")
ACTIVE = parse_target("active-workers")
MULE = parse_target("mule")
MULES = parse_target("mules")


def make(
    workers: int = 3, mules: int = 0, signal_queue: int = 10, message_queue: int = 10, ready: bool = True
) -> Dispatcher:
    dispatcher = Dispatcher(Headcount(workers, mules), signal_queue, message_queue)
    if ready:
        for slot in dispatcher.slots():
            slot.state = SlotState.READY
    return dispatcher


def names(slots: Any) -> list[str]:
    return [slot.name for slot in slots]


def give(dispatcher: Dispatcher, target: str = "") -> str:
    """Give a signal; the names of the slots that got it."""
    return " ".join(names(slot for slot, _ in dispatcher.give_signal(17, parse_target(target), "worker1")))


def run(dispatcher: Dispatcher, name: str) -> None:
    """Have a member run what has waited longest in its slot, to the end."""
    slot = next(slot for slot in dispatcher.slots() if slot.name == name)
    ticket = slot.waiting()[0].ticket
    dispatcher.begun(slot, ticket)
    dispatcher.ended(slot, ticket)


# ----- slots


def test_slots_are_listed_by_kind_and_number() -> None:
    """Workers come first, each kind by number; a list that was given out is the caller's own."""
    dispatcher = make(2, 2)
    assert ["worker1", "worker2", "mule1", "mule2"] == names(dispatcher.slots())
    assert ["mule1", "mule2"] == names(dispatcher.slots("mule"))
    dispatcher.slots("mule").clear()
    assert ["mule1", "mule2"] == names(dispatcher.slots("mule"))


def test_slots_are_added_and_removed() -> None:
    """An added slot is listed by its number; a removed slot is given nothing more, and keeps what it has."""
    dispatcher = make(3)
    assert "worker1" == give(dispatcher)
    first, *_ = dispatcher.slots()
    dispatcher.remove(first)
    assert ["worker2", "worker3"] == names(dispatcher.slots("worker"))
    assert "" == give(dispatcher, "worker1")
    assert ["worker2", "worker3"] == give(dispatcher, "workers").split()
    assert 1 == first.load
    added = dispatcher.add("worker", 1)
    assert SlotState.STARTING is added.state
    assert ["worker1", "worker2", "worker3"] == names(dispatcher.slots("worker"))
    assert "worker1" == give(dispatcher, "worker1")
    dispatcher.begun(first, first.waiting()[0].ticket)
    assert (1, 1) == (len(first.running), added.load)


def test_deliveries_for_the_log() -> None:
    """A message has a size, a signal has none; of many signals ten are named."""
    assert [3, 0] == [Delivery(1, "worker1", message=b"abc").size, Delivery(1, "worker1", 5).size]
    deliveries = [Delivery(n, "worker1", n) for n in range(11)]
    assert "0, 1" == signal_numbers(deliveries[:2])
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..." == signal_numbers(deliveries)


def test_master_has_no_number() -> None:
    """The slot of the pseudo-member "master" is named by its kind alone."""
    assert "master" == Slot("master", 0).name


def test_the_dispatcher_shows_its_slots() -> None:
    """The repr has the state of each slot, and how much waits and runs there."""
    dispatcher = make(1, 1, ready=False)
    dispatcher.give_signal(1, WORKERS, "x")
    dispatcher.give_signal(2, WORKERS, "x")
    dispatcher.give_message(b"", 1, "x")
    dispatcher.begun(dispatcher.slots()[0], 1)
    assert (
        "<Dispatcher: <Slot worker1: starting, 1 signals and 0 messages waiting, 1 running>, "
        "<Slot mule1: starting, 0 signals and 1 messages waiting, 0 running>>"
    ) == repr(dispatcher)
    assert ["worker1 starting (1 waiting, 1 running)", "mule1 starting (1 waiting, 0 running)"] == [
        str(slot) for slot in dispatcher.slots()
    ]
    assert "worker1 ready" == str(make(1, 0).slots()[0])


# ----- choosing


def test_equals_take_turns() -> None:
    """Of idle members, the one that was given something longest ago is next: they take turns, lowest number first."""
    dispatcher = make(3)
    got = []
    for _ in range(7):
        got.append(give(dispatcher))
        run(dispatcher, got[-1])
    assert ["worker1", "worker2", "worker3", "worker1", "worker2", "worker3", "worker1"] == got


def test_the_least_loaded_is_next() -> None:
    """What waits and what runs both count as load, and load goes before turns."""
    dispatcher = make(3)
    assert ["worker1", "worker2", "worker3"] == [give(dispatcher) for _ in range(3)]
    run(dispatcher, "worker2")
    assert "worker2" == give(dispatcher)
    slot = dispatcher.slots()[2]
    dispatcher.begun(slot, slot.waiting()[0].ticket)
    assert "worker1" == give(dispatcher)
    assert [2, 1, 1] == [slot.load for slot in dispatcher.slots()]
    assert "worker3" == give(dispatcher)


def test_a_ready_member_goes_before_an_idle_one_that_starts() -> None:
    """Members that are not ready are chosen only when none is."""
    dispatcher = make(2, ready=False)
    assert "worker1" == give(dispatcher)
    dispatcher.slots()[0].state = SlotState.READY
    assert ["worker1", "worker1"] == [give(dispatcher), give(dispatcher)]


def test_ended_members_are_not_chosen() -> None:
    """A member that has ended gets nothing; when all have, none is chosen."""
    dispatcher = make(2)
    dispatcher.retire(dispatcher.slots()[0])
    assert ["worker2", "worker2"] == [give(dispatcher), give(dispatcher)]
    dispatcher.retire(dispatcher.slots()[1])
    assert dispatcher.next_of("worker") is None
    assert "" == give(dispatcher)


def test_lending_takes_turns_with_signals() -> None:
    """Work that does not wait in a slot counts as a turn as well."""
    dispatcher = make(3)
    assert ["worker1", "worker2"] == [dispatcher.lend("worker").name, dispatcher.lend("worker").name]
    assert "worker3" == give(dispatcher)
    run(dispatcher, "worker3")
    assert "worker1" == dispatcher.lend("worker").name


def test_no_member_to_lend() -> None:
    """Lending from a kind that has ended, or of which none is ready, is a LookupError that says so."""
    dispatcher = make(1)
    dispatcher.slots()[0].state = SlotState.BACKING_OFF
    with pytest.raises(LookupError, match="no worker is ready: worker1 is backing off"):
        dispatcher.lend("worker")
    dispatcher.retire(dispatcher.slots()[0])
    with pytest.raises(LookupError, match="every worker has ended"):
        dispatcher.lend("worker")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", ["worker2"]),
        ("worker", ["worker2"]),
        ("worker0", ["worker2"]),
        ("workers", ["worker1", "worker2", "worker3"]),
        ("active-workers", ["worker2", "worker3"]),
        ("worker1", ["worker1"]),
        ("worker3", ["worker3"]),
        ("worker4", []),
        ("worker9", []),
        ("mule", ["mule2"]),
        ("mules", ["mule2"]),
        ("mule1", []),
        ("mule2", ["mule2"]),
    ],
)
def test_target_resolves_to_running_members(target: str, expected: list[str]) -> None:
    """A target means the members that exist and have not ended; `active-workers` only those that are ready."""
    dispatcher = make(4, 2)
    starting, _, _, ended = dispatcher.slots("worker")
    starting.state = SlotState.STARTING
    dispatcher.retire(ended)
    dispatcher.retire(dispatcher.slots("mule")[0])
    assert expected == names(dispatcher.resolve(parse_target(target)))


# ----- signals


def test_signal_waits_in_every_slot_of_its_target() -> None:
    """A signal to all is one delivery each, with tickets that grow."""
    dispatcher = make(2)
    given = dispatcher.give_signal(17, WORKERS, "mule1")
    assert [("worker1", Delivery(1, "mule1", 17)), ("worker2", Delivery(2, "mule1", 17))] == [
        (s.name, d) for s, d in given
    ]
    assert [[Delivery(1, "mule1", 17)], [Delivery(2, "mule1", 17)]] == [slot.waiting() for slot in dispatcher.slots()]


def test_queue_is_bounded() -> None:
    """The queue of a slot is bounded, running signals not counted; the refusal names the member and the option."""
    dispatcher = make(1, signal_queue=2)
    give(dispatcher), give(dispatcher)
    with pytest.raises(SignalQueueFull, match=r"worker1 has 2 signals .*signal_queue=\.\.\.\) higher than 2") as caught:
        give(dispatcher)
    assert (17, "worker1", 2) == (caught.value.signum, caught.value.recipient, caught.value.size)
    assert [1, 2] == [delivery.ticket for delivery in dispatcher.slots()[0].waiting()]
    dispatcher.begun(dispatcher.slots()[0], 1)
    assert "worker1" == give(dispatcher)


def test_messages_do_not_fill_the_queue_of_signals() -> None:
    """Signals and messages have a bound each."""
    dispatcher = make(0, 1, signal_queue=1, message_queue=2)
    dispatcher.give_message(b"a", 1, "x")
    dispatcher.give_message(b"b", 1, "x")
    assert "mule1" == give(dispatcher, "mule1")
    with pytest.raises(MessageQueueFull):
        dispatcher.give_message(b"c", 1, "x")
    with pytest.raises(SignalQueueFull):
        give(dispatcher, "mule1")


def test_all_or_none() -> None:
    """When one of several slots is full, none gets the signal: no ticket, no load, no turn, and no tick begins."""
    dispatcher = make(3, signal_queue=1)
    give(dispatcher, "worker2")
    before = [(slot.load, slot.last_given) for slot in dispatcher.slots()]
    tick = Tick(lambda: None, lambda began: None)
    with pytest.raises(SignalQueueFull, match="worker2"):
        dispatcher.give_signal(17, WORKERS, "timer", tick)
    assert before == [(slot.load, slot.last_given) for slot in dispatcher.slots()]
    assert 0 == tick.unfinished
    assert 2 == dispatcher.give_signal(17, parse_target("worker1"), "x")[0][1].ticket


def test_any_worker_is_refused_only_when_all_are_full() -> None:
    """With a target of one member, the least loaded is full only when all are."""
    dispatcher = make(2, signal_queue=1)
    assert ["worker1", "worker2"] == [give(dispatcher), give(dispatcher)]
    with pytest.raises(SignalQueueFull):
        give(dispatcher)


def test_tick_counts_its_runs() -> None:
    """A timer's tick that goes to all has one run for each of them to finish, and travels with every delivery."""
    dispatcher = make(3)
    tick = Tick(lambda: None, lambda began: None)
    given = dispatcher.give_signal(17, WORKERS, "timer", tick)
    assert 3 == tick.unfinished
    assert all(delivery.tick is tick for _, delivery in given)


def test_a_tick_begins_once_and_ends_once() -> None:
    """With the first and with the last of its runs; it says whether any of them began."""
    seen: list[object] = []
    tick = Tick(lambda: seen.append("begun"), seen.append)
    tick.unfinished = 2
    tick.begin_run()
    tick.begin_run()
    tick.end_run()
    assert ["begun"] == seen
    tick.end_run()
    assert ["begun", True] == seen
    other = Tick(lambda: seen.append("begun"), seen.append)
    other.unfinished = 1
    other.end_run()
    assert ["begun", True, False] == seen


def test_signal_without_recipient() -> None:
    """A target that reaches no member right now gives an empty list, which is not an error."""
    dispatcher = make(2, ready=False)
    tick = Tick(lambda: None, lambda began: None)
    assert [] == dispatcher.give_signal(17, ACTIVE, "timer", tick)
    assert 0 == tick.unfinished


# ----- messages


def test_message_goes_to_the_mule_it_names_or_whose_turn_it_is() -> None:
    """A number names a mule; 0 takes the least loaded, and equals by turns."""
    dispatcher = make(1, 3)
    got = [dispatcher.give_message(b"x", mule, "worker1")[0].name for mule in (2, 0, 0, 0, 0, 0)]
    assert ["mule2", "mule1", "mule3", "mule2", "mule1", "mule3"] == got
    assert Delivery(1, "worker1", message=b"x") == dispatcher.slots("mule")[1].waiting()[0]


@pytest.mark.parametrize(
    ("mules", "mule", "remedy"),
    [
        (0, 0, r"there is no mule to send a message to; set Config\(mules=1\)"),
        (0, 1, r"set Config\(mules=1\)"),
        (2, 3, "mule 3 does not exist; use 1 to 2, or 0 for any mule"),
        (1, 2, "mule 2 does not exist; use 1, or 0 for any mule"),
        (2, -1, "mule -1 does not exist; use 1 to 2, or 0 for any mule"),
    ],
)
def test_message_to_an_unknown_mule_is_refused(mules: int, mule: int, remedy: str) -> None:
    """A mule that does not exist is refused with those that do; -1 is not the last one."""
    with pytest.raises(MuleError, match=remedy):
        make(1, mules).give_message(b"x", mule, "worker1")


@pytest.mark.parametrize("mule", [0, 1])
def test_message_to_an_ended_mule_is_refused(mule: int) -> None:
    """When the runtime stops, what its mules could not get any more is refused and not kept."""
    dispatcher = make(1, 1)
    dispatcher.retire(dispatcher.slots("mule")[0])
    with pytest.raises(MuleError, match="the runtime is stopping and its mules have ended"):
        dispatcher.give_message(b"x", mule, "worker1")
    assert [] == dispatcher.slots("mule")[0].waiting()


def test_message_that_is_too_large_is_refused() -> None:
    """A message has a largest size, the same in every placement."""
    dispatcher = make(0, 1)
    with pytest.raises(MuleError, match=f"larger than {MAX_MESSAGE}; send a file's path"):
        dispatcher.give_message(bytes(MAX_MESSAGE + 1), 1, "x")
    assert b"" == dispatcher.give_message(b"", 1, "x")[1].message


def test_message_queue_is_bounded() -> None:
    """A mule's queue of messages refuses what does not fit, with its name, its size and the option."""
    dispatcher = make(0, 1, message_queue=1)
    dispatcher.give_message(b"x", 0, "x")
    with pytest.raises(MessageQueueFull, match=r"mule1 has 1 messages .*message_queue=\.\.\.\) higher than 1"):
        dispatcher.give_message(b"y", 0, "x")
    assert [b"x"] == [delivery.message for delivery in dispatcher.slots("mule")[0].waiting()]


# ----- the life of a delivery


def test_delivery_is_in_one_place() -> None:
    """It waits, runs, and is gone; a second `begun` or `ended` for it is a KeyError, and so is one for another slot."""
    dispatcher = make(2, 0)
    slot, other = dispatcher.slots()
    ((_, delivery),) = dispatcher.give_signal(17, parse_target("worker1"), "x")
    with pytest.raises(KeyError):
        dispatcher.ended(slot, 1)
    with pytest.raises(KeyError):
        dispatcher.begun(other, 1)
    assert delivery is dispatcher.begun(slot, 1)
    assert ([], {1: delivery}) == (slot.waiting(), slot.running)
    with pytest.raises(KeyError):
        dispatcher.begun(slot, 1)
    assert delivery is dispatcher.ended(slot, 1)
    assert 0 == slot.load
    with pytest.raises(KeyError):
        dispatcher.ended(slot, 1)


def test_message_begins_and_ends_like_a_signal() -> None:
    """An empty message counts, waits and runs like any delivery."""
    dispatcher = make(0, 1)
    slot, delivery = dispatcher.give_message(b"", 1, "x")
    assert delivery is dispatcher.begun(slot, delivery.ticket)
    assert 1 == slot.load
    assert delivery is dispatcher.ended(slot, delivery.ticket)


def test_waiting_is_in_the_order_it_was_given() -> None:
    """Signals and messages of a slot are listed together in the order in which they were given."""
    dispatcher = make(0, 1)
    for n in range(6):
        if n % 2:
            dispatcher.give_signal(n, MULES, "x")
        else:
            dispatcher.give_message(str(n).encode(), 0, "x")
    assert [b"0", 1, b"2", 3, b"4", 5] == [d.signum or d.message for d in dispatcher.slots()[0].waiting()]


def test_retire_hands_back_what_had_not_begun() -> None:
    """What waited is returned in order, what ran is left for the caller to count, and the slot gets nothing more."""
    dispatcher = make(1, 1)
    slot = dispatcher.slots("mule")[0]
    dispatcher.give_signal(1, MULE, "x")
    dispatcher.give_message(b"2", 0, "x")
    dispatcher.give_signal(3, MULE, "x")
    running = dispatcher.begun(slot, 1)
    undelivered = dispatcher.retire(slot)
    assert [Delivery(2, "x", message=b"2", among=""), Delivery(3, "x", 3, among="")] == undelivered
    assert (SlotState.ENDED, [], {1: running}) == (slot.state, slot.waiting(), slot.running)
    assert [] == dispatcher.give_signal(4, MULES, "x")
    assert [] == dispatcher.retire(slot)


# ----- pools


def pool(least: int = 1, most: int = 4, farms: Any = (), signal_queue: int = 10, message_queue: int = 10) -> Dispatcher:
    """Mules of which some are spare, and that become ready as soon as they are activated."""
    headcount = Headcount(0, most, min_mules=least, farms=dict(farms))
    dispatcher = Dispatcher(headcount, signal_queue, message_queue)
    for slot in dispatcher.slots():
        if not slot.spare:
            dispatcher.ready(slot)
    return dispatcher


def states(dispatcher: Dispatcher) -> list[str]:
    return [slot.state.value for slot in dispatcher.slots()]


def post(dispatcher: Dispatcher, mule: int | str = 0) -> str:
    """Send a message; the name of the mule that got it."""
    return dispatcher.give_message(b"x", mule, "x")[0].name


def finish(dispatcher: Dispatcher, name: str) -> None:
    """Have a mule run all that waits in its slot."""
    slot = next(slot for slot in dispatcher.slots() if slot.name == name)
    dispatcher.ready(slot)
    while slot.load:
        run(dispatcher, name)


def test_spare_slots_begin_vacant() -> None:
    """Slots above the minimum have no instance until there is work."""
    assert ["ready", "vacant", "vacant", "vacant"] == states(pool())
    assert ["vacant", "vacant"] == states(pool(0, 2))
    assert [False, False, True] == [slot.spare for slot in pool(2, 3).slots()]


def test_a_pool_fills_from_the_lowest_number() -> None:
    """Work goes to the first idle mule, and activates the next slot when there is none."""
    dispatcher = pool()
    assert ["mule1", "mule2", "mule3"] == [post(dispatcher) for _ in range(3)]
    assert ["ready", "starting", "starting", "vacant"] == states(dispatcher)
    for name in ("mule3", "mule2", "mule1"):
        finish(dispatcher, name)
    assert ["mule1", "mule2"] == [post(dispatcher), post(dispatcher)]
    finish(dispatcher, "mule1")
    assert ["mule1", "mule3", "mule4"] == [post(dispatcher) for _ in range(3)]


def test_a_full_pool_takes_the_least_loaded() -> None:
    """When no mule is idle and no slot vacant, the least loaded is next, ready or not, then the one longest ago."""
    dispatcher = pool(1, 3)
    assert ["mule1", "mule2", "mule3", "mule1", "mule2", "mule3"] == [post(dispatcher) for _ in range(6)]
    finish(dispatcher, "mule2")
    assert ["mule2", "mule2", "mule1"] == [post(dispatcher) for _ in range(3)]


def test_one_that_is_ready_goes_before_one_that_starts() -> None:
    """Of two mules with nothing to do, the one that can begin is next, whatever its number."""
    dispatcher = pool(2, 3)
    dispatcher.slots()[0].state = SlotState.STARTING
    assert ["mule2", "mule1", "mule3"] == [post(dispatcher) for _ in range(3)]


def test_slots_that_back_off_are_the_last() -> None:
    """A slot that backs off is chosen only when all others have ended; in a pool or not."""
    dispatcher = pool(2, 3)
    dispatcher.member_died(dispatcher.slots()[0], backs_off=True)
    assert ["mule2", "mule3", "mule2", "mule3"] == [post(dispatcher) for _ in range(4)]
    for slot in dispatcher.slots()[1:]:
        dispatcher.retire(slot)
    assert "mule1" == post(dispatcher)
    plain = make(2)
    plain.member_died(plain.slots()[0], backs_off=True)
    assert ["worker2", "worker2"] == [give(plain), give(plain)]


def test_a_slot_is_activated_once() -> None:
    """Its supervisor is called when an instance is needed, and not again until the slot is vacant again."""
    dispatcher = pool()
    calls: list[str] = []
    slot = dispatcher.slots()[3]
    slot.on_activated = lambda: calls.append(slot.name)
    assert ["mule4", "mule4"] == [post(dispatcher, 4), post(dispatcher, 4)]
    assert (["mule4"], SlotState.STARTING) == (calls, slot.state)
    dispatcher.activate(dispatcher.slots()[0])
    assert SlotState.READY is dispatcher.slots()[0].state
    dispatcher.activate(dispatcher.slots()[1])
    assert SlotState.STARTING is dispatcher.slots()[1].state


def test_idle_is_reported() -> None:
    """Once when it is ready and nothing waits, then whenever the last of what it had has ended."""
    dispatcher = pool()
    slot = dispatcher.slots()[1]
    idle: list[int] = []
    slot.on_idle = lambda: idle.append(len(idle))
    post(dispatcher, 2), post(dispatcher, 2)
    dispatcher.ready(slot)
    assert [] == idle
    run(dispatcher, "mule2")
    assert [] == idle
    run(dispatcher, "mule2")
    assert [0] == idle
    dispatcher.ready(slot)
    assert [0, 1] == idle


def test_release_is_one_step() -> None:
    """A slot can be released if it is spare and ready, and nothing waits or runs; then it is vacant."""
    dispatcher = pool()
    stays, goes = dispatcher.slots()[:2]
    assert not dispatcher.release(stays)
    assert not dispatcher.release(goes)
    _, delivery = dispatcher.give_signal(1, parse_target("mule2"), "x")[0]
    assert not dispatcher.release(goes)
    dispatcher.ready(goes)
    assert not dispatcher.release(goes)
    dispatcher.begun(goes, delivery.ticket)
    assert not dispatcher.release(goes)
    dispatcher.ended(goes, delivery.ticket)
    assert dispatcher.release(goes)
    assert SlotState.VACANT is goes.state
    assert not dispatcher.release(goes)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("mules", ["mule1", "mule2"]), ("mule", ["mule1"]), ("mule4", ["mule4"]), ("mule3", ["mule3"])],
)
def test_targets_in_a_pool(target: str, expected: list[str]) -> None:
    """`mules` reaches those that run; a number activates a vacant slot."""
    dispatcher = pool()
    dispatcher.activate(dispatcher.slots()[1])
    assert expected == names(slot for slot, _ in dispatcher.give_signal(17, parse_target(target), "x"))
    assert "vacant" not in [slot.state.value for slot in dispatcher.slots() if slot.load]


# ----- farms

FARMS = {"images": [1, 2], "mail": [3, 2]}


def test_a_farm_takes_turns() -> None:
    """A message to a farm goes to the member of it whose turn it is, and says which farm it was."""
    dispatcher = Dispatcher(Headcount(0, 3, farms=FARMS), 10, 10)
    assert ["mule1", "mule2", "mule3", "mule1"] == [
        post(dispatcher, farm) for farm in ("images", "images", "mail", "images")
    ]
    assert Delivery(1, "x", message=b"x", among="images", farm="images") == dispatcher.slots()[0].waiting()[0]
    assert ["mule2", "mule3"] == [
        names(slot for slot, _ in dispatcher.give_signal(1, parse_target(t), "x"))[0] for t in ("farm_mail", "farm2")
    ]


@pytest.mark.parametrize("spare", [False, True])
def test_room_goes_before_readiness_and_load(spare: bool) -> None:
    """What is for any member is refused only when all are full, ready or not, vacant or not."""
    dispatcher = Dispatcher(Headcount(0, 2, farms={"f": [1, 2]}, min_mules=1 if spare else 2), 2, 1)
    dispatcher.ready(dispatcher.slots()[0])
    assert ["mule1", "mule2"] == [post(dispatcher, 1), post(dispatcher, "f")]
    for mule in (0, "f"):
        with pytest.raises(MessageQueueFull):
            post(dispatcher, mule)
    assert ["mule1", "mule1", "mule2", "mule2"] == sorted(give(dispatcher, "mule") for _ in range(4))
    with pytest.raises(SignalQueueFull):
        give(dispatcher, "mule")


def test_messages_to_farms_that_are_refused() -> None:
    """A farm that does not exist, one whose mules are full, one whose mules have ended."""
    dispatcher = Dispatcher(Headcount(0, 3, farms=FARMS), 10, 1)
    with pytest.raises(MuleError, match="there is no farm 'x'; There are 'images', 'mail'"):
        post(dispatcher, "x")
    assert ["mule1", "mule2"] == [post(dispatcher, "images") for _ in range(2)]
    with pytest.raises(MessageQueueFull, match="mule1 has 1 messages"):
        post(dispatcher, "images")
    for slot in dispatcher.slots()[:2]:
        dispatcher.retire(slot)
    with pytest.raises(MuleError, match="the runtime is stopping and its mules have ended"):
        post(dispatcher, "images")
    assert [] == dispatcher.give_signal(1, parse_target("farm1"), "x")
    assert "mule3" == post(dispatcher, "mail")


# ----- deaths


def test_what_a_member_ran_when_it_died() -> None:
    """Signals are lost; a message waits again, before all others, once; the second time it is dropped."""
    dispatcher = make(0, 1)
    slot = dispatcher.slots()[0]
    dispatcher.give_message(b"0", 1, "x")
    dispatcher.give_message(b"1", 1, "x")
    dispatcher.give_signal(7, MULES, "x")
    for ticket in (2, 3):
        dispatcher.begun(slot, ticket)
    reassignment = dispatcher.member_died(slot, backs_off=False)
    assert ([Delivery(3, "x", 7)], []) == (reassignment.lost, reassignment.dropped)
    assert [Delivery(2, "x", message=b"1", deaths=1)] == reassignment.redelivered
    assert [b"1", b"0"] == [delivery.message for delivery in slot.waiting()]
    assert (SlotState.STARTING, 1, {}) == (slot.state, slot.deaths, slot.running)
    dispatcher.begun(slot, 2)
    reassignment = dispatcher.member_died(slot, backs_off=True)
    assert ([], [], [Delivery(2, "x", message=b"1", deaths=2)]) == (
        reassignment.lost,
        reassignment.redelivered,
        reassignment.dropped,
    )
    assert [b"0"] == [delivery.message for delivery in slot.waiting()]
    assert (SlotState.BACKING_OFF, 2) == (slot.state, slot.deaths)


def test_what_others_can_run_moves_to_them() -> None:
    """While a slot backs off, what is for any member moves to others, in order, as far as they have room."""
    dispatcher = make(0, 2, signal_queue=2, message_queue=2)
    first, second = dispatcher.slots()
    second.state = SlotState.ENDED
    for _ in range(2):
        dispatcher.give_message(b"any", 0, "x")
        dispatcher.give_signal(1, MULE, "x")
    second.state = SlotState.READY
    dispatcher.give_message(b"theirs", 2, "x")
    dispatcher.begun(first, 2)
    dispatcher.give_signal(2, parse_target("mule1"), "x")
    reassignment = dispatcher.member_died(first, backs_off=True)
    assert [("mule2", 1), ("mule2", 4)] == [(slot.name, delivery.ticket) for slot, delivery in reassignment.moved]
    assert ([3, 6], [1, 4, 5]) == ([d.ticket for d in first.waiting()], [d.ticket for d in second.waiting()])


def test_no_slot_to_move_to() -> None:
    """When the others back off or have ended, everything waits where it is; so does what killed a member."""
    dispatcher = make(0, 2)
    first, second = dispatcher.slots()
    dispatcher.member_died(second, backs_off=True)
    post(dispatcher, 1), post(dispatcher), post(dispatcher)
    dispatcher.begun(first, 2)
    assert [] == dispatcher.member_died(first, backs_off=True).moved
    assert [2, 1, 3] == [delivery.ticket for delivery in first.waiting()]
    alone = make(1)
    give(alone)
    assert [] == alone.member_died(alone.slots()[0], backs_off=True).moved


def test_what_moves_activates() -> None:
    """A vacant slot gets what waited in one that backs off."""
    dispatcher = pool(1, 2)
    post(dispatcher)
    reassignment = dispatcher.member_died(dispatcher.slots()[0], backs_off=True)
    assert (["mule2"], ["backing off", "starting"]) == (
        names(slot for slot, _ in reassignment.moved),
        states(dispatcher),
    )


def test_what_waits_is_for_the_replacement() -> None:
    """When the holder drains, what it runs ends as before and is no load; what waits is for the replacement."""
    dispatcher = make(0, 1)
    (slot,) = dispatcher.slots()
    for message in (b"1", b"2", b"3"):
        dispatcher.give_message(message, 1, "x")
    dispatcher.begun(slot, 1)
    dispatcher.drain(slot)
    assert (SlotState.STARTING, [2, 3], [1], []) == (
        slot.state,
        [delivery.ticket for delivery in slot.waiting()],
        list(slot.draining),
        list(slot.running),
    )
    assert 2 == slot.load
    dispatcher.ready(slot)
    dispatcher.begun(slot, 2)
    assert b"1" == dispatcher.ended(slot, 1).message
    assert b"2" == dispatcher.ended(slot, 2).message
    assert Reassignment([], [], [], []) == dispatcher.drained_instance_ended(slot)
    assert ([3], {}) == ([delivery.ticket for delivery in slot.waiting()], slot.draining)


def test_what_a_drained_instance_did_not_end() -> None:
    """Is reassigned as after a death: signals are lost, messages wait again, once; no death is counted."""
    dispatcher = make(0, 1)
    (slot,) = dispatcher.slots()
    dispatcher.give_signal(5, MULES, "x")
    dispatcher.give_message(b"1", 1, "x")
    dispatcher.begun(slot, 1)
    dispatcher.begun(slot, 2)
    dispatcher.drain(slot)
    dispatcher.ready(slot)
    reassignment = dispatcher.drained_instance_ended(slot)
    assert ([5], [b"1"], [], 0) == (
        [delivery.signum for delivery in reassignment.lost],
        [delivery.message for delivery in reassignment.redelivered],
        reassignment.dropped,
        slot.deaths,
    )
    assert [1] == [delivery.deaths for delivery in slot.waiting()]
    assert (SlotState.READY, {}, {}) == (slot.state, slot.draining, slot.running)


def test_what_waits_again_activates() -> None:
    """The replacement may have stopped by then."""
    dispatcher = Dispatcher(Headcount(0, 1, min_mules=0), 10, 10)
    (slot,) = dispatcher.slots()
    hired: list[bool] = []
    slot.on_activated = lambda: hired.append(True)
    dispatcher.give_message(b"1", 1, "x")
    dispatcher.ready(slot)
    dispatcher.begun(slot, 1)
    dispatcher.drain(slot)
    dispatcher.ready(slot)
    assert dispatcher.release(slot)
    dispatcher.drained_instance_ended(slot)
    assert ([True, True], SlotState.STARTING) == (hired, slot.state)
