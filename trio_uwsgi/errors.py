"""Every exception that this package raises on purpose. Pure.

Each class takes facts as arguments and makes the text from them: what happened, with values; what is allowed; what to
do. The second base class is the one that uWSGI's Python module raises, so `except ValueError` around `register_signal`
or `mule_msg` keeps working. Conditions that are not errors keep Trio's classes (`trio.BusyResourceError`,
`trio.ClosedResourceError`, ...).
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
    "MetricError",
    "MuleError",
    "NoSpooler",
    "NodeClosed",
    "NodeError",
    "NodeTimeout",
    "NodeUnreachable",
    "NotServing",
    "ProtocolError",
    "QueueError",
    "QueueMessageTooLarge",
    "RegistrationError",
    "RemoteProtocolError",
    "RpcError",
    "RpcFailed",
    "RpcNotFound",
    "SharedAreaError",
    "SignalQueueFull",
    "SignalRefused",
    "SpoolError",
    "SpoolRefused",
    "ThreadAbandoned",
    "ThreadCancelled",
    "UwsgiError",
]


class UwsgiError(Exception):
    """Base class of everything that this package raises on purpose."""


class ConfigError(UwsgiError, ValueError):
    """Options are impossible or contradict each other. It is raised before anything starts.

    Args:
        problem: what is wrong, with the values.
        remedy: what to write instead.
        also: further errors of the same configuration; each is one more line of the text.
    """

    def __init__(self, problem: str, remedy: str, also: tuple[ConfigError, ...] = ()) -> None:
        super().__init__("\n".join([f"{problem}; {remedy}", *map(str, also)]))
        self.problem = problem
        self.remedy = remedy
        self.also = also


class BootError(UwsgiError):
    """The application did not start: it cannot be imported, or its lifespan startup failed."""


class ListenError(BootError, OSError):
    """An address cannot be listened on. Nothing was started; sockets that were opened before are closed again.

    Args:
        address: the address as it was given.
        problem, remedy: as in `ConfigError`.
    """

    def __init__(self, address: str, problem: str, remedy: str) -> None:
        super().__init__(f"cannot listen on {address}: {problem}; {remedy}")
        self.address = address


class NotServing(UwsgiError, RuntimeError):
    """A call that needs a running member (a worker, mule or spooler) was made where none runs.

    Args:
        call: the name of the call, as in `uwsgi.set_user_harakiri`.
        remedy: where the call works, or what to use instead.
        where: where the call was made.
    """

    def __init__(self, call: str, remedy: str, where: str = "outside of a running member") -> None:
        super().__init__(f"{call} was called {where}; {remedy}")


class CannotWait(UwsgiError, RuntimeError):
    """Synchronous code made a call that has to wait, in a place where it cannot wait."""

    def __init__(self, what: str, remedy: str, who: str = "code on Trio's own thread") -> None:
        super().__init__(f"{what} has to wait, which {who} cannot; {remedy}")


class RegistrationError(UwsgiError, ValueError):
    """A signal, timer, cron, mule, RPC function, job function or hook cannot work. Nothing was registered."""


class MuleError(UwsgiError, ValueError):
    """A message was sent to a mule or farm that does not exist, or a call was made that only a mule may make."""


class SignalQueueFull(UwsgiError):
    """The signal was not raised: the queue of a recipient is full.

    Signals that were accepted before stay queued. uWSGI drops the signal and only logs it.

    Args:
        signum: the signal that was refused.
        recipient: the member whose queue is full.
        size: the size of that queue (`Config.signal_queue`).
    """

    def __init__(self, signum: int, recipient: str, size: int) -> None:
        super().__init__(
            f"signal {signum} was not raised: {recipient} has {size} signals waiting, and its queue holds no more; "
            f"raise it later, or set Config(signal_queue=...) higher than {size}"
        )
        self.signum = signum
        self.recipient = recipient
        self.size = size


class MessageQueueFull(UwsgiError):
    """The message was not queued: the queue of the mule is full.

    Args:
        recipient: the mule whose queue is full.
        size: the size of that queue (`Config.message_queue`).
    """

    def __init__(self, recipient: str, size: int) -> None:
        super().__init__(
            f"the message was not queued: {recipient} has {size} messages waiting, and its queue holds no more; "
            f"send it later, add mules, or set Config(message_queue=...) higher than {size}"
        )
        self.recipient = recipient
        self.size = size


class LockError(UwsgiError, ValueError):
    """A user lock does not exist, is held by the caller already, or is not held by it. No lock was changed."""


class AlarmError(UwsgiError, ValueError):
    """An alarm is not configured, its message is too long, or the action of an alarm raised it."""


class CacheError(UwsgiError, ValueError):
    """A cache does not exist, or an operation on one of its items cannot work. The cache is unchanged."""


class CacheFull(CacheError):
    """The item was not stored: the cache is full, and its options let it drop no item.

    Args:
        cache: the name of the cache.
        items: how many items it holds (`Cache.items`); 0 if another node did not say.
        told: the text of the error that another node sent.
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
    """The item was not stored: its key or its value is longer than the cache allows.

    Args:
        cache: the name of the cache.
        part: what is too long, `key` or `value`.
        size: its length in bytes.
        limit: the longest possible (`Cache.max_key`, `Cache.max_value`); 0 if another node did not say.
        told: the text of the error that another node sent.
    """

    def __init__(self, cache: str, part: str, size: int, limit: int, told: str = "") -> None:
        super().__init__(
            told
            or f"cache {cache!r} takes a {part} of at most {limit} bytes, but this one has {size}; "
            f"make it shorter, or set Cache({cache!r}, max_{part}={size})"
        )
        self.cache = cache
        self.part = part
        self.size = size
        self.limit = limit


class QueueError(UwsgiError, ValueError):
    """There is no shared queue or no such slot, or the queue cannot take this message. The queue is unchanged."""


class QueueMessageTooLarge(QueueError):
    """The message was not stored: it is longer than a slot of the shared queue.

    Args:
        size: its length in bytes.
        limit: the longest possible, `Config.queue_blocksize`.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"a slot of the shared queue takes a message of at most {limit} bytes, but this one has {size}; make it "
            f"shorter, or set Config(queue_blocksize={size}), on the command line --queue-blocksize {size}"
        )
        self.size = size
        self.limit = limit


class MetricError(UwsgiError, ValueError):
    """A metric does not exist, or its new value is impossible. No metric was changed."""


class SharedAreaError(UwsgiError, ValueError):
    """A shared area does not exist, or does not have these bytes, or a number does not fit. Nothing was changed."""


class RpcError(UwsgiError, ValueError):
    """A remote procedure call was not made, or its function returned no result."""


class RpcNotFound(RpcError):
    """No function of this name is registered on the node that was called. Register it there with `uwsgi.rpc_handler`.

    Args:
        name: the function's name.
        node: the node that was called; `""` is this runtime.
    """

    def __init__(self, name: str, node: str) -> None:
        where = f"on {node}" if node else "here"
        super().__init__(f"no RPC function {name!r} is registered {where}; register it there with @uwsgi.rpc_handler")
        self.name = name
        self.node = node


class RpcFailed(RpcError):
    """The function raised an exception, or cannot be called with these arguments.

    Args:
        name: the function's name.
        node: the node that was called; `""` is this runtime.
        reason: what went wrong there, in one line.
    """

    def __init__(self, name: str, node: str, reason: str) -> None:
        where = f"on {node}" if node else "here"
        super().__init__(f"RPC function {name!r} gave no result {where}: {reason}")
        self.name = name
        self.node = node
        self.reason = reason


class NodeError(UwsgiError, OSError):
    """A call to another server failed, or its result is unknown. One of the subclasses is raised.

    Args:
        node: the server, as the caller named it.
        problem: what happened, and what it means for the call.
    """

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(f"node {node}: {problem}")
        self.node = node
        self.problem = problem


class NodeUnreachable(NodeError):
    """The other server cannot be connected to. The call was not made, so it can be repeated."""


class NodeTimeout(NodeError, TimeoutError):
    """The call timed out before the answer was complete. The other server may or may not have run it."""


class NodeClosed(NodeError):
    """The connection ended, or carried bytes of another protocol, before the answer was complete."""


class SpoolRefused(NodeError, ValueError):
    """The other server did not accept the job: it has no spooler, or cannot store the job."""


class SignalRefused(NodeError, ValueError):
    """The other server did not accept the signal: its queue is full. Raise the signal later."""


class SpoolError(UwsgiError, ValueError):
    """A job was not accepted, not found, or not changed. The spooler's directory is unchanged."""


class JobTooLarge(SpoolError):
    """The job was not accepted: its names and values are longer than a spool file allows. A body has no such limit.

    Args:
        what: what is too long, as in `the value of 'image'` or `the names and values`.
        size: its length in bytes.
        limit: the longest possible.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"the job was not accepted: {what} may have at most {limit} bytes, but has {size}; "
            f"give large data as body=, which has no limit"
        )
        self.what = what
        self.size = size
        self.limit = limit


class NoSpooler(SpoolError):
    """The job was not accepted: no spooler has the directory that was asked for, or there is no spooler at all.

    Args:
        asked: the directory, as the caller named it; `""` if none was named.
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
    """A file with the name of a job is not a complete spool file.

    Args:
        problem: what is wrong with its bytes.
        cut_off: the beginning is valid and the rest is missing: it may still be being written.
    """

    def __init__(self, problem: str, cut_off: bool = False) -> None:
        super().__init__(f"not a complete spool file: {problem}")
        self.problem = problem
        self.cut_off = cut_off


class Harakiri(UwsgiError):
    """User code exceeded its time limit (harakiri) and was cancelled.

    Args:
        member: the member that ran it, as in `worker1`.
        what: the unit of work, as in `request GET /slow` or `signal 17`.
        seconds: how long it had run.
        where: the await or the line at which it was stuck.
    """

    def __init__(self, member: str, what: str, seconds: float, where: str) -> None:
        super().__init__(f"harakiri on {member}: {what} was cancelled after {seconds:.2f} s, stuck at {where}")
        self.member = member
        self.what = what
        self.seconds = seconds
        self.where = where


class ProtocolError(UwsgiError):
    """A violation of a wire protocol. One of the two subclasses is raised.

    Args:
        message: what was wrong.
        status_hint: the HTTP status to answer with.
    """

    def __init__(self, message: str, status_hint: int) -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError: the reader must know which side is wrong")
        super().__init__(message)
        self.status_hint = status_hint


class LocalProtocolError(ProtocolError):
    """The application, or this package, violated WSGI, ASGI or HTTP. The text says which rule."""

    def __init__(self, message: str, status_hint: int = 500) -> None:
        super().__init__(message, status_hint)


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that the protocol forbids, or more than a limit allows."""

    def __init__(self, message: str, status_hint: int = 400) -> None:
        super().__init__(message, status_hint)


class ClientDisconnected(UwsgiError, OSError):
    """The client disconnected before its request was read or its response was sent."""


class ThreadCancelled(UwsgiError):
    """Synchronous code was cancelled in its thread, or while it waited for a thread, and returned no result.

    Args:
        what: the unit of work, as in `request GET /slow`.
        where: the line at which the code was.
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} was cancelled in its thread at {where}")
        self.what = what
        self.where = where


class ThreadAbandoned(ThreadCancelled):
    """Synchronous code did not end when it was cancelled. Its thread was abandoned and runs on in the background."""
