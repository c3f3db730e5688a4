"""What an application declared for the spooler, what it asks to be queued, and a job as its function sees it. Pure.

A job is a file of vars and a body (`file_format.py`). Which function it is for is one of its vars, under the name
that `uwsgidecorators` uses, so that jobs of the one are run by the other. When it is run and how often is in
`rules.py`; who runs it in `_runtime/spooler.py`.
"""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from trio_uwsgi._signals.targets import option
from trio_uwsgi._spool.request import SpoolRequest, make_request, unique_keys
from trio_uwsgi._units.asynchrony import is_async
from trio_uwsgi.errors import RegistrationError, SpoolError

__all__ = [
    "SPOOL_IGNORE",
    "SPOOL_OK",
    "SPOOL_RETRY",
    "Job",
    "SpoolFunction",
    "SpoolFunctions",
    "SpoolMethod",
    "verdict",
]

Encoding = Literal["vars", "json", "pickle"]
# Vars of `uwsgidecorators`, and what `spool` takes for itself beside the arguments of a function that has some.
RESERVED = ("spooler", "priority", "at")
FUNCTION = b"ud_spool_func"
VERDICT = b"ud_spool_ret"
ARGS, KWARGS = b"args", b"kwargs"

# What a function answers.
SPOOL_OK = -2
SPOOL_RETRY = -1
SPOOL_IGNORE = 0


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
        special = {name: given[name] for name in RESERVED if name in given}
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
            json.loads(text, object_pairs_hook=unique_keys)
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
        if encoding != "vars" and (own := _reserved_parameters(func)):
            raise RegistrationError(
                f"{called}() has a parameter {own[0]!r}, which {called}.spool() takes for itself, as it does "
                f"{', '.join(map(repr, RESERVED))}; give the parameter another name"
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


def _reserved_parameters(func: Callable[..., object]) -> list[str]:
    """Parameters that nobody could give by their names. Whoever takes `**kwargs` names none, and may not mean them."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):  # some of the C library's have none
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters if parameter.name in RESERVED and parameter.kind in named]


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
