"""The format of the access log, read: text and variables, as in `%(method) %(uri)`. Pure.

`_http/log_format.py` has the values.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from trio_uwsgi.errors import ConfigError

__all__ = ["KNOWN", "NAMED", "Variable", "parse_log_format"]

# Variables with a value for every request.
KNOWN = {
    *(
        "addr",
        "cl",
        "core",
        "ctime",
        "epoch",
        "ftime",
        "headers",
        "host",
        "hsize",
        "ioerr",
        "ltime",
        "method",
        "micros",
    ),
    *("modifier1", "modifier2", "msecs", "pid", "pktsize", "proto", "referer", "rerr", "rsize", "rss", "rssM", "secs"),
    *(
        "size",
        "status",
        "switches",
        "time",
        "tmicros",
        "tmsecs",
        "uagent",
        "uri",
        "user",
        "vars",
        "vsz",
        "vszM",
        "werr",
    ),
    "wid",
}
# What uWSGI's own line has beside them: the number of the request, of this worker and of all, and the user or nothing.
_OF_THE_LINE = {"req", "total", "user_or_nothing"}
_UWSGI = (
    "[pid: %(pid)|app: 0|req: %(req)/%(total)] %(addr) (%(user_or_nothing)) {%(vars) vars in %(pktsize) bytes} "
    "[%(ctime)] %(method) %(uri) => generated %(rsize) bytes in %(msecs) msecs (%(proto) %(status)) "
    "%(headers) headers in %(hsize) bytes (%(switches) switches on core %(core))"
)

_VARIABLE = re.compile(r"%\(([^()]*)\)")


class Variable(NamedTuple):
    """A variable of the format. `of` is `request` for a known one, `line` for one of uWSGI's own line only, `var` for
    one of the environ, `metric` for a metric, and `log` for a log variable, which the application sets with
    `uwsgi.set_logvar`.
    """

    of: str
    name: str


def parse_log_format(text: str) -> tuple[str | Variable, ...]:
    """The text between variables, and the variables, in their order.

    Args:
        text: a format, or the name of one.
    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(text, str) or not text or "\n" in text:
        raise ConfigError(
            f"log_format={text!r} is not the format of a line", "write for example '%(addr) %(method) %(uri) %(status)'"
        )
    return NAMED.get(text) or _parsed(text, frozenset())


def _parsed(text: str, others: Collection[str]) -> tuple[str | Variable, ...]:
    found: list[str | Variable] = []
    for number, part in enumerate(_VARIABLE.split(text)):
        if number % 2:
            found.append(Variable("line", part) if part in others else _variable(part))
        elif part:
            found.append(part)
    return tuple(found)


def _variable(name: str) -> Variable:
    if not name:
        raise ConfigError(
            "log_format has a variable without a name",
            f"use {', '.join(sorted(KNOWN))}, var.NAME, metric.NAME, or the name of a log variable",
        )
    if name in KNOWN:
        return Variable("request", name)
    kind, _, rest = name.partition(".")
    return Variable(kind, rest) if kind in ("var", "metric") and rest else Variable("log", name)


# Formats with a name, which stands for them in `Config.log_format`.
NAMED = {"uwsgi": _parsed(_UWSGI, _OF_THE_LINE)}
