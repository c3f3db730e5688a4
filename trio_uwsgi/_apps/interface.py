"""Detects whether an application is WSGI or ASGI, for `interface="auto"`.

The application is inspected and not called. If the result is ambiguous, an error says which option to set.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Literal

from trio_uwsgi.errors import ConfigError


def detect_interface(app: object) -> Literal["asgi", "wsgi"]:
    """Detect the interface of an application from how it can be called.

    Args:
        app: a function, a class, an object with `__call__`, or a partial of one.
    Raises:
        ConfigError: it is not callable, or could be either; set `interface=`.
    """
    if not callable(app):
        raise ConfigError(f"{app!r} is not an application: it cannot be called", "give a WSGI or an ASGI callable")
    inner: object = app
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.isclass(inner):
        # An instance is made per request; it is iterated for WSGI, and awaited for ASGI.
        if hasattr(inner, "__await__") != hasattr(inner, "__iter__"):
            return "asgi" if hasattr(inner, "__await__") else "wsgi"
    elif inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__):
        return "asgi"
    found = _from_signature(app)
    if found is None:
        raise ConfigError(
            f"{app!r} could be a WSGI or an ASGI application",
            "set Config(interface='wsgi') or Config(interface='asgi'), on the command line --interface",
        )
    return found


def interface_of(
    app: object, configured: Literal["auto", "wsgi", "asgi"], lifespan: Literal["auto", "on", "off"]
) -> Literal["asgi", "wsgi"]:
    """The configured interface, or the detected one.

    Raises:
        ConfigError: as `detect_interface`; or lifespan is on for a WSGI application.
    """
    interface = detect_interface(app) if configured == "auto" else configured
    if interface == "wsgi" and lifespan == "on":
        raise ConfigError("lifespan='on' is for ASGI, but the application is WSGI", "leave lifespan out")
    return interface


def _from_signature(app: Callable[..., object]) -> Literal["asgi", "wsgi"] | None:
    """WSGI is called with two arguments and ASGI with three; if both fit, the name of the first one decides."""
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return None
    two, three = _accepts(signature, 2), _accepts(signature, 3)
    if two != three:
        return "asgi" if three else "wsgi"
    first = next(iter(signature.parameters), "")
    if first in ("environ", "env"):
        return "wsgi"
    return "asgi" if first == "scope" else None


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
