"""Every exception this package raises on purpose. Floor 0.

A class takes facts and writes its own sentence: what happened, with values; what was allowed; what to do. The second
base is what uWSGI's Python module raises today, so `except ValueError` around `register_signal` or `mule_msg` keeps
working. Conditions that are not errors keep Trio's classes (`trio.BusyResourceError`, `trio.ClosedResourceError`, ...).
"""

from __future__ import annotations

__all__ = [
    "BootError",
    "ClientDisconnected",
    "ConfigError",
    "Harakiri",
    "ListenError",
    "LocalProtocolError",
    "MessageQueueFull",
    "MuleError",
    "NotServing",
    "ProtocolError",
    "RegistrationError",
    "RemoteProtocolError",
    "SignalQueueFull",
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
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class BootError(UwsgiError):
    """The application refused to start: it did not import, or its lifespan startup failed."""


class ListenError(BootError, OSError):
    """An address cannot be listened on. Nothing was started, and what had been opened before it is closed again.

    Args:
        address: the address, as it was written.
        problem: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, address: str, problem: str, remedy: str) -> None:
        super().__init__(f"cannot listen on {address}: {problem}; {remedy}")
        self.address = address


class NotServing(UwsgiError, RuntimeError):
    """A call that needs a running member was made where none is running.

    Args:
        call: the name of the call, as in `uwsgi.set_user_harakiri`.
        remedy: where the call works, or what to use instead.
    """

    def __init__(self, call: str, remedy: str) -> None:
        super().__init__(f"{call} was called outside of a running worker or mule; {remedy}")


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
