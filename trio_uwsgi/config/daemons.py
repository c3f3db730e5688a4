"""Programs that run beside the server. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import re
import signal
from collections.abc import Iterable, Sequence

from trio_uwsgi.config.process import check_id, check_path
from trio_uwsgi.errors import ConfigError

__all__ = ["Daemon", "daemons", "key_values"]

# Keys of uWSGI's option `attach-daemon2`, and what they are called here.
_KEYS = {"cmd": "command", "exec": "command", "stop_signal": "stopsignal", "reload_signal": "reloadsignal"}
# Those without which nothing is lost: the end of a process is noticed at once, and whether the program goes into the
# background by itself is seen.
_UNNEEDED = ("freq", "daemonize", "daemon", "max_throttle", "maxthrottle")
_NOT_HERE = {
    "ns_pid": "there are no namespaces",
    "stdin": "the standard input is nobody's",
    "honour_stdin": "the standard input is nobody's",
    "legion": "there are no legions",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Daemon:
    r"""A program that runs beside the server, for `Config.attach_daemon`.

    It is started when the server serves, and again when it ends, after pauses of 1 to 60 seconds if that is soon. It
    has a process group of its own, which is ended with the server, also if that is killed: SIGKILL comes 3 seconds
    after `stopsignal`. A reload ends it and starts it again, once the members with the new code serve.

    With a `pidfile` the program outlives the server, as with uWSGI's `smart-attach-daemon`: if the process in that file
    runs, it is left alone, by a stop, a reload and the next start; if not, the command is run, which writes the file.

    Args:
        command: a shell command. Without `pidfile` it stays in the foreground.
        pidfile: a file into which the program writes its pid.
        control: stop the server when the program ends, instead of starting it again.
        touch: files; when one of them is touched the program is ended, and started again.
        stopsignal: the number of the posix signal that asks it to end.
        reloadsignal: the same in a reload; 0 is `stopsignal`.
        uid: run it as this user, a name or a number; only if the server is root, and remains root.
        gid: run it with this group; by default the user's own.
    Raises:
        ConfigError: a value is impossible.
    """

    command: str
    pidfile: str | None = dataclasses.field(default=None, kw_only=True)
    control: bool = dataclasses.field(default=False, kw_only=True)
    touch: str | Sequence[str] = dataclasses.field(default=(), kw_only=True)
    stopsignal: int = dataclasses.field(default=int(signal.SIGTERM), kw_only=True)
    reloadsignal: int = dataclasses.field(default=0, kw_only=True)
    uid: str | int | None = dataclasses.field(default=None, kw_only=True)
    gid: str | int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.command, str) or not self.command.strip() or "\0" in self.command:
            raise ConfigError(
                f"attach_daemon={self.command!r} is not a command", "write attach_daemon='celery -A shop worker'"
            )
        files = (self.touch,) if isinstance(self.touch, str) else self.touch
        if not isinstance(files, list | tuple):
            raise ConfigError(f"touch={files!r} is not a path", "write touch='restart.txt', or a list of such paths")
        object.__setattr__(self, "touch", tuple(files))
        for path in (*files, self.pidfile):
            check_path("touch" if path in files else "pidfile", path)
        for name in ("uid", "gid"):
            check_id(name, getattr(self, name))
        for name in ("stopsignal", "reloadsignal"):
            number = getattr(self, name)
            if number not in (*signal.Signals, 0)[: len(signal.Signals) + (name == "reloadsignal")]:
                raise ConfigError(
                    f"{name}={number!r} is not a posix signal", f"write a number, as in {name}={signal.SIGINT.value}"
                )
        if type(self.control) is not bool:
            raise ConfigError(f"control={self.control!r} is neither True nor False", "write True, or leave it out")

    def __str__(self) -> str:
        return self.command

    @classmethod
    def parse(cls, text: str) -> Daemon:
        r"""Read uWSGI's form `"cmd=beat --loop,pidfile=/run/beat.pid"`, in which `\,` is a comma.

        Raises:
            ConfigError: a key or a value is not possible, or `cmd` is missing.
        """
        found: dict[str, str] = {}
        touch: list[str] = []
        for key, value in key_values(text, "attach_daemon"):
            name = _KEYS.get(key, key)
            if name in _NOT_HERE:
                raise ConfigError(f"attach_daemon: {key!r} does not exist here", f"leave it out: {_NOT_HERE[name]}")
            if name == "touch":
                touch += value.split(";")
            elif name in _FIELDS:
                found[name] = value
            elif name not in _UNNEEDED:
                close = difflib.get_close_matches(key, ["cmd", *_FIELDS], n=1)
                remedy = f"did you mean {close[0]!r}?" if close else f"use cmd, {', '.join(_FIELDS[1:])}"
                raise ConfigError(f"attach_daemon: there is no {key!r}", remedy)
        if "command" not in found:
            raise ConfigError(f"attach_daemon: {text!r} lacks a command", "write cmd=COMMAND")
        return cls(
            found["command"],
            pidfile=found.get("pidfile"),
            control=found.get("control", "0") not in ("0", "false", ""),
            touch=touch,
            stopsignal=_number(found.get("stopsignal", str(int(signal.SIGTERM)))),
            reloadsignal=_number(found.get("reloadsignal", "0")),
            uid=_name_or_number(found.get("uid")),
            gid=_name_or_number(found.get("gid")),
        )

    @classmethod
    def smart(cls, text: str) -> Daemon:
        """Read uWSGI's form of `smart-attach-daemon`: `"PIDFILE COMMAND"`.

        Raises:
            ConfigError: one of the two is missing.
        """
        pidfile, _, command = text.strip().partition(" ")
        if not command.strip():
            raise ConfigError(f"{text!r} is not a pidfile with a command", "write '/run/beat.pid beat --daemon'")
        return cls(command.strip(), pidfile=pidfile)


_FIELDS = [field.name for field in dataclasses.fields(Daemon)]


def key_values(text: str, option: str) -> list[tuple[str, str]]:
    r"""The pairs of `"key=value,key=value"`, in which a backslash takes the meaning of the next character away.

    Raises:
        ConfigError: a part has no `=`.
    """
    found = []
    for part in re.findall(r"(?:\\.|[^,\\])+", text, re.DOTALL):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{option}: {part!r} is not of the form KEY=VALUE", r"write a comma of a value as \,")
        found.append((key.strip(), re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)))
    return found


def _number(text: str) -> int:
    """A number, or -1, which is refused as a signal."""
    return int(text) if text.isdecimal() else -1


def _name_or_number(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdecimal() else text


def daemons(option: str, given: object) -> tuple[Daemon, ...]:
    """Read the value of `Config.attach_daemon`: one program or several, each a command or a `Daemon`.

    Raises:
        ConfigError: it is neither.
    """
    items = (given,) if isinstance(given, str | Daemon) else given
    if not isinstance(items, Iterable) or isinstance(items, bytes | dict):
        raise ConfigError(f"{option}={given!r} is not a command", f"write {option}='celery -A shop worker'")
    return tuple(item if isinstance(item, Daemon) else Daemon(item) for item in items)
