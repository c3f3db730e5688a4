"""The other side of the notifications of a service: a socket as systemd has it."""

from __future__ import annotations

import socket


class Manager:
    """Hears what a service says, at a path or, with an `@` in front, at an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """The lines of each notification that has come."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode().splitlines())
            except BlockingIOError:
                return found
