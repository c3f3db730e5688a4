"""Where a runtime listens, as a value. Pure.

The options `http` and `socket` of `config.py` are made of `Address` values. Nothing here asks the operating system:
`_http/listeners.py` finds out whether an address can be used.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from trio_uwsgi.errors import ConfigError

__all__ = ["Address"]

# Linux stores a socket's path in 108 bytes with a NUL at the end. (macOS and the BSDs have 104; there the kernel
# refuses a longer path.)
_MAX_SOCKET_PATH = 107

_SHAPES = "write host:port, [v6 address]:port, :port, /path/to.sock, unix:path, @name or fd://number"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen: a TCP address, a unix socket, or a listening socket inherited from the parent process.

    Make one with `Address.parse`, `Address.tcp`, `Address.unix` or `Address.inherited`. `str()` gives a form that
    `Address.parse` reads back.

    Attributes:
        kind: `"tcp"`, `"unix"` or `"fd"`; it decides which of the other fields are used.
        host: of `"tcp"`: a name or an IP address; `""` is all interfaces.
        port: of `"tcp"`: 0 to 65535; 0 is any free port.
        path: of `"unix"`: the file, or `@name` in the abstract namespace of Linux.
        fd: of `"fd"`: the number of the descriptor.
    """

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    @classmethod
    def tcp(cls, host: str, port: int) -> Address:
        """A TCP address.

        Args:
            host: a name, an IPv4 or an IPv6 address without brackets, or `""` for all interfaces.
            port: 0 to 65535; 0 takes a free one.
        Raises:
            ConfigError: the port is out of range, or the host contains a character that is not allowed.
        """
        if not 0 <= port <= 65535:
            raise ConfigError(f"port {port} does not exist", "use 1 to 65535, or 0 for any free port")
        if re.search(r"[\s/\[\]@\0]", host):
            raise ConfigError(f"{host!r} is not a host name or an IP address", _SHAPES)
        return cls(kind="tcp", host=host, port=port)

    @classmethod
    def unix(cls, path: str) -> Address:
        """A unix socket.

        Args:
            path: its file, or `@name` for the abstract namespace of Linux, which has no file; up to 107 bytes.
        Raises:
            ConfigError: the path is empty, too long, or has a NUL.
        """
        if path in ("", "@") or "\0" in path:
            raise ConfigError(f"{path!r} is not a path for a unix socket", "write unix:/path/to.sock, or @name")
        try:
            size = len(path.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            raise ConfigError(f"{path!r} cannot be the path of a file ({error})", "use another path") from None
        if size > _MAX_SOCKET_PATH:
            raise ConfigError(
                f"the unix socket path {path!r} has {size} bytes, and the kernel takes {_MAX_SOCKET_PATH}",
                "use a shorter path, perhaps relative to the directory the server runs in",
            )
        return cls(kind="unix", path=path)

    @classmethod
    def inherited(cls, fd: int) -> Address:
        """A socket that the parent process (systemd, a supervisor) opened, bound and left open for this one.

        Args:
            fd: its file descriptor number, 0 or more.
        Raises:
            ConfigError: the number is negative.
        """
        if fd < 0:
            raise ConfigError(f"{fd} is not a file descriptor", "write fd://3 for descriptor 3")
        return cls(kind="fd", fd=fd)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address as it is written in options.

        Args:
            text: `127.0.0.1:8000`, `localhost:0`, `[::1]:8000`, `:8000` (all interfaces, IPv4 and IPv6; `[::]:8000` is
                IPv6 only), `/run/app.sock`, `unix:app.sock`, `@name` (abstract namespace), or `fd://3`.
        Raises:
            ConfigError: it is none of these; the error says what was probably meant.
        uWSGI: the same forms. There a bare word is a unix socket; here it is an error, because it may be a host name
            without a port.
        Example:
            address = trio_uwsgi.Address.parse("127.0.0.1:8000")
        """
        if not isinstance(text, str):
            raise ConfigError(f"{text!r} is not an address but {type(text).__name__}", f"use a str: {_SHAPES}")
        if text.startswith("fd://"):
            if not re.fullmatch(r"fd://[0-9]{1,9}", text):
                raise ConfigError(f"{text!r} is not a file descriptor", "write fd://3 for descriptor 3")
            return cls.inherited(int(text.removeprefix("fd://")))
        if text.startswith("unix:"):
            return cls.unix(text.removeprefix("unix:"))
        if "://" in text:
            bare = text.partition("://")[2].partition("/")[0]
            raise ConfigError(f"{text!r} is a URL, not an address", f"write {bare!r}")
        if text.startswith("@") or "/" in text:
            return cls.unix(text)
        return cls._parse_tcp(text)

    @classmethod
    def _parse_tcp(cls, text: str) -> Address:
        if re.fullmatch("[0-9]+", text):
            raise ConfigError(
                f"{text!r} is a port without a host",
                f"write 127.0.0.1:{text} for this machine, :{text} for all interfaces",
            )
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ConfigError(f"{text!r} has no port", f"write {text}:8000 for TCP, unix:{text} for a unix socket")
        if not re.fullmatch("[0-9]{1,5}", port):
            raise ConfigError(f"{text!r} has no port number after its last colon", _SHAPES)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if ":" not in host:
                raise ConfigError(f"{text!r} has brackets around what is not an IPv6 address", _SHAPES)
        elif ":" in host:
            raise ConfigError(f"{text!r} is an IPv6 address without brackets", f"write [{host}]:{port}")
        return cls.tcp(host, int(port))

    def __str__(self) -> str:
        if self.kind == "fd":
            return f"fd://{self.fd}"
        if self.kind == "unix":
            return self.path if self.path.startswith("@") else f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
