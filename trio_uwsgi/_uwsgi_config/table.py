"""What becomes of each of uWSGI's options here: one table, for serving, `trio-uwsgi check` and the documentation. Pure.

Options of which there are many of one kind, and which no Python deployment needs, are told by the beginning of their
names.
"""

from __future__ import annotations

from collections.abc import Mapping

from trio_uwsgi._uwsgi_config import table_processes, table_python, table_sockets
from trio_uwsgi._uwsgi_config.known_options import NAMES
from trio_uwsgi._uwsgi_config.rows import Row, refused

__all__ = ["FAMILIES", "OPTIONS", "ROWS", "hint_for", "row_of"]

ROWS: tuple[Row, ...] = (*table_sockets.ROWS, *table_processes.ROWS, *table_python.ROWS)

OPTIONS: Mapping[str, Row] = {name: row for row in ROWS for name in row.names}

_AROUND = "run it around the server, as ExecStartPre= of systemd; in members use @uwsgi.post_fork"
_PROXY = "let nginx do it"
_CLUSTER = "let a load balancer know the servers"
# Beginnings of names, and what is said of those without a row.
FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("hook-", "exec-", "call-", "after-request-"), _AROUND),
    **dict.fromkeys(("mount-", "umount-", "wait-", "cgroup-", "setns", "privileged-", "unprivileged-"), _AROUND),
    **dict.fromkeys(("route-", "final-route", "error-route", "response-route", "router"), "let nginx do it"),
    **dict.fromkeys(("fastrouter", "rawrouter", "http-", "httprouter", "fastcgi-", "scgi-", "raw-"), _PROXY),
    **dict.fromkeys(("subscri", "unsubscribe", "multicast", "nagios", "udp", "weight"), _CLUSTER),
    **dict.fromkeys(("emperor", "vassal", "imperial", "early-emperor", "start-unsub"), OPTIONS["emperor"].note),
    **dict.fromkeys(("stats-", "carbon-", "snmp-", "rrdtool", "metric"), OPTIONS["carbon"].note),
    **dict.fromkeys(("cache-", "alarm"), "leave it out"),
    "symcall": "call it in the application",
}


def row_of(name: str) -> Row | None:
    """What becomes of an option; None if uWSGI does not know it either."""
    if name in OPTIONS:
        return OPTIONS[name]
    for beginning, note in FAMILIES.items():
        if name in NAMES and name.startswith(beginning):
            return refused(name, note)
    return refused(name, "it is not supported") if name in NAMES else None


def hint_for(name: str) -> str | None:
    """What to write instead of an option of uWSGI on our command line; None if uWSGI does not know it."""
    row = row_of(name)
    if row is None:
        return None
    if row.verdict == "ignored":
        return f"leave it out, {row.note}"
    if row.verdict == "refused":
        return row.note
    if row.becomes == "APP":
        return "name the application as the first argument: module:callable, or path/to/file.py"
    return f"write {row.becomes}{f', {row.note}' if row.note else ''}"
