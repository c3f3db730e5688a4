"""What an application may declare, what is refused and with which remedy, and how a registry is served again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from trio_uwsgi._runtime.declarations import declared, describe
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.handlers import Signal, check_signum
from trio_uwsgi._signals.targets import Headcount, parse_target
from trio_uwsgi._signals.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi._signals.timer_specs import cron_spec, rule_from_values, rule_values
from trio_uwsgi.config.cron import CronSpec, CrontabSpec
from trio_uwsgi.errors import RegistrationError

pytestmark = pytest.mark.pure

BAD_NUMBERS: list[Any] = [-1, 256, 300, True, False, 1.0, "17", None]


def refresh(signum: int) -> None:
    """A handler."""


def rebuild(signum: int) -> None:
    """Another handler."""


class Slotted:
    """A callable that takes no attribute."""

    __slots__ = ()

    def __call__(self, signum: int) -> None: ...

    def method(self, signum: int) -> None: ...


def forget(declared: object) -> None:
    """Arm or cancel nothing: what a registry is opened with where timers do not matter."""


def opened(registry: Registry, workers: int = 1, mules: int = 0) -> Registry:
    registry._open(Headcount(workers, mules), forget, forget)
    return registry


# ----- signals


def test_registered_signal_can_be_looked_up() -> None:
    """A registered signal is in the table with its number, its parsed target and its handler."""
    registry = Registry()
    signal = registry.register_signal(17, "mule1", refresh)
    assert Signal(17, parse_target("mule1"), refresh) == signal == registry.signals[17]


@pytest.mark.parametrize("signum", BAD_NUMBERS)
def test_number_that_is_no_signal_is_refused(signum: Any) -> None:
    """Only whole numbers from 0 to 255 are signals: there is no modulo 256, and True is not 1."""
    with pytest.raises(RegistrationError, match="use a whole number from 0 to 255") as caught:
        Registry().register_signal(signum, "", refresh)
    assert repr(signum) in str(caught.value)


@pytest.mark.parametrize("signum", [0, 255])
def test_first_and_last_number_are_signals(signum: int) -> None:
    """The limits of the range belong to it."""
    check_signum(signum)


@pytest.mark.parametrize(
    ("target", "handler", "remedy"),
    [
        ("mulez", refresh, "did you mean 'mule'?"),
        ("", None, "the handler of signal 17 must be callable with the signal's number, not None"),
    ],
)
def test_bad_declaration_registers_nothing(target: str, handler: Any, remedy: str) -> None:
    """A refused registration says what would be valid and leaves the table as it was."""
    registry = Registry()
    with pytest.raises(RegistrationError) as caught:
        registry.register_signal(17, target, handler)
    assert remedy in str(caught.value)
    assert {} == registry.signals


def test_second_registration_before_serving_is_refused() -> None:
    """Two handlers for one number are a mistake while the application is imported; the message names the first."""
    registry = Registry()
    registry.register_signal(17, "", refresh)
    with pytest.raises(
        RegistrationError, match="registered already, for refresh; use another number, or @signal_handler"
    ):
        registry.register_signal(17, "", rebuild)
    assert refresh is registry.signals[17].handler


def test_second_registration_names_a_handler_without_a_name() -> None:
    """A handler that has no name is shown by its repr."""
    registry = Registry()
    registry.register_signal(17, "", functools.partial(refresh))
    with pytest.raises(RegistrationError, match=r"for functools\.partial\("):
        registry.register_signal(17, "", rebuild)


def test_second_registration_while_serving_replaces_the_handler() -> None:
    """A running application may give a signal another handler, as in a uWSGI worker."""
    registry = Registry()
    registry.register_signal(17, "", refresh)
    opened(registry).register_signal(17, "workers", rebuild)
    assert Signal(17, parse_target("workers"), rebuild) == registry.signals[17]


def test_target_is_checked_at_once_while_serving() -> None:
    """While a runtime serves, a target that it cannot meet is refused at registration, and the old handler stays."""
    registry = Registry()
    registry.register_signal(17, "", refresh)
    with pytest.raises(RegistrationError, match=r"set Config\(mules=1\)"):
        opened(registry).register_signal(17, "mule1", rebuild)
    assert refresh is registry.signals[17].handler


def test_free_numbers_come_from_the_top() -> None:
    """The highest number that is not registered is taken, out of the way of hand-written ones."""
    registry = Registry()
    assert 255 == registry._free_signum()
    registry.register_signal(255, "", refresh)
    registry.register_signal(253, "", refresh)
    assert 254 == registry._free_signum()
    registry.register_signal(254, "", refresh)
    assert 252 == registry._free_signum()


def test_no_number_is_free_any_more() -> None:
    """The 257th signal is refused with what to do."""
    registry = Registry()
    for _ in range(256):
        registry.signal_handler(functools.partial(refresh))
    with pytest.raises(RegistrationError, match="all 256 signals are registered; let handlers share a number"):
        registry.signal_handler(functools.partial(refresh))
    assert sorted(registry.signals) == list(range(256))


@pytest.mark.parametrize(
    ("decorate", "signum", "target"),
    [
        (lambda registry: registry.signal_handler, 255, ""),
        (lambda registry: registry.signal_handler(), 255, ""),
        (lambda registry: registry.signal_handler(None, target="workers"), 255, "workers"),
        (lambda registry: registry.signal_handler(17), 17, ""),
        (lambda registry: registry.signal_handler(0), 0, ""),
        (lambda registry: registry.signal_handler(17, target="mule1"), 17, "mule1"),
    ],
)
def test_signal_handler_decorates(decorate: Callable[[Registry], Any], signum: int, target: str) -> None:
    """The decorator works bare, with a number and with a target; it returns the function, with its number on it."""
    registry = Registry()

    def handler(signum: int) -> None: ...

    decorated = decorate(registry)(handler)
    assert handler is decorated
    assert signum == vars(decorated)["signum"]
    assert Signal(signum, parse_target(target), handler) == registry.signals[signum]


def test_decorators_stack() -> None:
    """One function may handle several signals; the outermost decorator's number is what can be read from it."""
    registry = Registry()

    @registry.signal_handler(3)
    @registry.signal_handler(2)
    @registry.signal_handler
    async def handler(signum: int) -> None: ...

    assert {255, 2, 3} == set(registry.signals)
    assert 3 == vars(handler)["signum"]


@pytest.mark.parametrize("handler", [Slotted(), Slotted().method, print, int])
def test_handler_that_takes_no_attribute_is_refused(handler: Any) -> None:
    """If the number cannot be set on the handler, nothing is registered, and the error names the plain call."""
    registry = Registry()
    with pytest.raises(RegistrationError, match=r"use register_signal\(17, 'workers', \.\.\.\)"):
        registry.signal_handler(17, target="workers")(handler)
    assert {} == registry.signals


def test_refused_replacement_keeps_the_old_handler() -> None:
    """While serving, a decorator that is refused leaves the handler that it would have replaced."""
    registry = Registry()
    registry.register_signal(17, "", refresh)
    with pytest.raises(RegistrationError):
        opened(registry).signal_handler(17)(Slotted())
    assert refresh is registry.signals[17].handler


# ----- timers


@pytest.mark.parametrize(
    ("decorate", "rule", "late", "overlap"),
    [
        (lambda registry: registry.timer(5), Every(5), "skip", False),
        (lambda registry: registry.timer(0.5, late="queue", overlap=True), Every(0.5), "queue", True),
        (lambda registry: registry.rbtimer(5), Again(5, 0), "skip", False),
        (lambda registry: registry.rbtimer(5, iterations=3, late="queue"), Again(5, 3), "queue", False),
        (lambda registry: registry.cron(0, -1, -1, -1, -1), Cron(CronSpec(0, -1, -1, -1, -1)), "skip", False),
        (lambda registry: registry.cron("0 3 * * MON", overlap=True), Cron(CrontabSpec("0 3 * * MON")), "skip", True),
    ],
)
def test_timer_decorators_declare(decorate: Callable[[Registry], Any], rule: Rule, late: str, overlap: bool) -> None:
    """A timer decorator registers a free signal and declares a timer that raises it."""
    registry = Registry()

    def handler(signum: int) -> None: ...

    assert handler is decorate(registry)(handler)
    (timer,) = registry.timers
    assert (255, rule, late, overlap) == (timer.signum, timer.rule, timer.late, timer.overlap)
    assert Signal(255, parse_target(""), handler) == registry.signals[255]
    assert 255 == vars(handler)["signum"]


@pytest.mark.parametrize(
    "decorate",
    [
        lambda registry: registry.timer(5, target="mules"),
        lambda registry: registry.rbtimer(5, target="mules"),
        lambda registry: registry.cron("* * * * *", target="mules"),
    ],
)
def test_timer_decorators_take_a_target(decorate: Callable[[Registry], Any]) -> None:
    """A timer's signal goes to the target of its decorator."""
    registry = Registry()
    decorate(registry)(lambda signum: None)
    assert parse_target("mules") == registry.signals[255].target


@pytest.mark.parametrize(
    ("decorate", "handler", "remedy"),
    [
        (lambda registry: registry.timer(0), refresh, "give a finite number, 0.001 s or more"),
        (lambda registry: registry.timer(5, late="drop"), refresh, "give late='skip' or late='queue'"),
        (lambda registry: registry.timer(5, target="x"), refresh, "valid targets:"),
        (lambda registry: registry.timer(5), None, "must be callable"),
        (lambda registry: registry.timer(5), Slotted(), "use register_signal(255"),
        (lambda registry: registry.rbtimer(5, iterations=-1), refresh, "0 for no end"),
        (lambda registry: registry.cron(), refresh, "or one crontab string"),
        (lambda registry: registry.cron("* *"), refresh, "give five fields"),
    ],
)
def test_refused_timer_declares_nothing(decorate: Callable[[Registry], Any], handler: Any, remedy: str) -> None:
    """A timer that cannot work leaves neither a signal nor a timer behind."""
    registry = Registry()
    with pytest.raises(RegistrationError) as caught:
        decorate(registry)(handler)
    assert remedy in str(caught.value)
    assert ({}, []) == (registry.signals, registry.timers)


def test_timer_is_cancelled_before_it_is_armed() -> None:
    """A declared timer can be cancelled while no runtime serves, and again."""
    registry = Registry()
    timer = registry._declare(Timer(1, Every(5)))
    assert registry.due(timer) is None
    registry.cancel(timer)
    registry.cancel(timer)
    assert timer.cancelled


def test_timer_is_cancelled_where_it_is_armed() -> None:
    """While a runtime serves, cancelling goes to the runtime; not any more when that has ended."""
    registry = Registry()
    timer = registry._declare(Timer(1, Every(5)))
    asked: list[Timer] = []
    registry._open(Headcount(1, 0), forget, asked.append)
    registry.cancel(timer)
    assert [timer] == asked
    registry._close()
    registry.cancel(timer)
    assert [timer] == asked
    assert timer.cancelled


def test_timers_of_a_registry() -> None:
    """Each kind is declared with its rule and policy; a number that is no signal declares nothing."""
    registry = Registry()
    registry.add_timer(1, 5, late="queue")
    registry.add_rb_timer(2, 5, 3, overlap=True)
    registry.add_cron(3, 0, 3, -1, -1, 1)
    assert [(1, "queue", False), (2, "skip", True), (3, "skip", False)] == [
        (timer.signum, timer.late, timer.overlap) for timer in registry.timers
    ]
    with pytest.raises(RegistrationError):
        registry.add_cron(300, "* * * * *")
    assert 3 == len(registry.timers)


# ----- serving


def test_timers_are_armed_by_the_runtime() -> None:
    """Declared timers are armed when serving starts, others as they are declared; a refused start arms none."""
    registry = Registry()
    early = registry._declare(Timer(1, Every(5)))
    registry.mule(1)(print)
    armed: list[object] = []
    with pytest.raises(RegistrationError):
        registry._open(Headcount(1, 0), armed.append, forget)
    assert [] == armed
    registry._open(Headcount(1, 1), armed.append, forget)
    late = registry._declare(Timer(2, Every(5)))
    assert [early, late] == armed
    registry._close()
    registry._declare(Timer(3, Every(5)))
    assert [early, late] == armed


def test_file_monitors_are_armed_by_the_runtime() -> None:
    """As timers are; a decorator takes a free signal, and refuses a path before it has registered anything."""
    registry = Registry()
    registry.add_file_monitor(1, "/early")
    armed: list[Any] = []
    registry._open(Headcount(1, 0), armed.append, forget)
    handler = registry.filemon("/late", target="worker1")(refresh)
    assert [(1, "/early"), (255, "/late")] == [(monitor.signum, monitor.path) for monitor in armed]
    assert (255, "worker1") == (handler.signum, registry.signals[255].target.text)
    for signum, path in ((300, "/x"), (1, ""), (1, 7), (1, "a\0b")):
        with pytest.raises(RegistrationError):
            registry.add_file_monitor(signum, path)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="a file monitor's path is a str or a path object with a name, not ''"):
        registry.filemon("")(refresh)
    assert (2, {255}) == (len(registry.file_monitors), set(registry.signals))


@pytest.mark.parametrize(
    ("declare", "remedy"),
    [
        (lambda registry: registry.register_signal(1, "mule2", refresh), "set Config(mules=2)"),
        (lambda registry: registry.register_signal(1, "worker9", refresh), "use worker1 to worker2"),
        (
            lambda registry: registry.mule(2)(print),
            "set Config(mules=2), on the command line --mules 2, or use a lower number",
        ),
    ],
)
def test_declarations_that_do_not_fit_are_refused_at_the_start(declare: Callable[[Registry], Any], remedy: str) -> None:
    """Serving starts only when every target and program has its member; a refused start can be tried again."""
    registry = Registry()
    declare(registry)
    with pytest.raises(RegistrationError) as caught:
        opened(registry, workers=2, mules=1)
    assert remedy in str(caught.value)
    assert Headcount(9, 2) == opened(registry, workers=9, mules=2).headcount


def handle(message: bytes) -> None:
    """Takes a message, or a job."""


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (
            lambda registry: registry.mule_message_handler(handle),
            "@mule_message_handler handle would never run: this runtime has no mule; "
            "set Config(mules=1), on the command line --mules 1, or do not declare it",
        ),
        (
            lambda registry: registry.spool_handler(name="mail")(lambda job: None),
            "@spool_handler mail would never run: this runtime has no spooler; "
            "set Config(spooler='jobs'), on the command line --spooler jobs (a directory), or do not declare",
        ),
        (lambda registry: registry.spooler(handle), "@spooler handle would never run: this runtime has no spooler"),
        (lambda registry: registry.farm("a")(handle), "there is no farm 'a'; set Config(farms={'a': [1]}), on the"),
        (lambda registry: registry.signal_handler(1, target="mule")(refresh), "this runtime has no mule"),
        (lambda registry: registry.signal_handler(1, target="spooler")(refresh), "this runtime has no spooler"),
        (lambda registry: registry.timer(1, target="mule1")(refresh), "this runtime has 0 mules"),
        (lambda registry: registry.cron("* * * * *", target="farm1")(refresh), "this runtime has 0"),
        (lambda registry: registry.mule(1)(print), "this runtime has 0"),
    ],
)
def test_what_no_member_would_run_is_refused(declare: Callable[[Registry], Any], told: str) -> None:
    """A declaration that no member would run is refused at the start, also by a master that has its description."""
    registry = Registry()
    declare(registry)
    for served in (registry, declared(describe(registry))):
        with pytest.raises(RegistrationError) as caught:
            opened(served)
        assert told in str(caught.value)
        assert served.headcount is None
        headcount = Headcount(1, 1, 1, farms={"a": [1]})
        served._open(headcount, forget, forget)


@pytest.mark.parametrize(
    "declare",
    [
        lambda registry: registry.mule_message_handler(handle),
        lambda registry: registry.spool_handler(handle),
        lambda registry: registry.spooler(handle),
    ],
)
def test_what_no_member_would_run_is_refused_while_serving(declare: Callable[[Registry], Any]) -> None:
    """A later declaration of it is refused at once, and nothing is kept."""
    registry = opened(Registry())
    before = repr(registry)
    with pytest.raises(RegistrationError, match="would never run"):
        declare(registry)
    assert before == repr(registry)
    with pytest.raises(RegistrationError, match="must be callable"):
        registry.mule_message_handler(None)  # type: ignore[type-var]
    registry = Registry()
    registry._open(Headcount(1, 1, 1), forget, forget)
    declare(registry)
    assert before != repr(registry)


def test_registry_is_served_by_one_runtime_at_a_time() -> None:
    """A second runtime is refused, with the remedy; after the first has ended it may serve the registry."""
    registry = opened(Registry())
    with pytest.raises(RegistrationError, match=r"give each runtime a Registry\(\) of its own"):
        opened(registry, workers=2)
    assert Headcount(1, 0) == registry.headcount
    registry._close()
    assert Headcount(2, 0) == opened(registry, workers=2).headcount


def test_declarations_stay_when_a_runtime_ends() -> None:
    """Closing keeps signals and timers for the next runtime, disarmed; a second registration is an error again."""
    registry = Registry()
    registry.timer(5)(rebuild)
    opened(registry)
    registry.timers[0].due = 12.0
    registry._close()
    assert registry.timers[0].due is None
    assert [255] == list(registry.signals)
    with pytest.raises(RegistrationError, match="registered already"):
        registry.register_signal(255, "", refresh)


# ----- mules


def test_mule_gets_its_program() -> None:
    """The decorator keeps the function as that mule's program and returns it."""
    registry = Registry()

    async def watch() -> None: ...

    assert watch is registry.mule(2)(watch)
    assert {2: watch} == registry.mules.programs


@pytest.mark.parametrize("number", [0, -1, True, "1", 1.0, refresh])
def test_mules_are_numbered_from_one(number: Any) -> None:
    """What is not a number of a mule, and the bare decorator, are refused with how to write it."""
    with pytest.raises(RegistrationError, match=r"is not a mule's number; these start from 1: write @mule\(1\)"):
        Registry().mule(number)


def test_mule_has_one_program() -> None:
    """A second program for a mule is refused, and the first one is named."""
    registry = Registry()
    registry.mule(1)(Slotted)
    with pytest.raises(RegistrationError, match="mule 1 has a program already, Slotted; use another mule"):
        registry.mule(1)(Registry)
    assert {1: Slotted} == registry.mules.programs


def test_program_must_be_callable() -> None:
    """What cannot be called is no program."""
    nothing: Any = None
    with pytest.raises(RegistrationError, match="the program of mule 1 must be callable without arguments, not None"):
        Registry().mule(1)(nothing)


def test_program_comes_too_late_while_serving() -> None:
    """Mules start with the runtime, so a program for a running one is refused."""
    registry = opened(Registry(), mules=1)
    with pytest.raises(RegistrationError, match="declare their programs before serving"):
        registry.mule(1)(Slotted)
    assert {} == registry.mules.programs


def test_message_handlers_are_kept_in_order() -> None:
    """Message handlers are called in the order of their declaration; the decorator returns the function."""
    registry = Registry()

    def first(message: bytes) -> None: ...

    async def second(message: bytes) -> None: ...

    assert first is registry.mule_message_handler(first)
    assert second is registry.mule_message_handler(second)
    assert [first, second] == registry.mules.message_handlers


def test_message_handler_must_be_callable() -> None:
    """What cannot be called is no message handler."""
    nothing: Any = 5
    with pytest.raises(RegistrationError, match="must be callable with the message, not 5"):
        Registry().mule_message_handler(nothing)


def test_registry_shows_what_it_holds() -> None:
    """A registry's repr counts the declarations."""
    registry = Registry()
    registry.timer(5)(rebuild)
    registry.mule(1)(Slotted)
    counts = "1 signals, 1 timers, 1 mule programs, 0 message handlers, 0 farms, 0 RPC functions, 0 job functions"
    assert f"<Registry: {counts}>" == repr(registry)


# ----- rules as values


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Every(5), ["every", 5]),
        (Every(0.25), ["every", 0.25]),
        (Again(5, 3), ["again", 5, 3]),
        (Cron(CronSpec(0, -2, -1, 12, -1)), ["cron", 0, -2, -1, 12, -1]),
        (Cron(CrontabSpec("0 3 * * MON")), ["cron", "0 3 * * MON"]),
    ],
)
def test_rules_survive_as_plain_values(rule: Rule, values: list[Any]) -> None:
    """A rule is taken apart into values that JSON knows, and put together again."""
    assert values == rule_values(rule)
    assert rule == rule_from_values(values)


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["never"],
        ["every"],
        ["every", "5"],
        ["every", 0],
        ["every", True],
        ["every", float("inf")],
        ["again", 5],
        ["again", 5, 1.5],
        ["again", 5, -1],
        ["cron"],
        ["cron", 0, -1, -1, -1],
        ["cron", 0, -1, -1, -1, 9],
        ["cron", 0, -1, -1, -1, None],
        ["cron", "x"],
        ["cron", [0]],
    ],
)
def test_values_that_make_no_rule_are_refused(values: list[Any]) -> None:
    """What comes over a link and makes no valid rule is refused like a bad declaration."""
    with pytest.raises(RegistrationError):
        rule_from_values(values)


@pytest.mark.parametrize(
    "when", [(), (1, 2, 3, 4), (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, "5"), (1.0, 2, 3, 4, 5), ("a", "b")]
)
def test_cron_is_five_integers_or_a_string(when: Any) -> None:
    """Anything else is refused with both forms."""
    with pytest.raises(RegistrationError, match=r"five integers \(minute, .*, week\) or one crontab string, not"):
        cron_spec(*when)


def test_a_bare_rpc_handler_is_refused_with_how_to_write_it() -> None:
    """One that was given no parentheses would be lost."""
    bare: Any = refresh
    with pytest.raises(RegistrationError, match=r"needs the name that callers use: write @rpc_handler\('refresh'\)"):
        Registry().rpc_handler(bare)


@pytest.mark.parametrize("name", [b"f", "", "x" * 256, "\ud800"])
def test_an_rpc_handler_needs_a_name(name: Any) -> None:
    """Others could not be called."""
    registry = Registry()
    with pytest.raises(RegistrationError, match="is not the name of an RPC function"):
        registry.rpc_handler(name)
    with pytest.raises(RegistrationError, match="is not the name of an RPC function"):
        registry.register_rpc(name, lambda: b"")
    assert {} == registry.rpc


def test_what_is_declared_in_a_member_goes_to_its_master() -> None:
    """A member in its own process reports what is declared later; the master knows what was declared before."""
    registry = Registry()
    registry.register_signal(1, "", refresh)
    early = registry._declare(Timer(1, Every(5)))
    told: list[object] = []
    registry._join(Headcount(1, 2), told.append, told.append, lambda timer: told.append(("cancel", timer)))
    assert [] == told
    replaced = registry.register_signal(1, "mule2", rebuild)
    late = registry._declare(Timer(1, Every(5)))
    registry.cancel(early)
    assert [replaced, late, ("cancel", early)] == told
    with pytest.raises(RegistrationError, match=r"set Config\(mules=3\)"):
        registry.register_signal(2, "mule3", refresh)
    assert 3 == len(told)


def test_hooks_are_kept_in_their_order_until_serving() -> None:
    """A hook is any callable, and stays what it was; nothing else is one, and none is taken while members run."""
    registry = Registry()
    assert print is registry.post_fork(print)
    registry.post_fork(repr)  # type: ignore[type-var]  # it is never called here
    assert [print, repr] == registry.post_fork_hooks
    registry.atexit(print)
    assert print is registry.atexit(print)
    assert [print, print] == registry.atexit_hooks
    for declare in (registry.post_fork, registry.atexit):
        with pytest.raises(RegistrationError, match="must be callable without arguments, not 7"):
            declare(7)  # type: ignore[type-var]  # that is the mistake
    registry._open(Headcount(1, 0), lambda timer: None, lambda timer: None)
    for declare in (registry.post_fork, registry.atexit):
        with pytest.raises(RegistrationError, match="members have begun already"):
            declare(print)


def test_a_mule_with_a_script_has_no_other_program() -> None:
    """A program for it is refused at the start; one for the next mule is not."""
    registry = Registry()
    registry.mule(2)(print)
    registry.mules.check(Headcount(workers=1, mules=2, scripts=["brain.py"]))
    with pytest.raises(RegistrationError, match=r"mule that runs the script work\.py; use mule 3 or a higher one"):
        registry.mules.check(Headcount(workers=1, mules=2, scripts=["brain.py", "work.py"]))
