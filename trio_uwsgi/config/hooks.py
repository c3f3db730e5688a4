"""Hooks: what is done at the points of a server's start and end. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import NoReturn

from trio_uwsgi.errors import ConfigError

__all__ = ["ACTIONS", "POINTS", "Hook"]

# In the order in which they are reached.
POINTS = ("asap", "as-root", "as-user", "pre-app", "post-app", "master-start", "as-user-atexit")
# The actions, each with whether there is a second argument. uWSGI has these names, and more.
ACTIONS = {
    **dict.fromkeys(("exec", "safeexec", "print", "create", "unlink", "mkdir", "chdir", "putenv"), False),
    **dict.fromkeys(("write", "append", "chmod"), True),
}
_SAME = {"cd": "chdir", "log": "print"}
# Of uWSGI's actions, those that are not here, and why.
_PYTHON = "write a function with @uwsgi.post_fork or @uwsgi.atexit in the application"
_SYSTEM = "let systemd do it, in the unit of the server"
_NOT_HERE = {
    **dict.fromkeys(("call", "callret", "callint", "callintret", "rpc", "rpcret", "rpcraise", "pythonexec"), _PYTHON),
    **dict.fromkeys(("mount", "umount", "umount2", "hostname", "ifup", "ifdown", "chroot", "pivot_root"), _SYSTEM),
    **dict.fromkeys(("chown", "chown2", "setuid", "setgid", "wait_for_fs", "wait_for_socket"), _SYSTEM),
    **dict.fromkeys(("alarm", "unix_signal", "writefifo", "spinningfifo", "exit"), "write exec: with a shell command"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """An action at a point: its kind, its argument, and for some a second one."""

    point: str
    kind: str
    argument: str
    second: str = ""

    @classmethod
    def parse(cls, text: str) -> Hook:
        """Read `"POINT ACTION:ARGUMENT"`.

        Raises:
            ConfigError: there is no such point or action, or an argument is missing.
        """
        point, _, action = text.strip().partition(" ")
        kind, colon, argument = action.strip().partition(":")
        if point not in POINTS:
            _refuse(f"hook={text!r}: there is no point {point!r}", point, POINTS)
        kind = _SAME.get(kind, kind)
        if kind in _NOT_HERE:
            raise ConfigError(f"hook={text!r}: the action {kind!r} does not exist here", _NOT_HERE[kind])
        if kind not in ACTIONS or not colon:
            _refuse(f"hook={text!r}: there is no action {kind!r}", kind, tuple(ACTIONS))
        second = ""
        if ACTIONS[kind]:
            argument, _, second = argument.partition(" ")
        if not argument or (kind == "putenv" and "=" not in argument):
            raise ConfigError(f"hook={text!r} lacks an argument", "write 'pre-app exec:python manage.py migrate'")
        if kind == "chmod" and not re.fullmatch("[0-7]{3,4}", second):
            raise ConfigError(f"hook={text!r} lacks a mode", "write chmod:FILE 660")
        return cls(point, kind, argument, second)


def _refuse(problem: str, given: str, possible: tuple[str, ...]) -> NoReturn:
    close = difflib.get_close_matches(given, possible, n=1)
    raise ConfigError(problem, f"did you mean {close[0]!r}?" if close else f"use {', '.join(possible)}")
