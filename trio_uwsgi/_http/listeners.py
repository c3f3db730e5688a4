"""Opens the sockets that a runtime listens on, and closes and removes them at the end.

An address becomes one listening socket or, where a name stands for several (`localhost`, or all interfaces), several
with one port. Sockets are non-blocking and ready to accept; `reactor.py` and `connection.py` accept.

A unix socket has a file. A stale one, on which no process listens, is removed before binding. Our own is removed at the
end, if it is still ours: a newer server may have replaced it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import trio

from trio_uwsgi._http.accepting import server_of
from trio_uwsgi._system.close_on_fork import close_in_forked_children
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.errors import ListenError

if TYPE_CHECKING:
    from trio_uwsgi._http.certificates import ServerTls
    from trio_uwsgi.config.connections import SocketOptions

logger = logging.getLogger("trio_uwsgi")

Protocol = Literal["http", "uwsgi"]

# Attempts to find a port that is free in IPv4 and in IPv6, for names that need both. A second one is already rare.
_PORT_ATTEMPTS = 10

# A family, and the socket name that goes with it: (host, port), and for IPv6 a flow label and a scope.
_Place: TypeAlias = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]

# A host may have IPv6 in its resolver and not in its kernel. These errors show that; they are raised only if no family
# of a name works.
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class Listener:
    """One socket that accepts connections.

    `socket` is non-blocking; `address` is what it is bound to, with the real port, and `name` is that as text;
    `server` is the server's address of all its connections, None if each has another; `family` is that of the socket
    module; `protocol` is that of its clients; `tls` encrypts it, if it is not None.
    """

    __slots__ = (
        "__weakref__",
        "_file",
        "_identity",
        "address",
        "family",
        "name",
        "protocol",
        "server",
        "socket",
        "tls",
    )

    def __init__(self, sock: socket.socket, file: str | None = None) -> None:
        """Take over a listening socket; `file` is the path of the unix socket file to be removed with it."""
        sock.setblocking(False)  # if the application has set a default timeout, a new socket object has it
        self.protocol: Protocol = "http"
        self.tls: ServerTls | None = None
        self.socket = sock
        self.family = sock.family
        self.address = _bound_address(sock)
        self.name = str(self.address)
        self.server = None if self.address.host in _WILDCARDS else server_of(sock)
        self._file = file
        self._identity = _identity(file) if file is not None else None
        close_in_forked_children(self)

    def accept(self) -> tuple[socket.socket, object]:
        """Accept a connection: its socket, in blocking mode, and the client's address. Raises as `socket.accept`."""
        # That one makes enums of the family and the type, which costs more than the system call.
        descriptor, address = self.socket._accept()  # type: ignore[attr-defined]  # it is in `_socket`
        sock = socket.socket(self.family, socket.SOCK_STREAM, 0, descriptor)
        if sock.gettimeout() is not None:  # the application has set a default timeout, and recv() would wait
            sock.setblocking(True)
        return sock, address

    def close_copies(self) -> None:
        """See `_system/close_on_fork.py`. The file belongs to the parent."""
        self._file = None
        self.socket.close()

    def close(self) -> None:
        """Stop listening and remove the socket file, if it is still ours. Calling it again does nothing."""
        # In this order: while the socket is open, a newer file cannot get its inode.
        if self._file is not None:
            try:
                if _identity(self._file) == self._identity:
                    os.unlink(self._file)
            except OSError as error:  # after the change of user there may be no permission
                logger.warning("cannot remove the socket file %s: %s", self._file, error.strerror)
        self._file = None
        self.socket.close()

    def give_to(self, uid: int, gid: int) -> None:
        """Change the owner of the socket file, if it is ours. Only for root."""
        if self._file is None:
            return
        if sys.platform != "linux":
            os.chown(self._file, uid, gid, follow_symlinks=False)
            return
        # A user who may write to the directory could replace the file between a check and a chown by path.
        held = os.open(self._file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(held)
            if (found.st_dev, found.st_ino) == self._identity:
                os.chown(f"/proc/self/fd/{held}", uid, gid)
        finally:
            os.close(held)

    def __repr__(self) -> str:
        return f"<Listener {self.address}{' closed' if self.socket.fileno() < 0 else ''}>"


@contextlib.asynccontextmanager
async def open_listeners(
    addresses: Iterable[Address], options: SocketOptions, protocol: Protocol = "http", tls: ServerTls | None = None
) -> AsyncIterator[list[Listener]]:
    """Listen on every address while the body runs.

    Args:
        addresses: what to listen on. An inherited descriptor is taken over: it is closed at the end.
        options: the backlog, and the mode of unix socket files.
        protocol: that of the clients.
        tls: encrypts it; None: it is not encrypted.
    Yields:
        The listeners in the order of the addresses.
    Raises:
        ListenError: an address is in use, may not be used, or does not exist. Those opened before it are closed.
    Checkpoint: on entry, while a name is resolved; a cancellation there closes what was opened.
    """
    with contextlib.ExitStack() as stack:
        listeners: list[Listener] = []
        for address in addresses:
            try:
                opened = await _open(address, options)
            except ListenError:
                raise
            except OSError as error:
                raise _explained(address, error) from error
            for listener in opened:
                listener.protocol = protocol
                listener.tls = tls
                stack.callback(listener.close)
            listeners += opened
        yield listeners


async def _open(address: Address, options: SocketOptions) -> list[Listener]:
    if address.kind == "tcp":
        return await _open_tcp(address, options.backlog)
    if address.kind == "unix":
        return [_open_unix(address, options)]
    return [_open_inherited(address)]


# ----- TCP


async def _open_tcp(address: Address, backlog: int) -> list[Listener]:
    try:
        found = await trio.socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        problem = f"{address.host!r} cannot be resolved ({error})"
        raise ListenError(str(address), problem, "check the host name") from error
    # A resolver may name one address twice. IPv4 comes first, because logs show the first address.
    places = sorted({(info[0], info[4]) for info in found}, key=lambda place: place[0])
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return _bind_all(places, address.port, backlog)
        except OSError as error:
            if address.port or error.errno != errno.EADDRINUSE:
                raise
    return _bind_all(places, address.port, backlog)


def _bind_all(places: Sequence[_Place], port: int, backlog: int) -> list[Listener]:
    """Listen on one port at every place; families that the kernel lacks are left out, unless no other works."""
    opened: list[Listener] = []
    missing: OSError | None = None
    with contextlib.ExitStack() as undo:
        for family, name in places:
            try:
                listener = _bind(family, (name[0], port, *name[2:]), backlog)
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = error
            else:
                undo.callback(listener.close)
                opened.append(listener)
                port = listener.address.port
        if missing is not None and not opened:
            raise missing
        undo.pop_all()
    return opened


def _bind(family: socket.AddressFamily, name: tuple[str | int, ...], backlog: int) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Old connections of a server that has just stopped must not prevent the next one from starting.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] would take the port of 0.0.0.0 too, on some systems and not on others, and :8000 could not
            # have a socket for each. So [::] is IPv6 only, everywhere; `_announce` of serve.py says so.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        return _listening(sock, backlog)
    except BaseException:
        sock.close()
        raise


def _listening(sock: socket.socket, backlog: int, file: str | None = None) -> Listener:
    sock.listen(backlog)
    return _ready(sock, file)


def _ready(sock: socket.socket, file: str | None = None) -> Listener:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # Accepted sockets inherit it, which saves a system call for each. We write whole responses, so there is nothing
        # to gain from Nagle's algorithm.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Listener(sock, file)


# ----- unix sockets


def _open_unix(address: Address, options: SocketOptions) -> Listener:
    abstract = address.path.startswith("@")
    if abstract and sys.platform != "linux":
        raise ListenError(str(address), "only Linux has abstract unix sockets", "use a path, as in unix:/run/app.sock")
    # The application may change the directory later; the file has to be found again at the end.
    file = None if abstract else os.path.abspath(address.path)
    if file is not None:
        _remove_stale(address, file)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    try:
        sock.bind("\0" + address.path[1:] if abstract else address.path)
        bound = True
        if file is not None and options.mode is not None:
            # Before listen(): until then connections are refused, so no client can connect under the looser mode.
            os.chmod(file, options.mode)
        return _listening(sock, options.backlog, file)
    except BaseException:
        if bound and file is not None:
            with contextlib.suppress(OSError):
                os.unlink(file)
        sock.close()
        raise


def _remove_stale(address: Address, file: str) -> None:
    """Remove the socket file of a server that has stopped. Any other file is not removed, and is an error."""
    try:
        mode = os.lstat(file).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(str(address), "there is a file which is not a socket", "remove it, or use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a live server with a full backlog would keep us waiting
        answer = probe.connect_ex(address.path)
    if answer == errno.ECONNREFUSED:
        os.unlink(file)
    elif answer != errno.ENOENT:
        alive = answer in (0, errno.EAGAIN, errno.EINPROGRESS)
        problem = (
            "another server listens there" if alive else f"connecting to its socket file failed ({os.strerror(answer)})"
        )
        raise ListenError(str(address), problem, "stop what uses it, or use another path")


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


# ----- inherited sockets


def _open_inherited(address: Address) -> Listener:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(address.fd).st_mode)
    except OSError:
        raise ListenError(
            str(address), "the descriptor is not open", "check what the parent process passes on"
        ) from None
    if not is_socket:
        raise ListenError(str(address), "the descriptor is not a socket", "check what the parent process passes on")
    sock = socket.socket(fileno=address.fd)
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if (
        sock.family not in families
        or sock.type != socket.SOCK_STREAM
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.detach()  # not the socket that was announced, so we must not close it
        raise ListenError(
            str(address), "the socket is not a listening stream socket", "the parent process has to call listen() on it"
        )
    sock.set_inheritable(False)
    return _ready(sock)


# ----- addresses and errors

# Bound to one of these, a socket accepts connections to all addresses of the machine.
_WILDCARDS = ("0.0.0.0", "::")


def _bound_address(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return Address(kind="tcp", host=name[0], port=name[1])
    if isinstance(name, bytes):  # the abstract namespace, with its leading NUL
        return Address(kind="unix", path="@" + os.fsdecode(name[1:]))
    return Address(kind="unix", path=name)


def _explained(address: Address, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        problem, remedy = "the address is in use", "stop the server that listens there, or use another address"
    elif error.errno == errno.EADDRNOTAVAIL:
        problem, remedy = "this machine does not have that address", "use one of its own, or :port for all of them"
    elif error.errno in (errno.EACCES, errno.EPERM):
        problem, remedy = "this user may not use it", "use a port from 1024 on, or a directory this user may write to"
    elif error.errno == errno.ENOENT and address.kind == "unix":
        problem, remedy = "its directory does not exist", "create the directory first"
    else:
        problem, remedy = error.strerror or str(error), "use another address"
    explained = ListenError(str(address), problem, remedy)
    explained.errno = error.errno
    return explained
