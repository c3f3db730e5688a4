"""The commands `trio-uwsgi --stop PIDFILE` and `--reload PIDFILE`: signal the server that a pidfile belongs to.

uWSGI has these, with `--pause`, `--suspend` and `--resume`, and sends the signal to whatever process has the number. A
server of ours keeps its pidfile locked, so it is known whether the process is the server.

Exit codes: 0 if the signal was sent, 1 if no server of this pidfile runs or this user may not signal it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence

from trio_uwsgi._program.pidfile import held_pid
from trio_uwsgi._system.pidfds import send_signal
from trio_uwsgi.errors import ConfigError

__all__ = ["asked", "main"]

NOT_SENT = 1

# The signal of each command. Pausing twice resumes, as in uWSGI.
_SIGNALS: Mapping[str, signal.Signals] = {
    "--stop": signal.SIGTERM,
    "--reload": signal.SIGHUP,
    **dict.fromkeys(("--pause", "--suspend", "--resume"), signal.SIGTSTP),
}


def asked(words: Sequence[str]) -> tuple[str, str] | None:
    """The command and the pidfile, if this command line is such a command; None if it is another one.

    `--reload` is an option of ours without a value, too: `trio-uwsgi --reload shop:app` serves. So behind it a word
    only counts if it looks like a pidfile, and not like an application.
    """
    given = words[1:] if words[:1] == ["uwsgi"] else words
    command, equals, path = given[0].partition("=") if given else ("", "", "")
    if command not in _SIGNALS:
        return None
    if equals:
        return (command, path) if len(given) == 1 else None
    if len(given) != 2:
        return None
    if command == "--reload" and given is words and not _is_pidfile(given[1]):
        return None
    return command, given[1]


def _is_pidfile(word: str) -> bool:
    if re.search(r"\.(py|wsgi)(:|$)", word) or word.startswith("-"):
        return False
    return "/" in word or word.endswith(".pid") or os.path.isfile(word)


def main(command: str, path: str) -> int:
    """Run one of the commands, and return the exit code (see the top of this module)."""
    try:
        _send(path, _SIGNALS[command])
    except ConfigError as error:
        sys.stderr.write(f"trio-uwsgi: {error}\n")
        return NOT_SENT
    return 0


def _send(path: str, number: signal.Signals) -> None:
    pid, _ = held_pid(path)
    with contextlib.ExitStack() as stack:
        pidfd = -1
        with contextlib.suppress(OSError, AttributeError):  # this system has no pidfds
            pidfd = os.pidfd_open(pid)
            stack.callback(os.close, pidfd)
        again, held = held_pid(path)
        if not held or again != pid:
            raise _not_running(path, pid)
        try:
            os.kill(pid, 0)
            if pidfd >= 0:
                send_signal(pidfd, pid, number)
            else:
                os.kill(pid, number)
        except ProcessLookupError:
            raise _not_running(path, pid) from None
        except PermissionError:
            raise ConfigError(
                f"this user may not signal process {pid}, the server of the pidfile {path}",
                "use the user of the server, or root",
            ) from None


def _not_running(path: str, pid: int) -> ConfigError:
    """Why the process in a pidfile that nobody holds is not signalled."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ConfigError(
            f"the pidfile {path} is stale: no process {pid} runs", "the server has ended without removing it"
        )
    except PermissionError:
        pass
    return ConfigError(
        f"process {pid} of the pidfile {path} is no server of trio-uwsgi, or its pidfile was replaced",
        f"look at it with ps -p {pid}, and use kill if it is the right one",
    )
