"""Every exception this package raises on purpose. Pure.

A class takes facts and writes its own sentence: what happened, with values; what was allowed; what to do. The second
base is what uWSGI's Python module raises today, so `except ValueError` around `register_signal` or `mule_msg` keeps
working. Conditions that are not errors keep Trio's classes (`trio.BusyResourceError`, `trio.ClosedResourceError`, ...).
"""

from __future__ import annotations

__all__ = [
    "AlarmError",
    "BadSpoolFile",
    "BootError",
    "CacheError",
    "CacheFull",
    "CacheItemTooLarge",
    "CannotWait",
    "ClientDisconnected",
    "ConfigError",
    "Harakiri",
    "JobTooLarge",
    "ListenError",
    "LocalProtocolError",
    "LockError",
    "MessageQueueFull",
    "MuleError",
    "NoSpooler",
    "NodeClosed",
    "NodeError",
    "NodeTimeout",
    "NodeUnreachable",
    "NotServing",
    "ProtocolError",
    "RegistrationError",
    "RemoteProtocolError",
    "RpcError",
    "RpcFailed",
    "RpcNotFound",
    "SignalQueueFull",
    "SignalRefused",
    "SpoolError",
    "SpoolRefused",
    "ThreadAbandoned",
    "ThreadCancelled",
    "UwsgiError",
]


class UwsgiError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(UwsgiError, ValueError):
    """Options that contradict each other or cannot be met. Raised before anything starts.

    Args:
        problem: what is wrong, with the values.
        remedy: what to write instead.
        also: what else is wrong; each is one more line of the text.
    """

    def __init__(self, problem: str, remedy: str, also: tuple[ConfigError, ...] = ()) -> None:
        super().__init__("\n".join([f"{problem}; {remedy}", *map(str, also)]))
        self.problem = problem
        self.remedy = remedy
        self.also = also


class BootError(UwsgiError):
    """The application refused to start: it did not import, or its lifespan startup failed."""


class ListenError(BootError, OSError):
    """An address cannot be listened on. Nothing was started, and what had been opened before it is closed again.

    Args:
        address: the address, as it was written.
        problem, remedy: as in `ConfigError`.
    """

    def __init__(self, address: str, problem: str, remedy: str) -> None:
        super().__init__(f"cannot listen on {address}: {problem}; {remedy}")
        self.address = address


class NotServing(UwsgiError, RuntimeError):
    """A call that needs a running member was made where none is running.

    Args:
        call: the name of the call, as in `uwsgi.set_user_harakiri`.
        remedy: where the call works, or what to use instead.
        where: where it was made.
    """

    def __init__(self, call: str, remedy: str, where: str = "outside of a running worker or mule") -> None:
        super().__init__(f"{call} was called {where}; {remedy}")


class CannotWait(UwsgiError, RuntimeError):
    """Synchronous code asked for something that it would have to wait for, where or in a way in which it cannot."""

    def __init__(self, what: str, remedy: str, who: str = "code on Trio's own thread") -> None:
        super().__init__(f"{what} has to wait, which {who} cannot; {remedy}")


class RegistrationError(UwsgiError, ValueError):
    """A signal, timer, cron or mule declaration that cannot work. Nothing was registered."""


class MuleError(UwsgiError, ValueError):
    """A message for a mule that does not exist, or a call that only a mule may make."""


class SignalQueueFull(UwsgiError):
    """The signal was not raised: a recipient has as many signals waiting as its queue holds.

    Everything accepted before stays queued. uWSGI drops the signal and only logs it.

    Args:
        signum: the signal that was refused.
        recipient: the member whose queue is full.
        size: how many signals that queue holds (`Config.signal_queue`).
    """

    def __init__(self, signum: int, recipient: str, size: int) -> None:
        super().__init__(
            f"signal {signum} was not raised: {recipient} has {size} signals waiting, which is all its queue holds; "
            f"raise it later, or set Config(signal_queue=...) higher than {size}"
        )
        self.signum = signum
        self.recipient = recipient
        self.size = size


class MessageQueueFull(UwsgiError):
    """The message was not queued: the mule has as many messages waiting as its queue holds.

    Args:
        recipient: the mule whose queue is full.
        size: how many messages that queue holds (`Config.message_queue`).
    """

    def __init__(self, recipient: str, size: int) -> None:
        super().__init__(
            f"the message was not queued: {recipient} has {size} messages waiting, which is all its queue holds; "
            f"send it later, add mules, or set Config(message_queue=...) higher than {size}"
        )
        self.recipient = recipient
        self.size = size


class LockError(UwsgiError, ValueError):
    """A user lock that does not exist, that the caller holds already, or that it does not hold. Nothing changed."""


class AlarmError(UwsgiError, ValueError):
    """An alarm that is not configured, or a message that cannot be one. Nothing was raised."""


class CacheError(UwsgiError, ValueError):
    """A cache that does not exist, or an operation on an item that cannot work. The cache is unchanged."""


class CacheFull(CacheError):
    """The item was not stored: the cache holds as many items as it may, and none of them may be dropped for it.

    Args:
        cache: the name of the cache.
        items: how many items it holds (`Cache.items`); 0 where another node did not tell.
        told: what another node said about it.
    """

    def __init__(self, cache: str, items: int, told: str = "") -> None:
        super().__init__(
            told
            or f"cache {cache!r} is full: it holds {items} items; "
            f"delete some, give items an expiry, or set Cache({cache!r}, items=...) higher or lru=True"
        )
        self.cache = cache
        self.items = items


class CacheItemTooLarge(CacheError):
    """The item was not stored: its key or its value is longer than the cache takes.

    Args:
        cache: the name of the cache.
        part: what is too long, `key` or `value`.
        size: its bytes.
        limit: the bytes it may have (`Cache.max_key`, `Cache.max_value`); 0 where another node did not tell.
        told: what another node said about it.
    """

    def __init__(self, cache: str, part: str, size: int, limit: int, told: str = "") -> None:
        super().__init__(
            told
            or f"cache {cache!r} takes a {part} of at most {limit} bytes, and this one has {size}; "
            f"make it shorter, or set Cache({cache!r}, max_{part}={size})"
        )
        self.cache = cache
        self.part = part
        self.size = size
        self.limit = limit


class RpcError(UwsgiError, ValueError):
    """A remote procedure call that was not made, or whose function gave no result."""


class RpcNotFound(RpcError):
    """No function of that name is registered where the call was to run.

    Args:
        name: the function's name.
        node: where it was looked for; `""` is here.
    """

    def __init__(self, name: str, node: str) -> None:
        where = f"on {node}" if node else "here"
        super().__init__(f"no RPC function {name!r} is registered {where}; register it there with @uwsgi.rpc_handler")
        self.name = name
        self.node = node


class RpcFailed(RpcError):
    """The function ran, or could not be run with these arguments, and gave no result.

    Args:
        name: the function's name.
        node: where it ran; `""` is here.
        reason: what went wrong there, in one line.
    """

    def __init__(self, name: str, node: str, reason: str) -> None:
        where = f"on {node}" if node else "here"
        super().__init__(f"RPC function {name!r} gave no result {where}: {reason}")
        self.name = name
        self.node = node
        self.reason = reason


class NodeError(UwsgiError, OSError):
    """Another server did not do what it was asked for, as far as is known. Abstract: one of those below is raised.

    Args:
        node: the server, as the caller wrote it.
        problem: what happened, and what it means for the call.
    """

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(f"node {node}: {problem}")
        self.node = node
        self.problem = problem


class NodeUnreachable(NodeError):
    """No connection could be made: the call was not made."""


class NodeTimeout(NodeError, TimeoutError):
    """The time was up before the answer was whole: the call may have been made or not."""


class NodeClosed(NodeError):
    """The connection ended, or gave bytes of another protocol, before the answer was whole."""


class SpoolRefused(NodeError, ValueError):
    """The other server did not take the job: it has no spooler, or could not store it."""


class SignalRefused(NodeError, ValueError):
    """The other server did not take the signal: its queue is full."""


class SpoolError(UwsgiError, ValueError):
    """A job that was not accepted, not found, or not changed. The spooler's directory is as it was."""


class JobTooLarge(SpoolError):
    """The job was not accepted: its names and values are longer than a spool file takes. A body has no such limit.

    Args:
        what: what is too long, as in `the value of 'image'` or `the names and values`.
        size: its bytes.
        limit: the bytes it may have.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"the job was not accepted: {what} may have {limit} bytes, and here there are {size}; "
            f"give large data as body=, which has no limit"
        )
        self.what = what
        self.size = size
        self.limit = limit


class NoSpooler(SpoolError):
    """The job was not accepted: no spooler has the directory that was asked for, or there is no spooler at all.

    Args:
        asked: the directory, as the caller wrote it; `""` where none was asked for.
        known: the directories that have spoolers (`Config.spooler`).
    """

    def __init__(self, asked: str, known: tuple[str, ...]) -> None:
        if known:
            problem = f"no spooler has the directory {asked!r}; use {' or '.join(map(repr, known))}"
        else:
            problem = "there is no spooler; set Config(spooler='DIR'), on the command line --spooler DIR"
        super().__init__(f"the job was not accepted: {problem}")
        self.asked = asked
        self.known = known


class BadSpoolFile(SpoolError):
    """A file with the name of a job is not a whole one.

    Args:
        problem: what is wrong with its bytes.
        cut_off: it begins well, and ends too early: it may be still being written.
    """

    def __init__(self, problem: str, cut_off: bool = False) -> None:
        super().__init__(f"this is no whole spool file: {problem}")
        self.problem = problem
        self.cut_off = cut_off


class Harakiri(UwsgiError):
    """User code passed its deadline and was ended.

    Args:
        member: who ran it, as in `worker1`.
        what: the unit of work, as in `request GET /slow` or `signal 17 (refresh)`.
        seconds: how long it had run.
        where: the await or the line at which it was stuck.
    """

    def __init__(self, member: str, what: str, seconds: float, where: str) -> None:
        super().__init__(f"harakiri on {member}: {what} was ended after {seconds:.3f} s, stuck at {where}")
        self.member = member
        self.what = what
        self.seconds = seconds
        self.where = where


class ProtocolError(UwsgiError):
    """Somebody broke a wire protocol. Abstract: raise one of the two below.

    Args:
        message: what was wrong with it.
        status_hint: the HTTP status to answer with.
    """

    def __init__(self, message: str, status_hint: int) -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError: the reader must know who is at fault")
        super().__init__(message)
        self.status_hint = status_hint


class LocalProtocolError(ProtocolError):
    """The application, or this package, broke the rules of WSGI, ASGI or HTTP."""

    def __init__(self, message: str, status_hint: int = 500) -> None:
        super().__init__(message, status_hint)


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids, or more than a limit allows."""

    def __init__(self, message: str, status_hint: int = 400) -> None:
        super().__init__(message, status_hint)


class ClientDisconnected(UwsgiError, OSError):
    """The client went away before its request was read or its response was sent."""


class ThreadCancelled(UwsgiError):
    """Synchronous user code was cancelled in its thread, or before it got one, and did not return a result.

    Args:
        what: the unit of work, as in `request GET /slow`.
        where: the line at which the code was.
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} was cancelled in its thread at {where}")
        self.what = what
        self.where = where


class ThreadAbandoned(ThreadCancelled):
    """The thread did not end when it was cancelled: nobody waits for it any more, and it goes on in the background."""
