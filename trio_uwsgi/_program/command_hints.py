"""Hints for options of other servers, and the text of a `ConfigError` in the words of the command line.

The hints for uWSGI's options are those of the table in `_uwsgi_config/table.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trio_uwsgi._program.command_options import OPTIONS, flag_of

__all__ = ["FOREIGN_OPTIONS", "in_options", "shortened"]

_TLS = "write --https ADDR,CERT,KEY[,CIPHERS[,CLIENT_CA]]"
_STDERR = (
    "write --logto FILE, or leave it out: the log goes to standard error; --disable-logging disables the access log"
)
_PROXY = "write --forwarded-allow SOURCE for the proxies whose headers are believed; those of a unix socket are unix"
_KIND = "leave it out; use --processes N, and --threads N for WSGI; ASGI runs on Trio and anyio, asyncio does not run"
_CONNECTIONS = "write --max-connections N, or --max-concurrent-requests N to answer 503 beyond"
_TIMEOUT = "write --harakiri SEC, the time limit of a request with its response; leave it out if you stream"
_FOLDERS = "leave it out, --reload watches the current directory and the application's"

# Options of gunicorn, uvicorn and hypercorn that neither uWSGI nor trio_uwsgi has.
FOREIGN_OPTIONS = {
    **dict.fromkeys(("b", "bind", "insecure-bind"), "write --http HOST:PORT, or --http /path/of.sock"),
    **dict.fromkeys(("host", "port"), "write --http HOST:PORT"),
    "uds": "write --http /path/of.sock",
    "fd": "write --http fd://N",
    "w": "write --processes N; --workers N alone runs workers as tasks of one process",
    **dict.fromkeys(("k", "worker-class"), _KIND),
    **dict.fromkeys(("t", "timeout", "timeout-worker-healthcheck"), _TIMEOUT),
    **dict.fromkeys(("graceful-timeout", "timeout-graceful-shutdown"), "write --mercy SEC"),
    **dict.fromkeys(("keep-alive", "timeout-keep-alive"), "write --keep-alive-timeout SEC"),
    "read-timeout": "write --header-timeout SEC, and --socket-timeout SEC for bodies",
    **dict.fromkeys(("max-requests-jitter", "limit-max-requests-jitter"), "write --max-requests-delta N"),
    "limit-max-requests": "write --max-requests N, with --processes",
    **dict.fromkeys(("worker-connections", "limit-concurrency"), _CONNECTIONS),
    "backlog": "write --listen N",
    **dict.fromkeys(("limit-request-line", "limit-request-field-size"), "write --max-header-size BYTES"),
    "h11-max-incomplete-event-size": "write --max-header-size BYTES",
    "limit-request-fields": "write --max-headers N",
    **dict.fromkeys(("access-logfile", "error-logfile", "log-file", "access-log", "capture-output"), _STDERR),
    **dict.fromkeys(("access-logformat", "log-config", "use-colors"), "configure Python's logging in the application"),
    "no-access-log": "write --disable-logging",
    "preload": "leave it out: with --processes the application is imported once; --lazy-apps is the opposite",
    **dict.fromkeys(("D", "daemon"), "leave it out, and let systemd or another supervisor run it"),
    "pid": "write --pidfile FILE",
    **dict.fromkeys(("u", "user"), "write --uid USER"),
    **dict.fromkeys(("g", "group"), "write --gid GROUP"),
    "m": "write --umask MODE",
    "e": "write --env NAME=VALUE",
    "env-file": "write --env NAME=VALUE, once for each",
    "app-dir": "write --chdir DIR",
    "c": "write --config FILE.toml, or `config = trio_uwsgi.Config(...)` beside the application",
    "check-config": "write --print-config",
    **dict.fromkeys(("n", "name"), "leave it out; pip install 'trio-uwsgi[procname]' names the processes"),
    **dict.fromkeys(("reload-dir", "reload-include", "reload-exclude", "reload-extra-file", "reload-engine"), _FOLDERS),
    **dict.fromkeys(("loop", "worker-tmp-dir"), "leave it out, everything runs on Trio"),
    "ws": "leave it out, ASGI applications get WebSockets",
    "ws-max-size": "write --max-websocket-message BYTES",
    "ws-ping-interval": "write --websocket-ping-interval SEC",
    "ws-ping-timeout": "write --websocket-ping-timeout SEC",
    **dict.fromkeys(("certfile", "keyfile", "ca-certs", "ciphers", "ssl-certfile", "ssl-keyfile"), _TLS),
    "quic-bind": "leave it out, HTTP/3 is not served",
    "ws-per-message-deflate": "leave it out, or write --websocket-no-deflate",
    "ws-max-queue": "leave it out, 64 KiB of messages wait at most",
    "proxy-allow-from": "write --proxy-protocol SOURCE for the load balancers that speak it",
    **dict.fromkeys(("proxy-headers", "no-proxy-headers", "forwarded-allow-ips"), _PROXY),
    **dict.fromkeys(("server-header", "no-server-header", "date-header", "no-date-header", "header"), "leave it out"),
}

_FIELDS = {option.field: flag_of(option) for option in reversed(OPTIONS)}  # of several, the first
_SWITCHES = {option.field for option in OPTIONS if option.metavar is None}
_ANY = "|".join(sorted(_FIELDS, key=len, reverse=True))
_LONG = "|".join(sorted((name for name in _FIELDS if "_" in name), key=len, reverse=True))

Change = Callable[["re.Match[str]"], str]


def _flag(match: re.Match[str]) -> str:
    return _FIELDS[match[1]]


def _valued(match: re.Match[str]) -> str:
    value = match[2].strip("'")
    return _FIELDS[match[1]] + (f" {value or repr('')}" if match[1] not in _SWITCHES else "")


# Texts that name both the field and the option, because their author does not know how the server was started.
_BOTH_WAYS = re.compile(r"(?:set )?Config\(.*?\), on the command line ")
_CHANGES: tuple[tuple[str, str | Change], ...] = (
    ("set placement='process'", "add --processes N"),
    (r"alarms=\{'([^']*)': '([^']*)'\}", r"--alarm '\1 \2'"),
    ("neither http nor socket names", "neither --http nor --socket names"),
    ("^http and socket both", "--http and --socket both"),
    (rf"\bset (?=({_ANY})=)", "add "),
    (rf"\b({_ANY})=('[^']*'|[^\s;,]+)", _valued),
    (rf"\b({_ANY})=(?=\s)", _flag),
    (rf"^({_ANY})(?=:| names | has | is set|, )", _flag),
    (rf"(?<=leave )({_ANY})(?= out)", _flag),
    (rf"(?<![-\w])({_LONG})\b", _flag),
    (r"\bmath\.inf\b", "inf"),
)


def in_options(text: str) -> str:
    """A line of a `ConfigError`, with options instead of fields of `Config`."""
    text = shortened(text)
    for pattern, change in _CHANGES:
        text = re.sub(pattern, change, text)
    return text


def shortened(text: str) -> str:
    """A line that names both the field and the option, with the option only."""
    return _BOTH_WAYS.sub("add ", text)
