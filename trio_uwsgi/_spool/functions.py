"""The functions that an application declares for jobs, the calls that queue jobs, and the `Job` they get. Pure.

A job is a file of vars and a body (`file_format.py`). One var names its function, under the key that `uwsgidecorators`
uses, so that uWSGI and this package can run each other's jobs. The rules of order and retries are in `rules.py`; jobs
are run in `_runtime/spooler.py`.
"""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from trio_uwsgi._signals.targets import option
from trio_uwsgi._spool.request import SpoolRequest, make_request, named_vars, unique_keys
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
# Keyword arguments that `spool` takes for itself, also where a function is called with arguments.
RESERVED = ("spooler", "priority", "at")
# Vars of `uwsgidecorators`.
FUNCTION = b"ud_spool_func"
VERDICT = b"ud_spool_ret"
ARGS, KWARGS = b"args", b"kwargs"

# What a function returns.
SPOOL_OK = -2
SPOOL_RETRY = -1
SPOOL_IGNORE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Mapping[str, str]):
    """A job while its function runs: a mapping of the job's vars, as text.

    `job["number"]` is the var `number` as a str. Bytes that are not UTF-8 become surrogate escapes. In uWSGI a job is a
    dict whose keys are of two types.

    Attributes:
        name: the unique name of the job's file.
        path: the path of that file.
        spooler: the directory.
        vars: the vars as bytes.
        body: the body; empty if the job has none.
        tries: the number of this attempt, 1 for the first.
    """

    name: str
    path: str
    spooler: str
    vars: Mapping[bytes, bytes]
    body: bytes = b""
    tries: int = 1

    def __getitem__(self, name: str) -> str:
        try:
            return self.vars[name.encode("utf-8", "surrogateescape")].decode("utf-8", "surrogateescape")
        except KeyError:
            if name == "body":
                raise KeyError("body: the body is no var here; write job.body") from None
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self.vars)

    def __len__(self) -> int:
        return len(self.vars)


@dataclass(frozen=True, slots=True)
class SpoolFunction:
    """One function for jobs. `encoding` says what it is called with: the job (`vars`), or arguments from the job.

    `max_tries` is its own limit; None stands for the one of the spooler.
    """

    name: str
    func: Callable[..., object]
    encoding: Encoding
    max_tries: int | None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", is_async(self.func))

    def request(self, args: tuple[object, ...], given: Mapping[str, object]) -> SpoolRequest:
        """The job that calls this function.

        Raises:
            TypeError: positional arguments for a function that takes a job, or a value of the wrong type.
            SpoolError: the arguments cannot be encoded.
        """
        if self.encoding == "vars":
            if len(args) == 1 and isinstance(args[0], Mapping):  # as uwsgidecorators takes them, too
                given = named_vars(args[0], given)
            elif args:
                raise TypeError(
                    f"{self.name}.spool() takes keyword arguments or one dict, which are the job's vars; declare the "
                    f"function with pass_arguments=True to call it with positional arguments"
                )
            if FUNCTION.decode() in given:
                raise SpoolError(f"{self.name}.spool() sets {FUNCTION.decode()!r} itself; use another name")
            return make_request({FUNCTION.decode(): self.name, **given})
        special = {name: given[name] for name in RESERVED if name in given}
        kwargs = {name: value for name, value in given.items() if name not in special}
        if self.encoding == "pickle":  # as uwsgidecorators does with pass_arguments
            try:
                packed = {ARGS.decode(): pickle.dumps(args), KWARGS.decode(): pickle.dumps(kwargs)}
            except Exception as error:  # classes may raise anything when they are pickled
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
                f"the arguments of {self.name} cannot be encoded as JSON ({error}); use numbers, texts, lists and "
                f"mappings, or declare the function with pickle=True if only trusted programs can write into the "
                f"spooler's directory"
            ) from error

    def arguments(self, job: Job) -> tuple[tuple[object, ...], Mapping[str, object]]:
        """The arguments of the call.

        Raises:
            SpoolError: the job does not have them.
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
                f"job {job.name} has no {self.encoding} arguments for {self.name} ({error!r}); another version of the "
                f"application may have queued it"
            ) from error


@dataclass(frozen=True, slots=True)
class SpoolMethod:
    """`f.spool(...)`: queues a call of the function `f`. A higher layer, which knows the spoolers, sets `submit`, and
    `submit_sync` for `f.spool_sync(...)`.
    """

    function: SpoolFunction
    submit: ClassVar[Callable[[SpoolRequest], Awaitable[bytes]]]
    submit_sync: ClassVar[Callable[[SpoolRequest], bytes]]

    def __call__(self, /, *args: object, **given: object) -> Awaitable[bytes]:
        return SpoolMethod.submit(self.function.request(args, given))

    def sync(self, /, *args: object, **given: object) -> bytes:
        """`f.spool_sync(...)`, for synchronous code."""
        return SpoolMethod.submit_sync(self.function.request(args, given))


class SpoolFunctions:
    """The functions of one application, and its catch-all function for all other jobs."""

    def __init__(self) -> None:
        self.functions: dict[str, SpoolFunction] = {}
        self.catch_all: SpoolFunction | None = None

    def __len__(self) -> int:
        return len(self.functions) + (self.catch_all is not None)

    def check(self, spoolers: int) -> None:
        """Refuse functions for jobs if there is no spooler.

        Raises:
            RegistrationError: there are functions, but no spooler.
        """
        for name in self.functions:
            check_spooler(f"@spool_handler {name}", spoolers)
        if self.catch_all is not None:
            check_spooler(f"@spooler {self.catch_all.name}", spoolers)

    def declare(
        self, func: Callable[..., object], *, name: str | None, encoding: Encoding, max_tries: int | None
    ) -> None:
        """Register a function under its own name or another one, and add `spool` and `spool_sync` to it.

        Raises:
            RegistrationError: it cannot be called or have attributes, the name is taken, `max_tries` is not a number,
                or the function has a parameter of a name that `spool` takes for itself.
        """
        if not callable(func):
            raise RegistrationError(f"a function for jobs must be callable, not {func!r}")
        called = getattr(func, "__name__", "") if name is None else name
        if not isinstance(called, str) or not called:
            raise RegistrationError(f"{func!r} has no name for jobs to refer to; give it one with name=")
        if called in self.functions:
            known = self.functions[called].func
            raise RegistrationError(
                f"{called!r} is registered already, as {getattr(known, '__module__', '?')}.{called}; give one of the "
                f"two another name with name="
            )
        if max_tries is not None and (type(max_tries) is not int or max_tries < 0):
            raise RegistrationError(f"max_tries={max_tries!r} is not possible; use 1 or more, or 0 for no limit")
        if encoding != "vars" and (own := _reserved_parameters(func)):
            raise RegistrationError(
                f"{called}() has a parameter {own[0]!r}, but {called}.spool() takes {', '.join(map(repr, RESERVED))} "
                f"for itself; give the parameter another name"
            )
        function = SpoolFunction(called, func, encoding, max_tries)
        try:
            func.spool = method = SpoolMethod(function)  # type: ignore[attr-defined]  # functions take attributes
            func.spool_sync = method.sync  # type: ignore[attr-defined]
        except (AttributeError, TypeError):
            raise RegistrationError(f"{func!r} cannot be given .spool; decorate a function") from None
        self.functions[called] = function

    def declare_catch_all(self, func: Callable[[Job], object]) -> None:
        """Register the function for jobs that name no function, or one that is not registered.

        Raises:
            RegistrationError: it cannot be called, or there is such a function already.
        """
        if not callable(func):
            raise RegistrationError(f"a function for jobs must be callable, not {func!r}")
        if self.catch_all is not None:
            raise RegistrationError(
                f"there is a function for all other jobs already, {self.catch_all.name}; remove one of the two"
            )
        self.catch_all = SpoolFunction(getattr(func, "__name__", "spooler"), func, "vars", None)

    def max_tries(self, variables: Mapping[bytes, bytes]) -> int | None:
        """The most attempts of a job with these vars, if its function sets them; None otherwise."""
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
            f"{what} would never run: this runtime has no spooler; set {option('spooler', 'jobs')} (a directory), "
            f"or do not declare it"
        )


def _reserved_parameters(func: Callable[..., object]) -> list[str]:
    """Parameters that no caller of `spool` could pass by name. `**kwargs` is allowed."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters if parameter.name in RESERVED and parameter.kind in named]


def verdict(returned: object, variables: Mapping[bytes, bytes]) -> int | None:
    """The result of a job, from what its function returned; None for an unknown value. Returning None is `SPOOL_OK`.

    Jobs of `uwsgidecorators` may contain their verdict; it then overrides what the function returned.
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
