"""How many connections wait at a listening socket to be accepted, as the kernel says. Linux only."""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["listen_queue"]

_TCP_INFO = struct.Struct("=8x4x4x4x4xII")  # of `struct tcp_info`: tcpi_unacked and tcpi_sacked
_HEADER = struct.Struct("=IHHII")  # of netlink: size, type, flags, sequence, port
_REQUEST = struct.Struct("=BBHIIIII")  # `struct unix_diag_req`
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NETLINK_SOCK_DIAG = 4
_SHOW_LENGTHS = 0x10  # UDIAG_SHOW_RQLEN
_LENGTHS = 4  # UNIX_DIAG_RQLEN
_ANY_COOKIE = 0xFFFF_FFFF
_MESSAGE = _HEADER.size + 16  # where the attributes of an answer begin, after `struct unix_diag_msg`


def listen_queue(sock: socket.socket) -> tuple[int, int]:
    """How many connections wait at this listening socket, and how many may; 0 where the system does not say."""
    try:
        if sock.family != getattr(socket, "AF_UNIX", None):
            waiting, most = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
            return waiting, most
        return _unix_queue(os.fstat(sock.fileno()).st_ino)
    except (AttributeError, OSError, struct.error):
        return 0, 0


def _unix_queue(inode: int) -> tuple[int, int]:
    """The same for a unix socket, which only `sock_diag` tells."""
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY_COOKIE, inode, _SHOW_LENGTHS, _ANY_COOKIE, _ANY_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as kernel:
        kernel.sendto(header + request, (0, 0))
        answer = kernel.recv(4096)  # the kernel has answered before `sendto` returns
    position = _MESSAGE
    while position + 4 <= len(answer):
        size, kind = struct.unpack_from("=HH", answer, position)
        if kind == _LENGTHS:
            waiting, most = struct.unpack_from("=II", answer, position + 4)
            return waiting, most
        position += max(size + 3 & ~3, 4)
    return 0, 0
