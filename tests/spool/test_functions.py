"""Functions for jobs: what they are declared with, what they queue, and what they are called with."""

from __future__ import annotations

import datetime
import functools
import math
from typing import Any

import pytest

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._spool.functions import (
    SPOOL_IGNORE,
    SPOOL_OK,
    SPOOL_RETRY,
    Job,
    SpoolFunction,
    SpoolFunctions,
    SpoolMethod,
    verdict,
)
from trio_uwsgi._spool.request import SpoolRequest, make_request, named_vars, request_of
from trio_uwsgi.errors import RegistrationError, SpoolError

pytestmark = pytest.mark.pure


def job(request: SpoolRequest) -> Job:
    """The job that this request becomes."""
    return Job(name="n", path="/s/n", spooler="/s", vars=dict(request.pairs), body=request.body)


def run(function: SpoolFunction, *args: object, **given: object) -> object:
    """Queue a call, and make it."""
    positional, named = function.arguments(job(function.request(args, given)))
    return function.func(*positional, **named)


def declared(registry: Registry, name: str) -> SpoolFunction:
    """A function that was declared."""
    found = registry.spool.find({b"ud_spool_func": name.encode("utf-8", "surrogateescape")})
    assert found is not None
    return found


def test_a_request_has_its_vars_in_order_and_the_special_ones_among_them() -> None:
    """As in uWSGI's files; the body is not a var, and the caller's mapping stays as it is."""
    given = {"b": "größe", "a": b"\xff", "body": bytearray(b"BODY"), "priority": 5, "at": 2_000_000_000, "spooler": "s"}
    before = dict(given)
    expected = SpoolRequest(
        pairs=(
            (b"b", "größe".encode()),
            (b"a", b"\xff"),
            (b"priority", b"5"),
            (b"at", b"2000000000"),
            (b"spooler", b"s"),
        ),
        body=b"BODY",
        spooler="s",
        priority=5,
        at=2_000_000_000.0,
    )
    assert expected == make_request(given)
    assert before == given
    assert SpoolRequest(pairs=()) == make_request({})
    assert SpoolRequest(pairs=()) == make_request({"at": None, "priority": None, "spooler": None, "body": None})


@pytest.mark.parametrize(
    ("at", "seconds", "text"),
    [
        (0, 0.0, b"0"),
        (1.5, 1.5, b"1.500000"),
        (b"12", 12.0, b"12"),
        ("12.25", 12.25, b"12.250000"),
        (datetime.datetime(2033, 5, 18, 3, 33, 20, tzinfo=datetime.UTC), 2_000_000_000.0, b"2000000000"),
    ],
)
def test_times_of_jobs(at: object, seconds: float, text: bytes) -> None:
    """A time is a number, its text, or a datetime."""
    assert SpoolRequest(pairs=((b"at", text),), at=seconds) == make_request({"at": at})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"number": 17}, TypeError, "'number' is int; a job's vars are bytes or str, so write str(...)"),
        ({"body": 17}, TypeError, "'body' is int"),
        ({"at": None, "x": None}, TypeError, "'x' is NoneType"),
        ({"at": True}, TypeError, "at=True is neither seconds since the epoch nor a datetime"),
        ({"at": "soon"}, SpoolError, "at='soon' is not a time"),
        ({"at": -1}, SpoolError, "at=-1 is not a time"),
        ({"at": math.inf}, SpoolError, "at=inf is not a time"),
        ({"at": datetime.datetime.max}, SpoolError, "is not a time"),
        ({"priority": -1}, SpoolError, "priority=-1 is not possible; use a whole number from 0 (first) to 999999"),
        ({"priority": "high"}, SpoolError, "priority='high'"),
        ({"priority": b"12345678"}, SpoolError, "priority=b'12345678'"),
        ({"priority": True}, SpoolError, "priority=True"),
        ({"priority": "²"}, SpoolError, "priority='²'"),
        ({"spooler": 3}, TypeError, "'spooler' is int"),
        ({"x": "\ud800"}, SpoolError, "'\\ud800' cannot be written as UTF-8 (surrogates not allowed); give bytes"),
        ({"\ud800": "x"}, SpoolError, "'\\ud800' cannot be written as UTF-8"),
    ],
)
def test_what_cannot_be_queued_is_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    """With the name, the value and what to write."""
    with pytest.raises(error) as caught:
        make_request(given)
    assert message in str(caught.value)


def test_what_a_caller_gives_is_one_mapping_of_texts() -> None:
    """Names may be bytes; what is given by name goes before what is in the mapping, which stays as it is."""
    given: dict[str | bytes, object] = {b"a": "1", "b": b"2", b"\xff": "3"}
    before = dict(given)
    assert {"a": "1", "b": b"4", "\udcff": "3", "c": 5} == named_vars(given, {"b": b"4", "c": 5})
    assert before == given
    assert {"c": 5} == named_vars(None, {"c": 5})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a=b", "spool() takes a mapping of names to values, not str"),
        ([("a", "b")], "spool() takes a mapping of names to values, not list"),
        ({1: "b"}, "the name 1 is neither bytes nor str"),
    ],
)
def test_what_is_no_mapping_of_names_is_refused(given: Any, message: str) -> None:
    """With what was given."""
    with pytest.raises(TypeError) as caught:
        named_vars(given, {})
    assert message in str(caught.value)


def test_a_job_can_be_queued_again_as_it_is() -> None:
    """The texts that it gives are the bytes they were, also where those are no UTF-8."""
    pairs = ((b"ud_spool_func", b"f"), (b"\xfe", b"\xff"))
    assert pairs == make_request(named_vars(job(SpoolRequest(pairs=pairs)), {})).pairs
    registry = Registry()
    registry.spool_handler(name="f\udcff")(lambda job: None)
    assert "f\udcff" == declared(registry, "f\udcff").name


def test_priorities_may_be_texts() -> None:
    """As uWSGI has them."""
    assert 7 == make_request({"priority": b"7"}).priority == make_request({"priority": "7"}).priority


def test_a_function_is_called_with_its_job() -> None:
    """A mapping of texts, with the bytes beside."""
    registry = Registry()

    @registry.spool_handler
    def note(job: Job) -> Job:
        return job

    got = run(declared(registry, "note"), number="17", body=b"B", raw=b"\xff")
    assert isinstance(got, Job)
    assert {"ud_spool_func": "note", "number": "17", "raw": "\udcff"} == dict(got)
    assert 3 == len(got)
    assert b"\xff" == got.vars[b"raw"]
    assert b"B" == got.body
    assert got.get("nothing") is None
    with pytest.raises(TypeError, match="declare the function with pass_arguments=True"):
        declared(registry, "note").request((1,), {})


@pytest.mark.parametrize("pickle", [False, True])
def test_a_function_is_called_with_arguments(pickle: bool) -> None:
    """What `spool` was given arrives, also under names that are special elsewhere; JSON makes lists of tuples."""
    registry = Registry()

    @registry.spool_handler(pass_arguments=True, pickle=pickle, name="other", max_tries=3)
    def add(*args: object, **kwargs: object) -> object:
        return args, kwargs

    function = declared(registry, "other")
    assert 3 == function.max_tries
    pair = (2, 3) if pickle else [2, 3]
    assert ((1, pair, "ü"), {"body": "b", "key": None}) == run(function, 1, (2, 3), "ü", body="b", key=None, at=5)
    request = function.request((), {"at": 5, "priority": 1, "spooler": "s"})
    assert (5.0, 1, "s") == (request.at, request.priority, request.spooler)


def test_arguments_that_cannot_be_written_are_refused() -> None:
    """What JSON does not have needs pickle, which is a decision."""
    registry = Registry()
    registry.spool_handler(pass_arguments=True, name="f")(lambda: None)
    for bad in (b"bytes", {1, 2}, math.nan):
        with pytest.raises(
            SpoolError, match="declare the function with pickle=True if only trusted programs can write"
        ):
            declared(registry, "f").request((bad,), {})
    registry.spool_handler(pass_arguments=True, pickle=True, name="g")(lambda: None)
    with pytest.raises(SpoolError, match="the arguments of g cannot be pickled"):
        declared(registry, "g").request((lambda: None,), {})


@pytest.mark.parametrize("pickle", [False, True])
@pytest.mark.parametrize("body", [b"", b"7", b"[1]", b"{", b"\xff"])
def test_arguments_of_another_version_are_an_error(pickle: bool, body: bytes) -> None:
    """A job without them, or with something else in their place, says so."""
    registry = Registry()
    registry.spool_handler(pass_arguments=True, pickle=pickle, name="f")(lambda: None)
    with pytest.raises(SpoolError, match=r"has no (json|pickle) arguments for f"):
        declared(registry, "f").arguments(job(SpoolRequest(pairs=(), body=body)))


def test_the_tries_that_a_function_has() -> None:
    """Its own limit if it has one; jobs of functions that are not here have none."""
    registry = Registry()
    registry.spool_handler(name="f", max_tries=1)(lambda job: None)
    registry.spool_handler(name="g")(lambda job: None)
    limits = [registry.spool.max_tries({b"ud_spool_func": name}) for name in (b"f", b"g", b"h")]
    assert [1, None, None] == limits


def test_jobs_without_a_function_go_to_the_catch_all() -> None:
    """So do those whose function is not here; without a catch-all they are nobody's."""
    registry = Registry()
    registry.spool_handler(name="f")(lambda job: None)
    assert registry.spool.find({}) is None
    assert registry.spool.find({b"ud_spool_func": b"g\xff"}) is None
    assert 1 == len(registry.spool)

    @registry.spooler
    def everything(job: Job) -> int:
        return SPOOL_OK

    assert 2 == len(registry.spool)
    assert "2 job functions" in repr(registry)
    for variables in ({}, {b"ud_spool_func": b"g"}):
        found = registry.spool.find(variables)
        assert found is not None
        assert everything is found.func
    assert "f" == declared(registry, "f").name
    with pytest.raises(RegistrationError, match="there is a function for all other jobs already, everything"):
        registry.spooler(everything)


class Slotted:
    """Can be called, and takes no attributes."""

    __slots__ = ("__name__",)

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("func", "options", "message"),
    [
        (3, {}, "must be callable, not 3"),
        (lambda: None, {"name": ""}, "has no name for jobs to refer to; give it one with name="),
        (Slotted(), {}, "has no name"),
        (Slotted(), {"name": "slotted"}, "cannot be given .spool; decorate a function"),
        (lambda: None, {"name": "taken"}, "'taken' is registered already, as test_spool_functions.taken;"),
        (lambda: None, {"name": "f", "max_tries": -1}, "max_tries=-1 is not possible"),
        (lambda: None, {"name": "f", "max_tries": True}, "max_tries=True is not possible"),
        (lambda: None, {"name": "f", "pickle": True}, "add pass_arguments=True"),
    ],
)
def test_functions_that_cannot_be_declared(func: Any, options: dict[str, Any], message: str) -> None:
    """Each is refused with what to do, and the registry is as before."""
    registry = Registry()
    registry.spool_handler(name="taken")(lambda: None)
    with pytest.raises(RegistrationError) as caught:
        registry.spool_handler(**options)(func)
    assert message.replace("test_spool_functions.", "") in str(caught.value).replace(f"{__name__}.", "")
    assert 1 == len(registry.spool)


def test_a_catch_all_is_called() -> None:
    """What cannot be called is refused."""
    with pytest.raises(RegistrationError, match="must be callable, not 3"):
        Registry().spooler(3)  # type: ignore[type-var]


async def test_a_declared_function_queues_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """`f.spool()` hands its request to whoever knows the spooler."""
    asked: list[SpoolRequest] = []

    async def submit(request: SpoolRequest) -> bytes:
        asked.append(request)
        return b"path"

    monkeypatch.setattr(SpoolMethod, "submit", staticmethod(submit), raising=False)
    registry = Registry()

    @registry.spool_handler
    def note(job: Job) -> None: ...

    assert b"path" == await note.spool(number="17")  # type: ignore[attr-defined]  # declared in `uwsgi/_spool.py`
    assert [declared(registry, "note").request((), {"number": "17"})] == asked


def test_synchronous_code_queues_a_declared_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """`f.spool_sync()` hands the same request to whoever may block for it."""
    asked: list[SpoolRequest] = []

    def submit(request: SpoolRequest) -> bytes:
        asked.append(request)
        return b"path"

    monkeypatch.setattr(SpoolMethod, "submit_sync", staticmethod(submit), raising=False)
    registry = Registry()

    @registry.spool_handler
    def note(job: Job) -> None: ...

    assert b"path" == note.spool_sync(number="17")  # type: ignore[attr-defined]  # declared in `uwsgi/_spool.py`
    assert [declared(registry, "note").request((), {"number": "17"})] == asked


@pytest.mark.parametrize(
    ("returned", "variables", "said"),
    [
        (None, {}, SPOOL_OK),
        (-2, {}, SPOOL_OK),
        (-1, {}, SPOOL_RETRY),
        (0, {}, SPOOL_IGNORE),
        (True, {}, None),
        ("x", {}, None),
        (5, {}, None),
        (0, {b"ud_spool_ret": b"-2"}, SPOOL_OK),
        (None, {b"ud_spool_ret": b"-1"}, SPOOL_RETRY),
        (-1, {b"ud_spool_ret": b"x"}, SPOOL_RETRY),
    ],
)
def test_verdicts(returned: object, variables: dict[bytes, bytes], said: int | None) -> None:
    """Nothing is OK, uWSGI's three are what they are, and a job of uwsgidecorators may have its own."""
    assert said == verdict(returned, variables)


def test_variables_by_mapping_and_by_name() -> None:
    """Both ways of naming give one mapping by texts, in which a keyword wins; bytes come back as they were."""
    mixed: dict[str | bytes, object] = {"a": 1, b"b\xff": 2, "c": 3}
    given = named_vars(mixed, {"c": 4})
    assert {"a": 1, "b\udcff": 2, "c": 4} == given
    assert {"x": 1} == named_vars(None, {"x": 1})
    with pytest.raises(TypeError, match="takes a mapping of names to values, not list"):
        named_vars([], {})  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match="the name 5 is neither bytes nor str"):
        named_vars({5: 1}, {})  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({b"n": b"1", "n": b"2"}, "n"),
        ({"priority": "5", b"priority": b"6"}, "priority"),
        ({b"\xff": "1", "\udcff": "2"}, "\udcff"),
        ({"ä": "1", "\udcc3\udca4": "2"}, "\udcc3\udca4"),  # other texts, and the same bytes in the file
    ],
)
def test_two_names_that_become_one_are_refused(given: dict[str | bytes, Any], name: str) -> None:
    """Otherwise one of the two values would be gone without a word."""
    with pytest.raises(SpoolError) as caught:
        make_request(named_vars(given, {}))
    assert f"spool: {name!r} is given twice" in str(caught.value)


def test_a_packet_with_a_name_twice_is_refused() -> None:
    """What another node sends is a list of pairs, of which a mapping would drop one."""
    assert make_request({"a": "1", "priority": "2"}) == request_of(((b"a", b"1"), (b"priority", b"2")))
    with pytest.raises(SpoolError, match="spool: 'b' is given twice"):
        request_of(((b"a", b"1"), (b"b", b"1"), (b"b", b"1")))


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (({1: "a", "1": "b"},), "1"),
        (({None: 1, "null": 2},), "null"),
        (({True: 1, "true": 2},), "true"),
        (({1.5: 1, "1.5": 2},), "1.5"),
        (([{"a": ({"b": {1: "a", "1": "b"}},)}],), "1"),
    ],
)
def test_two_keys_that_become_one_are_refused(arguments: tuple[object, ...], key: str) -> None:
    """JSON makes texts of all keys; with pickle they are what they were."""
    registry = Registry()
    registry.spool_handler(pass_arguments=True, name="f")(lambda value, name=None: None)
    registry.spool_handler(pass_arguments=True, pickle=True, name="g")(lambda value: None)
    for positional, named in ((arguments, {}), ((1,), {"name": arguments[0]})):
        with pytest.raises(SpoolError) as caught:
            declared(registry, "f").request(positional, named)
        assert f"two keys of one mapping become {key!r}" in str(caught.value)
    function = declared(registry, "g")
    assert (arguments, {}) == function.arguments(job(function.request(arguments, {})))
    equal = declared(registry, "f").request(({"1": "a", "2": {"1": "b"}},), {})
    assert b'[[{"1":"a","2":{"1":"b"}}],{}]' == equal.body


def test_the_name_of_the_function_is_said_by_spool() -> None:
    """A var of the same name would have another function run the job."""
    registry = Registry()
    registry.spool_handler(name="f")(lambda job: None)
    with pytest.raises(SpoolError, match=r"f\.spool\(\) sets 'ud_spool_func' itself"):
        declared(registry, "f").request((), {"ud_spool_func": "g"})


def by_name(user: str, priority: int = 0) -> None: ...
def by_name_only(user: str, *, at: int) -> None: ...
def by_both(spooler: str, **kwargs: object) -> None: ...
def by_place(priority: int, at: int, spooler: int, /) -> None: ...
def by_any(*priority: object, **at: object) -> None: ...


@pytest.mark.parametrize(("func", "name"), [(by_name, "priority"), (by_name_only, "at"), (by_both, "spooler")])
@pytest.mark.parametrize("pickle", [False, True])
def test_parameters_that_spool_takes_for_itself(func: Any, name: str, pickle: bool) -> None:
    """A function that has one cannot be declared: it would never be given that argument."""
    registry = Registry()
    with pytest.raises(RegistrationError) as caught:
        registry.spool_handler(pass_arguments=True, pickle=pickle)(func)
    assert (
        f"{func.__name__}() has a parameter {name!r}, but {func.__name__}.spool() takes 'spooler', 'priority', "
        "'at' for itself; give the parameter another name"
    ) == str(caught.value)
    assert not hasattr(func, "spool")


@pytest.mark.parametrize("func", [by_place, by_any, functools.partial(max)])
def test_parameters_that_only_look_like_those_of_spool(func: Any) -> None:
    """What can be given by its place only, or has no signature at all, is nothing that spool takes."""
    Registry().spool_handler(pass_arguments=True, name="f")(func)


def test_a_function_without_arguments_of_its_own_may_call_its_job_anything() -> None:
    """It is called with the job, whatever the vars are called."""
    Registry().spool_handler(lambda at: None)


async def test_an_argument_may_be_called_self(monkeypatch: pytest.MonkeyPatch) -> None:
    """`spool` has no parameters of its own that the function's could meet."""
    asked: list[SpoolRequest] = []

    async def submit(request: SpoolRequest) -> bytes:
        asked.append(request)
        return b"path"

    monkeypatch.setattr(SpoolMethod, "submit", staticmethod(submit), raising=False)
    registry = Registry()

    @registry.spool_handler(pass_arguments=True)
    def note(self: int) -> int:
        return self

    assert b"path" == await note.spool(self=2)  # type: ignore[attr-defined]  # declared in `uwsgi/_spool.py`
    assert ((), {"self": 2}) == declared(registry, "note").arguments(job(asked[0]))


def test_a_dict_of_vars() -> None:
    """A function for jobs takes its vars as a dict, too, as with uwsgidecorators; keyword arguments win."""
    functions = SpoolFunctions()

    def work(job: Job) -> None: ...

    functions.declare(work, name=None, encoding="vars", max_tries=None)
    request = functions.functions["work"].request(({b"a": b"1", "c": "2"},), {"c": "3"})
    assert {b"ud_spool_func": b"work", b"a": b"1", b"c": b"3"} == dict(request.pairs)


def test_the_body_is_no_var() -> None:
    """The error says where it is."""
    job = Job(name="n", path="p", spooler="s", vars={b"a": b"1"}, body=b"x")
    with pytest.raises(KeyError, match=r"write job\.body"):
        job["body"]
    with pytest.raises(KeyError, match="'b'"):
        job["b"]
