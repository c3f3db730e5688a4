"""Opens files below a folder, and never one outside of it, whatever the name is and whoever changes the folder.

Linux resolves the whole name inside of the folder (openat2 with RESOLVE_BENEATH), so there is no moment between a check
and its use. Where the system has no openat2, each component is opened in its parent without following symbolic links.

A symbolic link is followed if it leads to a file below the same folder or below one of the folders that are declared
safe; a link to any other place raises `Outside`. A relative link inside of the folder costs nothing. For all others the
real path is computed, and that is opened again, without following any link, so a link that changes meanwhile leads
nowhere.

A call that may not wait succeeds only if everything it needs is in memory (RESOLVE_CACHED, since Linux 5.12); otherwise
it raises BlockingIOError, and the caller repeats it in a thread.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Sequence

__all__ = ["Outside", "open_beneath", "open_path"]

_NR_OPENAT2 = 437  # the same on all architectures
_AT_FDCWD = -100
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _CACHED = 0x02, 0x04, 0x08, 0x20
# A rename during the resolution of ".." makes it fail with EAGAIN, so it is repeated.
_ATTEMPTS = 128

# O_NONBLOCK: opening a FIFO does not wait for its other end.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class Outside(OSError):
    """The name leads out of the folder."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_SIZE = ctypes.sizeof(_How)
# The one that keeps Python's lock is for calls that do not wait: releasing it would cost as much as the call.
_waiting = ctypes.CDLL(None, use_errno=True).syscall
_immediate = ctypes.PyDLL(None, use_errno=True).syscall
_waiting.argtypes = _immediate.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long)
_waiting.restype = _immediate.restype = ctypes.c_long


@functools.cache
def _how(flags: int, resolve: int) -> _How:
    """What the system call is told; made once, as that takes as long as the call."""
    return _How(flags, 0, resolve)


def _openat2(at: int, name: bytes, flags: int, resolve: int) -> int:
    how = ctypes.byref(_how(flags, resolve))
    call = _immediate if resolve & _CACHED else _waiting
    for _ in range(_ATTEMPTS):
        descriptor: int = call(_NR_OPENAT2, at, name, how, _SIZE)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number == errno.EINTR or (number == errno.EAGAIN and not resolve & _CACHED):
            continue
        break
    if number == errno.EXDEV:
        raise Outside(number, "leads out of its folder", os.fsdecode(name))
    raise OSError(number, os.strerror(number), os.fsdecode(name))


def _has(resolve: int) -> bool:
    """Does this system have openat2 with these flags? A sandbox may refuse it."""
    try:
        os.close(_openat2(_AT_FDCWD, b"/", _FOLDER, resolve))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


HAS_BENEATH = os.uname().sysname == "Linux" and _has(_NO_MAGICLINKS)
HAS_CACHED = HAS_BENEATH and _has(_CACHED)


def open_path(path: bytes, *, wait: bool) -> int:
    """Open a file by its path, wherever that leads.

    Args:
        path: of the file.
        wait: whether the call may wait for a disk.
    Returns:
        Its descriptor, for reading.
    Raises:
        BlockingIOError: the call would have to wait.
        OSError: it cannot be opened.
    """
    if wait:
        return os.open(path, _FILE)
    if not HAS_CACHED:
        raise BlockingIOError(errno.EAGAIN, "this system does not open files without waiting")
    return _openat2(_AT_FDCWD, path, _FILE, _CACHED)


def open_beneath(folder: bytes, name: bytes, safe: Sequence[bytes] = (), *, wait: bool) -> int:
    """Open a file or a folder below `folder`.

    Args:
        folder: its path; symbolic links in it are followed.
        name: relative to the folder, without `..` and null bytes.
        safe: folders to which symbolic links may lead, too.
        wait: whether the call may wait for a disk.
    Returns:
        Its descriptor, for reading.
    Raises:
        Outside: the name leads to no file below these folders.
        BlockingIOError: the call would have to wait.
        OSError: it cannot be opened.
    """
    if b"\0" in name or b".." in name.split(b"/"):
        raise Outside(errno.EXDEV, "leads out of its folder", os.fsdecode(name))
    try:
        return _open_below(folder, name, 0, wait)
    except Outside:
        if not wait:
            raise BlockingIOError(errno.EAGAIN, "a symbolic link is followed by its real path") from None
    return _open_real(folder, name, safe)


def _open_below(folder: bytes, name: bytes, resolve: int, wait: bool) -> int:
    if not HAS_BENEATH or not (wait or HAS_CACHED):
        if not wait:
            raise BlockingIOError(errno.EAGAIN, "this system does not open files without waiting")
        return _walk(folder, name)
    cached = 0 if wait else _CACHED
    at = _openat2(_AT_FDCWD, folder, _FOLDER, cached)
    try:
        return _openat2(at, name, _FILE, _BENEATH | _NO_MAGICLINKS | resolve | cached)
    finally:
        os.close(at)


def _walk(folder: bytes, name: bytes) -> int:
    """Open component by component, without following links."""
    *parents, last = [part for part in name.split(b"/") if part not in (b"", b".")] or [b"."]
    at = os.open(folder, _FOLDER)
    try:
        for parent in parents:
            try:
                deeper = os.open(parent, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            except NotADirectoryError:
                if stat.S_ISLNK(os.stat(parent, dir_fd=at, follow_symlinks=False).st_mode):
                    raise Outside(errno.EXDEV, "is a symbolic link", os.fsdecode(name)) from None
                raise
            os.close(at)
            at = deeper
        ends = os.O_DIRECTORY if name.endswith(b"/") else 0
        try:
            return os.open(last, _FILE | os.O_NOFOLLOW | ends, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and stat.S_ISLNK(
                os.stat(last, dir_fd=at, follow_symlinks=False).st_mode
            ):
                raise Outside(errno.EXDEV, "is a symbolic link", os.fsdecode(name)) from None
            raise
    finally:
        os.close(at)


def _open_real(folder: bytes, name: bytes, safe: Sequence[bytes]) -> int:
    """Open what the name leads to through symbolic links, if that is below one of the folders."""
    real = os.path.realpath(os.path.join(folder, name), strict=True)
    for root in (folder, *safe):
        base = os.path.realpath(root)
        if base == b"/" or real.startswith(base + b"/"):
            # A link that was put there after `realpath` is an error now: Outside or ELOOP.
            return _open_below(base, real[len(base) :].lstrip(b"/"), _NO_SYMLINKS, wait=True)
    raise Outside(errno.EXDEV, "leads out of its folder", os.fsdecode(name))
