"""What an application declared for the spooler, what it asks to be queued, and a job as its function sees it. Floor 1.

A job is a file of vars and a body (`_wire/spool_file.py`). Which function it is for is one of its vars, under the name
that `uwsgidecorators` uses, so that jobs of the one are run by the other. When it is run and how often is in
`spool.py`; who runs it in `_runtime/spooler.py`.
"""

from __future__ import annotations

import datetime
import inspect
import json
import math
import pickle
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from trio_uwsgi._core.asynchrony import is_async
from trio_uwsgi._core.targets import option
from trio_uwsgi.errors import RegistrationError, SpoolError

__all__ = [
    "SPOOL_IGNORE",
    "SPOOL_OK",
    "SPOOL_RETRY",
    "Job",
    "JobVars",
    "SpoolFunction",
    "SpoolFunctions",
    "SpoolMethod",
    "SpoolRequest",
    "make_request",
    "named_vars",
    "request_of",
    "verdict",
]

Encoding = Literal["vars", "json", "pickle"]
# Names and values as callers have them; a mapping's keys are of one type to a type checker.
JobVars: TypeAlias = Mapping[str, object] | Mapping[bytes, object] | Mapping[str | bytes, object]

# Vars that mean something: uWSGI's own, then those of `uwsgidecorators`.
SPECIAL = ("body", "spooler", "priority", "at")
# What `spool` takes for itself, beside the arguments of a function that has some.
TAKEN = ("spooler", "priority", "at")
FUNCTION = b"ud_spool_func"
VERDICT = b"ud_spool_ret"
ARGS, KWARGS = b"args", b"kwargs"

# What a function answers.
SPOOL_OK = -2
SPOOL_RETRY = -1
SPOOL_IGNORE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRequest:
    """A job to be queued: its vars in their order, its body, and when, where and how urgent it is.

    `at` is in seconds since the epoch; `spooler` is a directory, None the first one. All three are among the vars, too.
    """

    pairs: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    spooler: str | None = None
    priority: int | None = None
    at: float | None = None


def make_request(given: Mapping[str, object]) -> SpoolRequest:
    """Read what a caller wants to be queued: vars, with the special ones among them. `given` is not changed.

    Raises:
        TypeError: a value is neither bytes nor str, or a special one is of the wrong type.
        SpoolError: a special one makes no sense, or two names are one in the file.
    """
    pairs = {}
    for name, value in given.items():
        if name == "body" or (name in SPECIAL and value is None):
            continue
        data = _SPECIAL_TEXTS[name](value) if name in _SPECIAL_TEXTS else _as_bytes(name, value)
        if (key := _encoded(name)) in pairs:
            raise _twice(name)
        pairs[key] = data
    body, priority, at = given.get("body"), given.get("priority"), given.get("at")
    where = given.get("spooler")
    return SpoolRequest(
        pairs=tuple(pairs.items()),
        body=b"" if body is None else _as_bytes("body", body),
        spooler=None if where is None else _as_bytes("spooler", where).decode("utf-8", "surrogateescape"),
        priority=None if priority is None else int(_priority(priority)),
        at=None if at is None else float(_at(at)),
    )


def named_vars(variables: JobVars | None, more: Mapping[str, object]) -> dict[str, object]:
    """One mapping, by texts, of what a caller gave as a mapping and by name.

    Raises:
        TypeError: it is no mapping, or a name is neither bytes nor str.
        SpoolError: the mapping has a name twice, as bytes and as a text. (What is given by name replaces what is in the
            mapping, as everywhere in Python.)
    """
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"spool() takes a mapping of names to values, not {type(variables).__name__}")
    given: dict[str, object] = {}
    for name, value in (variables or {}).items():
        if not isinstance(name, str | bytes):
            raise TypeError(f"spool(): the name {name!r} is neither bytes nor str")
        text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
        if text in given:
            raise _twice(text)
        given[text] = value
    return {**given, **more}


def request_of(pairs: Sequence[tuple[bytes, bytes]]) -> SpoolRequest:
    """Read what another node wants to be queued.

    Raises:
        SpoolError: it makes no sense, or a name is there twice.
    """
    if len(given := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise _twice(next(name for name in given if names.count(name) > 1).decode("utf-8", "replace"))
    return make_request(named_vars(given, {}))


def _twice(name: str) -> SpoolError:
    return SpoolError(f"spool: {name!r} is there twice, perhaps as bytes and as text, which is one name; give it once")


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A mapping as it comes out of JSON, where all keys are texts. Raises ValueError if two have become one."""
    mapping: dict[str, object] = {}
    for name, value in pairs:
        if name in mapping:
            raise ValueError(f"two keys of one mapping become {name!r}")
        mapping[name] = value
    return mapping


def _as_bytes(name: str, value: object) -> bytes:
    if isinstance(value, str):
        return _encoded(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(
        f"spool: {name!r} is {type(value).__name__}; a job's vars are bytes or str, so write str(...), or declare the "
        f"function with pass_arguments=True"
    )


def _encoded(text: str) -> bytes:
    """A text as it is in the file. What a job gave as text goes back to the bytes it was, also where they are no UTF-8.

    Raises:
        SpoolError: it is no text that any bytes could be.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise SpoolError(f"spool: {text[:40]!r} cannot be written as UTF-8 ({error.reason}); give bytes") from None


def _priority(value: object) -> bytes:
    if isinstance(value, bytes | str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 7 else value
    if type(value) is not int or not 0 <= value < 1_000_000:
        raise SpoolError(f"spool: priority={value!r} is not possible; use a whole number from 0 (first) to 999999")
    return b"%d" % value


def _at(value: object) -> bytes:
    try:
        if isinstance(value, datetime.datetime):
            seconds = value.timestamp()
        elif isinstance(value, bytes | str | int | float) and not isinstance(value, bool):
            seconds = float(value)
        else:
            raise TypeError(f"spool: at={value!r} is neither seconds since the epoch nor a datetime")
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < 1e11:
        raise SpoolError(f"spool: at={value!r} is no time; use seconds since the epoch, or a datetime")
    return b"%d" % seconds if seconds == int(seconds) else f"{seconds:.6f}".encode()


_SPECIAL_TEXTS: Mapping[str, Callable[[object], bytes]] = {
    "priority": _priority,
    "at": _at,
    "spooler": lambda value: _as_bytes("spooler", value),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Mapping[str, str]):
    """One job while its function runs: a mapping of its vars, as text.

    `vars` has them as bytes; `body` is what came behind them; `path` is its file and `name` that of the file, which no
    other job has; `spooler` its directory; `tries` counts this run and those before it that failed.
    """

    name: str
    path: str
    spooler: str
    vars: Mapping[bytes, bytes]
    body: bytes = b""
    tries: int = 1

    def __getitem__(self, name: str) -> str:
        return self.vars[name.encode("utf-8", "surrogateescape")].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self.vars)

    def __len__(self) -> int:
        return len(self.vars)


@dataclass(frozen=True, slots=True)
class SpoolFunction:
    """One function for jobs. `encoding` says what it is called with: the job, or arguments that were put into it.

    `max_tries` is its own limit, None the spooler's.
    """

    name: str
    func: Callable[..., object]
    encoding: Encoding
    max_tries: int | None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", is_async(self.func))

    def request(self, args: tuple[object, ...], given: Mapping[str, object]) -> SpoolRequest:
        """The job that calls it.

        Raises:
            TypeError: positional arguments for a function that takes a job, or a value of the wrong type.
            SpoolError: the arguments cannot be written down.
        """
        if self.encoding == "vars":
            if args:
                raise TypeError(
                    f"{self.name}.spool() takes names and values, which the job has as vars; declare the function with "
                    f"pass_arguments=True to give it arguments"
                )
            if FUNCTION.decode() in given:
                raise SpoolError(f"{self.name}.spool() itself says {FUNCTION.decode()!r}; call it something else")
            return make_request({FUNCTION.decode(): self.name, **given})
        special = {name: given[name] for name in TAKEN if name in given}
        kwargs = {name: value for name, value in given.items() if name not in special}
        if self.encoding == "pickle":  # as uwsgidecorators does with pass_arguments
            try:
                packed = {ARGS.decode(): pickle.dumps(args), KWARGS.decode(): pickle.dumps(kwargs)}
            except Exception as error:  # each class has its own
                raise SpoolError(f"the arguments of {self.name} cannot be pickled ({error})") from error
            return make_request({FUNCTION.decode(): self.name, **special, **packed})
        return make_request({FUNCTION.decode(): self.name, **special, "body": self._json(args, kwargs)})

    def _json(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        try:
            text = json.dumps([args, kwargs], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            json.loads(text, object_pairs_hook=_once_each)
            return text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SpoolError(
                f"the arguments of {self.name} cannot be written as JSON ({error}); give numbers, texts, lists and "
                f"mappings, or declare the function with pickle=True if nobody else can write into the spooler"
            ) from error

    def arguments(self, job: Job) -> tuple[tuple[object, ...], Mapping[str, object]]:
        """What to call it with.

        Raises:
            SpoolError: the job does not have what it needs.
            Exception: what unpickling raises.
        """
        if self.encoding == "vars":
            return (job,), {}
        try:
            if self.encoding == "pickle":
                return tuple(pickle.loads(job.vars[ARGS])), dict(pickle.loads(job.vars[KWARGS]))
            args, kwargs = json.loads(job.body)
            return tuple(args), dict(kwargs)
        except (KeyError, TypeError, ValueError) as error:
            raise SpoolError(
                f"job {job.name} has no {self.encoding} arguments for {self.name}, but what another version of it left "
                f"({error!r})"
            ) from error


@dataclass(frozen=True, slots=True)
class SpoolMethod:
    """`f.spool(...)`: queues a call of the function `f`. `submit` is set by the floor that knows who runs here."""

    function: SpoolFunction
    submit: ClassVar[Callable[[SpoolRequest], Awaitable[bytes]]]

    def __call__(self, /, *args: object, **given: object) -> Awaitable[bytes]:
        return SpoolMethod.submit(self.function.request(args, given))


class SpoolFunctions:
    """The functions of one application, and the one for all other jobs."""

    def __init__(self) -> None:
        self.functions: dict[str, SpoolFunction] = {}
        self.catch_all: SpoolFunction | None = None

    def __len__(self) -> int:
        return len(self.functions) + (self.catch_all is not None)

    def check(self, spoolers: int) -> None:
        """Refuse functions that nobody would run.

        Raises:
            RegistrationError: there are some, and no spooler.
        """
        for name in self.functions:
            check_spooler(f"@spool_handler {name}", spoolers)
        if self.catch_all is not None:
            check_spooler(f"@spooler {self.catch_all.name}", spoolers)

    def declare(
        self, func: Callable[..., object], *, name: str | None, encoding: Encoding, max_tries: int | None
    ) -> None:
        """Register a function under its own name or another one, and give it `spool`.

        Raises:
            RegistrationError: it cannot be called or take attributes, the name is taken, `max_tries` is no number, or
                it has a parameter that `spool` would take for its own.
        """
        if not callable(func):
            raise RegistrationError(f"a function for jobs must be callable, not {func!r}")
        called = getattr(func, "__name__", "") if name is None else name
        if not isinstance(called, str) or not called:
            raise RegistrationError(f"{func!r} has no name that a job could call it by; give it one with name=")
        if called in self.functions:
            known = self.functions[called].func
            raise RegistrationError(
                f"jobs for {called!r} are run by {getattr(known, '__module__', '?')}.{called} already; give one of the "
                f"two another name with name="
            )
        if max_tries is not None and (type(max_tries) is not int or max_tries < 0):
            raise RegistrationError(f"max_tries={max_tries!r} is not possible; use 1 or more, or 0 for no limit")
        if encoding != "vars" and (own := _taken_parameters(func)):
            raise RegistrationError(
                f"{called}() has a parameter {own[0]!r}, which {called}.spool() takes for itself, as it does "
                f"{', '.join(map(repr, TAKEN))}; give the parameter another name"
            )
        function = SpoolFunction(called, func, encoding, max_tries)
        try:
            func.spool = SpoolMethod(function)  # type: ignore[attr-defined]  # functions take attributes
        except (AttributeError, TypeError):
            raise RegistrationError(f"{func!r} cannot be given .spool; decorate a function") from None
        self.functions[called] = function

    def declare_catch_all(self, func: Callable[[Job], object]) -> None:
        """Register the function for jobs that name none, or one that is not here.

        Raises:
            RegistrationError: it cannot be called, or there is one.
        """
        if not callable(func):
            raise RegistrationError(f"a function for jobs must be callable, not {func!r}")
        if self.catch_all is not None:
            raise RegistrationError(f"jobs without a function are run by {self.catch_all.name} already; one can")
        self.catch_all = SpoolFunction(getattr(func, "__name__", "spooler"), func, "vars", None)

    def max_tries(self, variables: Mapping[bytes, bytes]) -> int | None:
        """How often a job with these vars is tried, as its function says; None if that says nothing, or is not here."""
        function = self.find(variables)
        return None if function is None else function.max_tries

    def find(self, variables: Mapping[bytes, bytes]) -> SpoolFunction | None:
        """The function for a job with these vars."""
        name = variables.get(FUNCTION)
        if name is not None and (found := self.functions.get(name.decode("utf-8", "surrogateescape"))) is not None:
            return found
        return self.catch_all


def check_spooler(what: str, spoolers: int) -> None:
    """Refuse a function for jobs where there is no spooler.

    Raises:
        RegistrationError: there is none.
    """
    if not spoolers:
        raise RegistrationError(
            f"{what} would never run: this runtime has no spooler; set {option('spooler', 'jobs')}, "
            f"which is a directory, or do not declare it"
        )


def _taken_parameters(func: Callable[..., object]) -> list[str]:
    """Parameters that nobody could give by their names. Whoever takes `**kwargs` names none, and may not mean them."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):  # some of the C library's have none
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters if parameter.name in TAKEN and parameter.kind in named]


def verdict(returned: object, variables: Mapping[bytes, bytes]) -> int | None:
    """What a function said about its job; None if it said nothing that is known. Nothing at all is `SPOOL_OK`.

    Jobs of `uwsgidecorators` may have their verdict in themselves, whatever the function says.
    """
    said = variables.get(VERDICT)
    if said is not None and said in _VERDICTS:
        return _VERDICTS[said]
    if returned is None:
        return SPOOL_OK
    if type(returned) is int and returned in (SPOOL_OK, SPOOL_RETRY, SPOOL_IGNORE):
        return returned
    return None


_VERDICTS = {b"-2": SPOOL_OK, b"-1": SPOOL_RETRY, b"0": SPOOL_IGNORE}
