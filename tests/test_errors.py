"""Errors say what happened, with values, and what to do; and are what existing code catches."""

from __future__ import annotations

import pytest

from trio_uwsgi import errors

pytestmark = pytest.mark.pure

SENTENCES = [
    (errors.ConfigError("mules=-1 is too small", "use 0 or more"), "mules=-1 is too small; use 0 or more"),
    (
        errors.ListenError("127.0.0.1:80", "the address is in use", "use another one"),
        "cannot listen on 127.0.0.1:80: the address is in use; use another one",
    ),
    (
        errors.NotServing("uwsgi.signal()", "use Runtime.signal"),
        "uwsgi.signal() was called outside of a running member; use Runtime.signal",
    ),
    (errors.SignalQueueFull(17, "worker1", 100), "signal 17 was not raised: worker1 has 100 signals waiting"),
    (errors.MessageQueueFull("mule2", 5), "the message was not queued: mule2 has 5 messages waiting"),
    (
        errors.Harakiri("worker1", "request GET /slow", 30.0004, "app.py:3 in view (sleep(60))"),
        "harakiri on worker1: request GET /slow was cancelled after 30.00 s, stuck at app.py:3 in view (sleep(60))",
    ),
    (
        errors.JobTooLarge("the value of 'image'", 70_000, 65_535),
        "the job was not accepted: the value of 'image' may have at most 65535 bytes, but has 70000; give",
    ),
    (
        errors.NoSpooler("jobs", ("/a", "/b")),
        "the job was not accepted: no spooler has the directory 'jobs'; use '/a' or '/b'",
    ),
    (errors.NoSpooler("", ()), "the job was not accepted: there is no spooler; set Config(spooler='DIR')"),
    (errors.BadSpoolFile("it is empty", cut_off=True), "not a complete spool file: it is empty"),
    (
        errors.ThreadCancelled("request GET /slow", "app.py:3 in view"),
        "request GET /slow was cancelled in its thread at app.py:3 in view",
    ),
    (errors.LocalProtocolError("the app sent a str"), "the app sent a str"),
    (errors.RemoteProtocolError("too many headers", 431), "too many headers"),
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES, ids=lambda value: type(value).__name__)
def test_errors_write_their_own_sentence(error: errors.UwsgiError, sentence: str) -> None:
    """A class takes facts and says what happened with them."""
    assert str(error).startswith(sentence)


def test_facts_can_be_read() -> None:
    """Programs need not parse the sentence: the facts are attributes."""
    signal = errors.SignalQueueFull(17, "worker1", 100)
    assert (17, "worker1", 100) == (signal.signum, signal.recipient, signal.size)
    message = errors.MessageQueueFull("mule2", 5)
    assert ("mule2", 5) == (message.recipient, message.size)
    harakiri = errors.Harakiri("mule1", "signal 3", 2.5, "here")
    assert ("mule1", "signal 3", 2.5, "here") == (harakiri.member, harakiri.what, harakiri.seconds, harakiri.where)
    thread = errors.ThreadAbandoned("signal 3", "here")
    assert ("signal 3", "here") == (thread.what, thread.where)
    config = errors.ConfigError("a", "b")
    assert ("a", "b") == (config.problem, config.remedy)
    large = errors.JobTooLarge("the value", 70_000, 65_535)
    assert ("the value", 70_000, 65_535) == (large.what, large.size, large.limit)
    nowhere = errors.NoSpooler("a", ("b",))
    assert ("a", ("b",)) == (nowhere.asked, nowhere.known)
    assert ("x", True) == (errors.BadSpoolFile("x", True).problem, errors.BadSpoolFile("x", True).cut_off)
    assert "fd://3" == errors.ListenError("fd://3", "a", "b").address


def test_the_base_of_protocol_errors_is_not_raised() -> None:
    """Who is at fault has to be said; the hint is the HTTP status to answer with."""
    with pytest.raises(TypeError, match="raise LocalProtocolError or RemoteProtocolError"):
        errors.ProtocolError("somebody", 400)
    assert (500, 400) == (errors.LocalProtocolError("x").status_hint, errors.RemoteProtocolError("x").status_hint)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.ListenError, OSError),
        (errors.ListenError, errors.BootError),
        (errors.NotServing, RuntimeError),
        (errors.RegistrationError, ValueError),
        (errors.MuleError, ValueError),
        (errors.ClientDisconnected, OSError),
        (errors.ThreadAbandoned, errors.ThreadCancelled),
    ],
)
def test_code_written_for_uwsgi_catches_them(kind: type[Exception], builtin: type[Exception]) -> None:
    """Errors are also what uWSGI's module, or Python, raises in the same place; and all have one root."""
    assert issubclass(kind, builtin)
    assert issubclass(kind, errors.UwsgiError)


def test_errors_of_nodes_say_which_and_what() -> None:
    """A failed call names the function, the node and the reason; a timeout is Python's too."""
    assert "no RPC function 'f' is registered on n:1;" in str(errors.RpcNotFound("f", "n:1"))
    assert "no RPC function 'f' is registered here;" in str(errors.RpcNotFound("f", ""))
    assert "RPC function 'f' gave no result on n:1: because" == str(errors.RpcFailed("f", "n:1", "because"))
    assert "RPC function 'f' gave no result here: because" == str(errors.RpcFailed("f", "", "because"))
    error = errors.NodeTimeout("n:1", "too late")
    assert isinstance(error, TimeoutError)
    assert ("n:1", "too late", "node n:1: too late") == (error.node, error.problem, str(error))


def test_cannot_wait_says_what_to_do() -> None:
    """The error names what would have to wait, and the remedy."""
    error = errors.CannotWait("the body", "set Config(threads=1)")
    assert "the body has to wait, which code on Trio's own thread cannot; set Config(threads=1)" == str(error)
    assert isinstance(error, RuntimeError)
