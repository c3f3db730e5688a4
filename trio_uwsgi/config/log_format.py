"""The format of the access log, read: text and variables, as in `%(method) %(uri)`. Pure.

`_http/log_format.py` has the values.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from trio_uwsgi.errors import ConfigError

__all__ = ["KNOWN", "Variable", "parse_log_format"]

# Variables with a value for every request.
KNOWN = {
    *("addr", "cl", "core", "ctime", "epoch", "host", "ltime", "method", "micros", "modifier1", "modifier2", "msecs"),
    *("pid", "proto", "referer", "rsize", "secs", "size", "status", "time", "tmicros", "tmsecs", "uagent", "uri"),
    *("user", "wid"),
}
# uWSGI's other ones. They must not be taken for log variables of the application, which would never be set.
_ABSENT = {
    *("ftime", "headers", "hsize", "ioerr", "pktsize", "rerr", "rss", "rssM", "switches", "vars", "vsz", "vszM"),
    "werr",
}

_VARIABLE = re.compile(r"%\(([^()]*)\)")


class Variable(NamedTuple):
    """A variable of the format. `of` is `request` for a known one, `var` for one of the environ, and `log` for a log
    variable, which the application sets with `uwsgi.set_logvar`.
    """

    of: str
    name: str


def parse_log_format(text: str) -> tuple[str | Variable, ...]:
    """The text between variables, and the variables, in their order.

    Raises:
        ConfigError: this is no format, or it has a variable that does not exist here.
    """
    if not isinstance(text, str) or not text or "\n" in text:
        raise ConfigError(
            f"log_format={text!r} is not the format of a line", "write for example '%(addr) %(method) %(uri) %(status)'"
        )
    found: list[str | Variable] = []
    for number, part in enumerate(_VARIABLE.split(text)):
        if number % 2:
            found.append(_variable(part))
        elif part:
            found.append(part)
    return tuple(found)


def _variable(name: str) -> Variable:
    kind, _, rest = name.partition(".")
    if name in _ABSENT or not name or (kind == "metric" and rest):
        raise ConfigError(
            f"log_format has %({name}), which does not exist here",
            f"use {', '.join(sorted(KNOWN))}, var.NAME, or the name of a log variable",
        )
    if name in KNOWN:
        return Variable("request", name)
    return Variable("var", rest) if kind == "var" and rest else Variable("log", name)
