"""The options of what runs beside the server, or around it: programs, commands of crons, hooks."""

from __future__ import annotations

from trio_uwsgi._program.option_row import Option
from trio_uwsgi._program.option_values import checked, parsed
from trio_uwsgi.config.clock import CronCommand
from trio_uwsgi.config.daemons import Daemon
from trio_uwsgi.config.hooks import Hook

__all__ = ["COMPANION_OPTIONS"]

COMPANION_OPTIONS = (
    Option(
        "attach_daemon",
        "process",
        "COMMAND",
        parsed(Daemon),
        "run this program beside the server, and again when it ends; repeatable",
        (),
        list,
    ),
    Option(
        "attach_daemon",
        "process",
        "KEY=VALUE,...",
        parsed(Daemon.parse),
        "the same with cmd=, pidfile=, control=, touch=, stopsignal=, reloadsignal=, uid=, gid=; repeatable",
        (),
        list,
        "--attach-daemon2",
    ),
    Option(
        "attach_daemon",
        "process",
        "'PIDFILE COMMAND'",
        parsed(Daemon.smart),
        "the same, unless the process in PIDFILE runs; it outlives the server; repeatable",
        (),
        list,
        "--smart-attach-daemon",
    ),
    Option(
        "hooks",
        "process",
        "'POINT ACTION'",
        checked(Hook.parse),
        "do this at a point of the start or the end, as in 'pre-app exec:make css'; repeatable",
        (),
        list,
        "--hook",
    ),
    Option(
        "cron",
        "process",
        "'M H D MO W COMMAND'",
        checked(CronCommand.parse),
        "run this command at these times, of a crontab or in uWSGI's numbers; repeatable",
        ("--cron2",),
        list,
    ),
)
