"""Run the hooks of a standalone server, each at its point of the start or the end."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._program.shell_command import ended_with, open_lifeline, run_shell_command, shortened
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi.config.hooks import Hook

__all__ = ["Hooks"]

logger = logging.getLogger("trio_uwsgi.hook")


class Hooks:
    """The hooks of a server."""

    def __init__(self, given: Sequence[Hook]) -> None:
        self._given = given

    async def run(self, point: str) -> None:
        """Do what is to be done at this point, one after the other.

        Raises:
            BootError: an action failed; the others are not done.
        """
        for hook in self._given:
            if hook.point == point:
                await trio.lowlevel.checkpoint()
                try:
                    await _do(hook)
                except OSError as error:
                    raise BootError(f"the hook {_shown(hook)} failed: {error.strerror}") from None

    async def run_last(self, mercy: float) -> None:
        """Do what is to be done at the end of the server, within the mercy in seconds. Failures are logged."""
        with trio.move_on_after(mercy) as scope:
            try:
                await self.run("as-user-atexit")
            except BootError as error:
                logger.error("at the end of the server: %s", error)
        if scope.cancelled_caught:
            logger.error("the hooks of as-user-atexit did not end within the mercy of %g s", mercy)


async def _do(hook: Hook) -> None:
    if hook.kind in ("exec", "safeexec"):
        name = shortened(hook.argument)
        logger.info("hook %s: %s", hook.point, hook.argument)
        with open_lifeline() as lifeline:
            code = await run_shell_command(hook.argument, lifeline, partial(logger.info, "%s: %s", name))
        if code and hook.kind == "exec":
            raise BootError(f"the hook {_shown(hook)} failed: it ended with {ended_with(code)}")
        if code:
            logger.warning("hook %s ended with %s", _shown(hook), ended_with(code))
    elif hook.kind == "print":
        logger.info("hook %s: %s", hook.point, hook.argument)
    else:
        _change(hook)


def _change(hook: Hook) -> None:
    """Change a file, or this process; what the process has is inherited by all that it starts."""
    match hook.kind:
        case "write" | "create" | "append":
            with open(hook.argument, "a" if hook.kind == "append" else "w") as file:
                file.write(hook.second)
        case "unlink":
            os.unlink(hook.argument)
        case "mkdir":
            os.mkdir(hook.argument)
        case "chdir":
            os.chdir(hook.argument)
        case "chmod":
            os.chmod(hook.argument, int(hook.second, 8))
        case "putenv":
            name, _, value = hook.argument.partition("=")
            os.environ[name] = value


def _shown(hook: Hook) -> str:
    return f"{hook.point} {hook.kind}:{hook.argument}"
