"""Ranges of a file (RFC 9110, section 14), read as nginx reads them. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["ALL", "NONE", "read_ranges"]

ALL: Final = "all"
NONE: Final = "none"

# More ranges than any client needs; each costs a head of some 100 bytes.
MAX_RANGES = 64
_DIGITS = 18

# "0-499", "500-", "-500", with spaces as nginx allows them.
_RANGE = re.compile(rb" *(?:([0-9]+) *- *([0-9]*)|-([0-9]+)) *")


def read_ranges(value: bytes, size: int) -> list[tuple[int, int]] | Literal["all", "none"]:
    """Read the value of a Range header.

    Args:
        value: as sent.
        size: of the file, in bytes.
    Returns:
        Offsets and counts, in the order of the request; `ALL` if the whole file is the answer (it is another unit, or
        the ranges are more than the file or too many); `NONE` if no range is in the file, or the value is wrong.
    """
    if len(value) < 7 or value[:6].lower() != b"bytes=":
        return ALL
    found: list[tuple[int, int]] = []
    total = 0
    for text in value[6:].split(b","):
        match = _RANGE.fullmatch(text)
        if match is None or max(map(len, match.groups(b""))) > _DIGITS:
            return NONE
        first, last, suffix = match.groups(b"")
        if suffix:
            start, end = max(0, size - int(suffix)), size
        else:
            start, end = int(first), min(size, int(last) + 1) if last else size
        if start < end:
            found.append((start, end - start))
            total += end - start
            if len(found) > MAX_RANGES:
                return ALL
        elif start == 0:
            return ALL
    if not found:
        return NONE
    return found if total <= size else ALL
