"""Run other programs beside the server: started when it serves, restarted when they end, ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator

import trio

from trio_uwsgi._runtime.backoff import next_pause

__all__ = ["keep_running"]

# Seconds between SIGTERM and SIGKILL. uWSGI allows the same.
MERCY = 3.0
LONGEST_LINE = 8192  # bytes; a longer one is logged in parts

logger = logging.getLogger("trio_uwsgi.daemon")


async def keep_running(command: str) -> None:
    """Run a shell command again and again until cancelled, with growing pauses while it ends soon.

    It has a process group of its own. When this is cancelled the group gets SIGTERM, and SIGKILL after `MERCY`; when
    the command itself ends, what it left in its group is killed. Each line that it prints is logged.
    """
    name = command if len(command) <= 40 else f"{command[:40]}..."
    pause = 0.0
    while True:
        began = trio.current_time()
        code = await _run(command, name)
        pause = next_pause(pause, trio.current_time() - began)
        what = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        again = f"in {pause:g} s" if pause else "now"
        logger.warning("daemon %s ended with %s; it is started again %s", name, what, again)
        await trio.sleep(pause)


async def _run(command: str, name: str) -> int:
    """Run it once; returns the exit code, or a negative posix signal."""
    process = await trio.lowlevel.open_process(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    logger.info("daemon %s is process %d", name, process.pid)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_log_lines, process, name)
            code = await process.wait()
            _signal_group(process.pid, signal.SIGKILL)  # what it left behind holds its output open
        return code
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def _end(process: trio.Process) -> None:
    """End what still runs."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with trio.move_on_after(MERCY):
            await process.wait()
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _log_lines(process: trio.Process, name: str) -> None:
    assert process.stdout is not None
    async for line in _lines(process.stdout):
        logger.info("%s: %s", name, line)


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = b""
    while data := await stream.receive_some():
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")
