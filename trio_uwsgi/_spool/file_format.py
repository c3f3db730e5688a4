"""Spool files: a job as bytes, in uWSGI's format. Pure.

A job is one uwsgi packet (modifier1 17, modifier2 0) of vars, followed by the raw body up to the end of the file. The
head has at most 65,535 bytes and contains its length; the length of the body follows from the size of the file. Names
of files are made in `rules.py`, files are written in `files.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from trio_uwsgi._protocol.packet import HEADER_SIZE, MAX_BODY, SPOOL, decode_vars, encode_packet, encode_vars
from trio_uwsgi.errors import BadSpoolFile, JobTooLarge, RemoteProtocolError, SpoolError

__all__ = ["LONGEST_HEAD", "Pairs", "decode_head", "encode_job"]

Pairs: TypeAlias = list[tuple[bytes, bytes]]

# The longest possible head, in bytes.
LONGEST_HEAD = HEADER_SIZE + MAX_BODY


def encode_job(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Make the head of a spool file; the raw body follows it.

    Raises:
        JobTooLarge: a name, a value, or all together are too long. (uWSGI truncates a long value.)
        SpoolError: a name is empty.
    """
    total = 0
    for name, value in pairs:
        if not name:
            raise SpoolError(f"the job was not accepted: the name of {value[:40]!r} is empty; give each value a name")
        if len(name) > MAX_BODY:
            raise JobTooLarge(f"the name {_short(name)}...", len(name), MAX_BODY)
        if len(value) > MAX_BODY:
            raise JobTooLarge(f"the value of {_short(name)}", len(value), MAX_BODY)
        total += len(name) + len(value) + 4
    if total > MAX_BODY:
        raise JobTooLarge("the names and values, with 4 bytes for each pair,", total, MAX_BODY)
    return encode_packet(SPOOL, 0, encode_vars(pairs))


def decode_head(data: bytes) -> tuple[Pairs, int]:
    """Read the head of a spool file from its first bytes: its vars, and where the body begins.

    Args:
        data: the file, or its first `LONGEST_HEAD` bytes at least.
    Raises:
        BadSpoolFile: the file ends before its head does (`cut_off`), or it is not a spool file.
    """
    if data and data[0] != SPOOL:
        raise BadSpoolFile(f"it begins with byte {data[0]}, a spool file with {SPOOL}")
    if len(data) < HEADER_SIZE:
        raise BadSpoolFile(f"it ends after {len(data)} bytes, but a header has {HEADER_SIZE}", cut_off=True)
    end = HEADER_SIZE + data[1] + (data[2] << 8)
    if len(data) < end:
        raise BadSpoolFile(f"it ends after {len(data)} bytes, but its head has {end}", cut_off=True)
    try:
        return decode_vars(data[HEADER_SIZE:end], MAX_BODY), end
    except RemoteProtocolError as error:
        raise BadSpoolFile(str(error)) from None


def _short(name: bytes) -> str:
    return repr(name[:40].decode("utf-8", "replace"))
