"""Make sure that the descriptors 0 to 2 are open: the interpreter, C libraries and started programs use them by number.

A process may be started without them. The next files that are opened then get these numbers, and text for standard
error would be written to one of the server's sockets, or into shared memory.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["STDERR", "have_standard_descriptors", "have_standard_streams", "standard_error", "write_error"]

STDERR = 2


def have_standard_descriptors() -> None:
    """Open the closed ones on /dev/null. To be called before anything else is opened, or it may have such a number."""
    for number in range(STDERR + 1):
        try:
            os.fstat(number)
        except OSError:
            _occupy(number)


def _occupy(number: int) -> None:
    try:
        opened = os.open(os.devnull, os.O_RDWR)
    except OSError:  # no /dev/null here; a folder can be neither read nor written, but occupies the number
        opened = os.open(os.sep, os.O_RDONLY)
    if opened == number:  # the lowest one that is free
        os.set_inheritable(opened, True)
    else:
        os.dup2(opened, number)
        os.close(opened)


def have_standard_streams() -> None:
    """As `have_standard_descriptors`, and also set `sys.stdout` and `sys.stderr`. Only in a standalone server."""
    have_standard_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _stream(number))


def _stream(number: int) -> TextIO:
    return open(number, "w", buffering=1, errors="backslashreplace", closefd=False)


def standard_error() -> TextIO:
    """Standard error as a stream of its own, for the log: the application may close `sys.stderr`."""
    return _stream(STDERR)


def write_error(text: str) -> None:
    """Write to descriptor 2, without `sys.stderr`. It never fails; what cannot be written is dropped."""
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(STDERR, data) :]
    except OSError:  # full, closed, or a closed pipe: that cannot be reported anywhere
        return
