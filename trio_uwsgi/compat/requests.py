"""What the module `uwsgi` does with the current request: its variables in the access log."""

from __future__ import annotations

from trio_uwsgi import uwsgi as native

__all__ = ["get_logvar", "log_this_request", "set_logvar"]


def set_logvar(key: str | bytes, val: str | bytes, /) -> None:
    """Set a variable of this request, which `Config.log_format` shows.

    uWSGI: names and values have any length. Outside of a request it raises `NotServing`; there it crashes.
    """
    native.set_logvar(_text(key), val)


def get_logvar(key: str | bytes, /) -> bytes | None:
    """Get a variable of this request; None if it was not set.

    uWSGI: as `set_logvar`.
    """
    return native.get_logvar(_text(key))


def log_this_request() -> None:
    """Write this request into the access log, also where that is disabled.

    uWSGI: as `set_logvar`.
    """
    native.log_this_request()


def _text(key: str | bytes) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key
