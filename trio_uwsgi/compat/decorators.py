"""The module `uwsgidecorators`, under that name: decorators over the module `uwsgi`.

It is imported by the application, where no other `uwsgidecorators` is on the path; see `trio_uwsgi.compat`.

The names, their arguments and the formats of jobs and messages are uWSGI's. It differs where that is broken: automatic
numbers of stacked decorators do not collide, `@harakiri` clears its limit
after an exception, and `@postfork(1)` keeps the name of its function.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any

import uwsgi

_Function = Callable[..., Any]  # Any: the application's own functions

_logger = logging.getLogger("trio_uwsgi")

spooler_functions: dict[str, _Function] = {}
mule_functions: dict[str, _Function] = {}
postfork_chain: list[Callable[[], object]] = []

_FREE = -1  # stands for the number of a free signal
# Keywords of a job with `pass_arguments` that are not arguments of its function.
_SPECIAL = ("message_dict", "spooler", "priority", "at", "body")


# ----- after the fork


def postfork_chain_hook() -> None:
    """What every member calls when it starts: the functions, in the order of their decoration."""
    for part in postfork_chain:
        part()


class postfork:
    """Decorate a function that every member calls when it starts; `@postfork(1)` for worker 1 only."""

    def __init__(self, f: _Function | int) -> None:
        self.wid = 0 if callable(f) else f
        self.f = f if callable(f) else None
        postfork_chain.append(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.f is None:
            self.f = args[0]
            return self
        if self.wid > 0 and self.wid != uwsgi.worker_id():
            return None
        return self.f()


# ----- jobs


def _encoded(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """Bytes as text; those that are no text stay as they are, as a body may be."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def manage_spool_request(vars: Mapping[Any, Any]) -> int:
    """Run a job: find its function, and call it with its arguments or with its vars as text."""
    found = {_text(name): value for name, value in vars.items()}
    if "args" in found:
        args, kwargs = pickle.loads(found["args"]), pickle.loads(found["kwargs"])
        result = spooler_functions[_text(found["ud_spool_func"])](*args, **kwargs)
    else:
        found = {name: _text(value) for name, value in found.items()}
        result = spooler_functions[found["ud_spool_func"]](found)
    said = found.get("ud_spool_ret", result)
    return uwsgi.SPOOL_OK if said is None else int(said)


class _spoolraw:
    """A function for jobs: calling it queues a job, whose end is what the function returns."""

    _answer: int | None = None

    def __init__(self, f: _Function, pass_arguments: bool) -> None:
        if "spooler" not in uwsgi.opt:
            name = type(self).__name__.removeprefix("_")
            raise Exception(f"@{name} needs a spooler; name its directory with --spooler DIR, or Config(spooler=...)")
        self.f = f
        self.pass_arguments = pass_arguments
        self.base_dict: dict[str, Any] = {"ud_spool_func": f.__name__}
        if self._answer is not None:
            self.base_dict["ud_spool_ret"] = str(self._answer)
        spooler_functions[f.__name__] = f
        f.spool = self.__call__  # type: ignore[attr-defined]  # as in uWSGI before 1.9.13

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        job = dict(self.base_dict)
        if self.pass_arguments:
            job.update({name: kwargs.pop(name) for name in _SPECIAL if name in kwargs})
            job.update(args=pickle.dumps(args), kwargs=pickle.dumps(kwargs))
        else:
            job.update(*args[:1], **kwargs)
        return uwsgi.spool({_encoded(name): _encoded(value) for name, value in job.items()})

    def spool(self, *args: Any, **kwargs: Any) -> Any:
        """Queue a job, as calling does."""
        return self(*args, **kwargs)


class _spool(_spoolraw):
    _answer = uwsgi.SPOOL_OK


class _spoolforever(_spoolraw):
    _answer = uwsgi.SPOOL_RETRY


def spool_decorate(
    f: _Function | None = None, pass_arguments: bool = False, _class: type[_spoolraw] = _spoolraw
) -> Any:
    """Decorate a function for jobs with one of the classes above."""
    if f is None:
        return lambda f: _class(f, pass_arguments)
    return _class(f, pass_arguments)


def spoolraw(f: _Function | None = None, pass_arguments: bool = False) -> Any:
    """Decorate a function for jobs that says itself how a job ends."""
    return spool_decorate(f, pass_arguments)


def spool(f: _Function | None = None, pass_arguments: bool = False) -> Any:
    """Decorate a function for jobs that run once, unless it raises."""
    return spool_decorate(f, pass_arguments, _spool)


def spoolforever(f: _Function | None = None, pass_arguments: bool = False) -> Any:
    """Decorate a function for jobs that run again and again."""
    return spool_decorate(f, pass_arguments, _spoolforever)


# ----- mules


class mulefunc:
    """Decorate a function so that a mule runs it: any, or `@mulefunc(1)`, or `@mulefunc("farm")`."""

    def __init__(self, f: _Function | int | str) -> None:
        self.fname: str | None = None
        self.mule: Any = 0
        if callable(f):
            self.fname = f.__name__
            mule_functions[self.fname] = f
        else:
            self.mule = f.encode() if isinstance(f, str) else f

    def real_call(self, *args: Any, **kwargs: Any) -> None:
        """Send the call to the mule."""
        call = {"service": "uwsgi_mulefunc", "func": self.fname, "args": args, "kwargs": kwargs}
        uwsgi.mule_msg(pickle.dumps(call), self.mule)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fname is None:
            self.fname = args[0].__name__
            mule_functions[self.fname] = args[0]
            return self.real_call
        return self.real_call(*args, **kwargs)


def mule_msg_dispatcher(message: bytes) -> Any:
    """Run the call that a message to a mule contains. Another message is logged, and dropped."""
    try:
        call = pickle.loads(message)
    except Exception:  # unpickling may raise anything
        call = None
    if not isinstance(call, dict) or call.get("service") != "uwsgi_mulefunc":
        what = "mule%d: dropped a message of %d bytes, which @mulefunc did not send"
        _logger.warning(what, uwsgi.mule_id(), len(message))
        return None
    return mule_functions[call["func"]](*call["args"], **call["kwargs"])


class mule_brain:
    """The program of one mule, which runs once."""

    def __init__(self, f: _Function, num: int) -> None:
        self.f = f
        self.num = num

    def __call__(self) -> None:
        if uwsgi.mule_id() == self.num:
            self.f()


class mule_brainloop(mule_brain):
    """The program of one mule, which runs again and again."""

    def __call__(self) -> None:
        while uwsgi.mule_id() == self.num:
            self.f()


class mulemsg_loop(mule_brain):
    """The program of one mule that handles its messages."""

    def __call__(self) -> None:
        while uwsgi.mule_id() == self.num:
            message = uwsgi.mule_get_msg()
            if message:
                self.f(message)


class farm_loop:
    """The program of the mules of a farm, which handles the farm's messages."""

    def __init__(self, f: Callable[[bytes], object], farm: str | None) -> None:
        self.f = f
        self.farm = farm

    def __call__(self) -> None:
        while uwsgi.mule_id() and uwsgi.in_farm(self.farm or ""):
            message = uwsgi.farm_get_msg()
            if message:
                self.f(message)


class mule:
    """Decorate the program of a mule."""

    _brain: type[mule_brain] = mule_brain

    def __init__(self, num: int) -> None:
        self.num = num

    def __call__(self, f: _Function) -> None:
        postfork_chain.append(self._brain(f, self.num))


class muleloop(mule):
    """Decorate the program of a mule that is to run again and again."""

    _brain = mule_brainloop


class mulemsg(mule):
    """Decorate a function for the messages of a mule."""

    _brain = mulemsg_loop


class farm:
    """Decorate a function for the messages of a farm."""

    def __init__(self, name: str | None = None, **kwargs: object) -> None:
        self.name = name

    def __call__(self, f: Callable[[bytes], object]) -> None:
        postfork_chain.append(farm_loop(f, self.name))


# ----- signals


def get_free_signal() -> int:
    """The lowest number of a signal that has no handler."""
    for signum in range(256):
        if not uwsgi.signal_registered(signum):
            return signum
    raise Exception("all 256 signals have a handler; register several functions as one handler")


class signal:
    """Decorate the handler of a signal."""

    def __init__(self, num: int, *, target: str = "", **kwargs: object) -> None:
        self.num = num
        self.target = target

    def __call__(self, f: _Function) -> _Function:
        uwsgi.register_signal(self.num, self.target, f)
        return f


class _Timed:
    """Decorates the handler of a signal that a timer raises. Without a number it takes one when it is applied, and not
    before, so that stacked decorators take different ones.
    """

    num: int
    _add: Callable[[], None]

    def __init__(self, signum: int, target: str) -> None:
        self.target = target
        if signum != _FREE:
            self.num = signum

    def __call__(self, f: _Function) -> _Function:
        if not hasattr(self, "num"):
            self.num = get_free_signal()
        uwsgi.register_signal(self.num, self.target, f)
        self._add()
        return f


class timer(_Timed):
    """Decorate a function to run every so many seconds."""

    def __init__(self, secs: int, *, signum: int = _FREE, target: str = "", **kwargs: object) -> None:
        super().__init__(signum, target)
        self.secs = secs

    def _add(self) -> None:
        uwsgi.add_timer(self.num, self.secs)


class mstimer(_Timed):
    """Decorate a function to run every so many milliseconds."""

    def __init__(self, msecs: int, *, signum: int = _FREE, target: str = "", **kwargs: object) -> None:
        super().__init__(signum, target)
        self.msecs = msecs

    def _add(self) -> None:
        uwsgi.add_ms_timer(self.num, self.msecs)


class rbtimer(timer):
    """Decorate a function to run every so many seconds."""

    def _add(self) -> None:
        uwsgi.add_rb_timer(self.num, self.secs)


class cron(_Timed):
    """Decorate a function to run at minutes of the wall clock."""

    def __init__(self, minute: int, hour: int, day: int, month: int, dayweek: int, **kwargs: Any) -> None:
        super().__init__(kwargs.get("signum", _FREE), kwargs.get("target", ""))
        self.minute, self.hour, self.day, self.month, self.dayweek = minute, hour, day, month, dayweek

    def _add(self) -> None:
        uwsgi.add_cron(self.num, self.minute, self.hour, self.day, self.month, self.dayweek)


class filemon(_Timed):
    """Decorate a function to run when a file changes."""

    def __init__(self, fsobj: str, *, signum: int = _FREE, target: str = "", **kwargs: object) -> None:
        super().__init__(signum, target)
        self.fsobj = fsobj

    def _add(self) -> None:
        uwsgi.add_file_monitor(self.num, self.fsobj)


# ----- others


class rpc:
    """Decorate a function for remote procedure calls."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, f: _Function) -> _Function:
        uwsgi.register_rpc(self.name, f)
        return f


class erlang(rpc):
    """Decorate a process of Erlang, which needs a plugin of uWSGI."""

    def __call__(self, f: _Function) -> _Function:
        uwsgi.erlang_register_process(self.name, f)
        return f


class lock:
    """Decorate a function that holds user lock 0 while it runs. In a spooler it is not called, as in uWSGI."""

    def __init__(self, f: _Function) -> None:
        self.f = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if uwsgi.i_am_the_spooler():
            return None
        uwsgi.lock()
        try:
            return self.f(*args, **kwargs)
        finally:
            uwsgi.unlock()


class thread:
    """Decorate a function so that a call starts it in a thread, and returns the function."""

    def __init__(self, f: _Function) -> None:
        self.f = f

    def __call__(self, *args: Any) -> _Function:
        threading.Thread(target=self.f, args=args, daemon=True).start()
        return self.f


class harakiri:
    """Decorate a function with a time limit in seconds."""

    def __init__(self, seconds: int) -> None:
        self.s = seconds
        self.f: _Function

    def real_call(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function within the limit."""
        uwsgi.set_user_harakiri(self.s)
        try:
            return self.f(*args, **kwargs)
        finally:
            uwsgi.set_user_harakiri(0)

    def __call__(self, f: _Function) -> _Function:
        self.f = f
        return self.real_call


uwsgi.spooler = manage_spool_request
uwsgi.post_fork_hook = postfork_chain_hook
uwsgi.mule_msg_hook = mule_msg_dispatcher
