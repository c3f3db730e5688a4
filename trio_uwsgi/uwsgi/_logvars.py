"""The API of log variables."""

from __future__ import annotations

from trio_uwsgi._http.access_record import LogNotes
from trio_uwsgi._http.exchange import Exchange
from trio_uwsgi.errors import NotServing
from trio_uwsgi.uwsgi._base import as_text, current_unit

__all__ = ["get_logvar", "log_this_request", "set_logvar"]


def set_logvar(name: str, value: str | bytes) -> None:
    """Set a log variable of the current request.

    `%(name)` in `Config.log_format` shows it in the request's line of the access log. Set it before the response is
    complete; a second value replaces the first.

    Args:
        name: any name; those that `Config.log_format` knows, such as `user`, keep their own value in the line.
        value: bytes, or a str that is encoded as UTF-8.
    Raises:
        TypeError: the name or the value is of another type.
        NotServing: not called in a request.
    Checkpoint: never. May be called from any thread that runs code of the request.
    uWSGI: `uwsgi.set_logvar`, where names and values have at most 255 bytes; outside of a request it crashes or sets
        the variable of another one.
    Example:
        uwsgi.set_logvar("customer", "42")  # Config(log_format="%(addr) %(method) %(uri) %(customer)")
    """
    as_text("the name of a log variable", name)
    if not isinstance(value, str | bytes):
        raise TypeError(f"the value of a log variable is a str or bytes, not {value!r}")
    _notes("set_logvar").variables[name] = value if isinstance(value, bytes) else value.encode("utf-8", "replace")


def get_logvar(name: str) -> bytes | None:
    """Return the value of a log variable of the current request.

    Args:
        name: its name.
    Returns:
        The value, or None if it was not set.
    Raises:
        TypeError: the name is not a str.
        NotServing: not called in a request.
    Checkpoint: never. May be called from any thread that runs code of the request.
    uWSGI: `uwsgi.get_logvar`.
    """
    notes = _exchange("get_logvar").request.log_notes
    return None if notes is None else notes.variables.get(as_text("the name of a log variable", name))


def log_this_request() -> None:
    """Write the current request into the access log, although `Config.disable_logging` disables that.

    Raises:
        NotServing: not called in a request.
    Checkpoint: never. May be called from any thread that runs code of the request.
    uWSGI: `uwsgi.log_this_request`.
    """
    exchange = _exchange("log_this_request")
    _notes("log_this_request").asked = True
    exchange.session.service.log_asked_requests()


def _exchange(call: str) -> Exchange:
    remedy = "call it in a request"
    unit = current_unit(call, remedy)
    if not isinstance(unit, Exchange):
        raise NotServing(f"uwsgi.{call}()", remedy, f"in a {unit.kind}")
    return unit


def _notes(call: str) -> LogNotes:
    request = _exchange(call).request
    if request.log_notes is None:
        request.log_notes = LogNotes()
    return request.log_notes
