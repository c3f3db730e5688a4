"""The descriptors 0 to 2, which others use by their numbers: the interpreter, C libraries, programs that are started.

A process may be started without them. The next things that are opened then get these numbers, and what is written to
standard error goes into a socket of ours, or over memory that processes share.
"""

from __future__ import annotations

import os
import sys

__all__ = ["have_standard_descriptors", "have_standard_streams", "write_error"]

_STDERR = 2


def have_standard_descriptors() -> None:
    """Open those of them that are closed, on nothing. To be called before anything else is opened."""
    for number in range(_STDERR + 1):
        try:
            os.fstat(number)
        except OSError:
            _occupy(number)


def _occupy(number: int) -> None:
    try:
        opened = os.open(os.devnull, os.O_RDWR)
    except OSError:  # a root folder without it; a folder can be neither read nor written, but it has the number
        opened = os.open(os.sep, os.O_RDONLY)
    if opened == number:  # the lowest one that is free
        os.set_inheritable(opened, True)
    else:
        os.dup2(opened, number)
        os.close(opened)


def have_standard_streams() -> None:
    """The same, and `sys.stdout` and `sys.stderr` are there as well. For a process that is ours alone."""
    have_standard_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def write_error(text: str) -> None:
    """Write to descriptor 2, past `sys.stderr`, as much as can be written: nothing here fails."""
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(_STDERR, data) :]
    except OSError:  # full, closed, a reader that has gone: whatever it is, nobody can be told
        return
