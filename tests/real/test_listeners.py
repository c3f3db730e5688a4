"""Listening sockets on the real operating system: addresses, files, errors, and nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trio_uwsgi._http.accepting import peer_of
from trio_uwsgi._http.listeners import Listener, open_listeners
from trio_uwsgi.config import Config
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.connections import SocketOptions
from trio_uwsgi.errors import BootError, ListenError
from trio_uwsgi.serve import _lacks_ipv4 as lacks_ipv4
from trio_uwsgi.serve import serve

pytestmark = pytest.mark.real

OPTIONS = SocketOptions(backlog=16, mode=None)


def open_files() -> set[str]:
    """What this process has open, by number and kind."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return found


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Every test here ends with the sockets it started with."""
    before = {name for name in open_files() if "socket:" in name}
    yield
    assert before == {name for name in open_files() if "socket:" in name}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, so that socket paths are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def talk(listener: Listener) -> bytes:
    """Connect to a listener, accept it there, and send two bytes from there."""
    with socket.socket(listener.family, socket.SOCK_STREAM) as client:
        client.connect(listener.socket.getsockname())
        await trio.lowlevel.wait_readable(listener.socket)
        server, _ = listener.socket.accept()
        with server:
            server.sendall(b"ok")
            return client.recv(10)


def have_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


async def test_tcp_gives_the_real_port() -> None:
    """Port 0 becomes a free one, the socket does not block, and what it accepts has TCP_NODELAY."""
    async with open_listeners([Address.parse("127.0.0.1:0")], OPTIONS) as (listener,):
        assert "127.0.0.1" == listener.address.host
        assert 0 != listener.address.port
        assert socket.AF_INET == listener.family
        assert b"ok" == await talk(listener)
        with pytest.raises(BlockingIOError):
            listener.socket.accept()
        with socket.create_connection(("127.0.0.1", listener.address.port), timeout=60):
            await trio.lowlevel.wait_readable(listener.socket)
            accepted, _ = listener.socket.accept()
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            accepted.close()
        assert f"<Listener 127.0.0.1:{listener.address.port}>" == repr(listener)
    assert f"<Listener 127.0.0.1:{listener.address.port} closed>" == repr(listener)


@pytest.mark.parametrize("text", ["localhost:0", ":0"])
async def test_a_name_for_several_addresses_has_one_port(text: str) -> None:
    """`localhost`, and all interfaces, are listened on in every family there is, on one port, IPv4 first."""
    async with open_listeners([Address.parse(text)], OPTIONS) as listeners:
        assert 1 == len({listener.address.port for listener in listeners})
        assert socket.AF_INET == listeners[0].family
        for listener in listeners:
            assert b"ok" == await talk(listener)
    if text == ":0" and have_ipv6():
        assert [socket.AF_INET, socket.AF_INET6] == [listener.family for listener in listeners]


async def test_ipv6() -> None:
    """An IPv6 address is bound and written with brackets, and refused on a machine without IPv6."""
    if not have_ipv6():
        with pytest.raises(ListenError):
            async with open_listeners([Address.parse("[::1]:0")], OPTIONS):
                pytest.fail("an address without IPv6")
        return
    async with open_listeners([Address.parse("[::1]:0")], OPTIONS) as (listener,):
        assert f"[::1]:{listener.address.port}" == str(listener.address)
        assert b"ok" == await talk(listener)


@pytest.mark.parametrize(
    ("bound", "asked", "expected"),
    [
        (["[::]:81"], ["[::]:81"], [" (IPv6 only; write :81 for both)"]),
        (["[::]:81"], ["[::]:0"], [" (IPv6 only; write :81 for both)"]),
        (["0.0.0.0:81", "[::]:81"], [":81"], ["", ""]),
        (["[::]:81", "0.0.0.0:81"], ["[::]:81", "0.0.0.0:81"], ["", ""]),
        (["0.0.0.0:80", "[::]:81"], ["0.0.0.0:80", "[::]:81"], ["", " (IPv6 only; write :81 for both)"]),
        (["[::]:81"], ["fd://3"], [""]),
        (["[::1]:81", "127.0.0.1:81", "unix:/a"], ["[::1]:81", "127.0.0.1:81", "unix:/a"], ["", "", ""]),
    ],
)
def test_what_does_not_answer_ipv4_says_so(bound: list[str], asked: list[str], expected: list[str]) -> None:
    """The start-up line of all interfaces of IPv6 says that it is not those of IPv4, and how to have both."""
    addresses, wanted = ([Address.parse(text) for text in texts] for texts in (bound, asked))
    assert expected == [lacks_ipv4(address, addresses, wanted) for address in addresses]


@pytest.mark.parametrize(
    ("addresses", "sources", "warned"),
    [
        (["{}/a.sock"], "10.0.0.1", True),
        (["{}/a.sock"], ["10.0.0.1", "unix"], False),
        (["127.0.0.1:0"], "unix", True),
        (["127.0.0.1:0", "{}/a.sock"], "10.0.0.1", False),
        ([], "10.0.0.1", False),
    ],
)
async def test_proxies_that_cannot_connect(
    addresses: list[str], sources: str | list[str], warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names the listeners and what is believed, where no listener has such clients."""
    config = Config(http=[address.format(tmp_path) for address in addresses], forwarded_allow=sources)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, no_app, config)
        nursery.cancel_scope.cancel()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned is any(" can come from forwarded_allow=" in warning for warning in warnings)


def no_app(environ: dict[str, object], start_response: object) -> list[bytes]:
    """An application for no request."""
    raise NotImplementedError


async def test_an_inherited_socket_for_both_families_tells_plain_addresses() -> None:
    """A client of IPv4 has its own address, not one of IPv6 that means it, where one socket serves both families."""
    if not have_ipv6():
        pytest.skip("this machine has no IPv6")
    parent = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    parent.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    parent.bind(("::ffff:127.0.0.1", 0))
    parent.listen()
    async with open_listeners([Address.inherited(parent.detach())], OPTIONS) as (listener,):
        with socket.create_connection(("127.0.0.1", listener.address.port), timeout=10) as client:
            listener.socket.setblocking(True)
            accepted, address = listener.socket.accept()
            with accepted:
                peer = peer_of(accepted, address, listener)
            assert client.getsockname() == peer.client
            assert ("127.0.0.1", listener.address.port) == peer.server


async def test_a_port_in_use_says_which() -> None:
    """A second server on a port is refused with address, reason and errno, and closes what it had opened."""
    async with open_listeners([Address.parse("127.0.0.1:0")], OPTIONS) as (first,):
        with pytest.raises(ListenError) as caught:
            async with open_listeners([Address.parse("127.0.0.1:0"), first.address], OPTIONS):
                pytest.fail("both of them got the port")
        assert f"cannot listen on {first.address}: the address is in use; stop" in str(caught.value)
        assert errno.EADDRINUSE == caught.value.errno
        assert isinstance(caught.value, BootError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.1:0", "this machine does not have that address; use one of its own"),
        ("no-such-host.invalid:80", "'no-such-host.invalid' cannot be resolved"),
        (f"{'a' * 70}.example:80", "cannot be resolved"),
        ("/nowhere/at/all.sock", "its directory does not exist; create the directory first"),
        ("/dev/null/app.sock", "Not a directory"),
    ],
)
async def test_impossible_addresses_say_why(text: str, message: str) -> None:
    """What the operating system refuses becomes one sentence with a remedy."""
    with pytest.raises(ListenError) as caught:
        async with open_listeners([Address.parse(text)], OPTIONS):
            pytest.fail("it was opened")
    assert message in str(caught.value)
    assert text in str(caught.value)


async def test_a_unix_socket_has_its_mode_and_is_removed(folder: Path) -> None:
    """The file of a unix socket has the configured mode from the start, and is gone at the end, also after chdir."""
    path = folder / "app.sock"
    options = SocketOptions(backlog=16, mode=0o620)
    async with open_listeners([Address.parse("unix:app.sock")], options) as (listener,):
        assert 0o620 == stat.S_IMODE(path.stat().st_mode)
        assert "unix:app.sock" == str(listener.address)
        assert b"ok" == await talk(listener)
        (folder / "elsewhere").mkdir()
        os.chdir(folder / "elsewhere")
    assert not path.exists()


async def test_a_stale_socket_file_is_taken_over(folder: Path) -> None:
    """The file of a server that ended without removing it does not stop the next one."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind("app.sock")
        dead.listen()
    assert (folder / "app.sock").exists()
    async with open_listeners([Address.parse("./app.sock")], OPTIONS) as (listener,):
        assert b"ok" == await talk(listener)


async def test_a_live_socket_file_is_left_alone(folder: Path) -> None:
    """A path on which another server listens is refused, even if that one is too busy to accept."""
    with socket.socket(socket.AF_UNIX) as alive, contextlib.ExitStack() as clients:
        alive.bind("app.sock")
        alive.listen(1)
        for _ in range(5):
            with pytest.raises(ListenError, match=r"unix:\./app\.sock: another server listens there; stop"):
                async with open_listeners([Address.parse("./app.sock")], OPTIONS):
                    pytest.fail("it was taken over")
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex("app.sock")
        assert (folder / "app.sock").exists()


async def test_a_socket_of_another_type_is_left_alone(folder: Path) -> None:
    """A client cannot connect to a datagram socket's file, so it is not removed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind("app.sock")
        with pytest.raises(
            ListenError, match=r"connecting to its socket file failed \(Protocol wrong type for socket\)"
        ):
            async with open_listeners([Address.parse("./app.sock")], OPTIONS):
                pytest.fail("it was taken over")
    assert (folder / "app.sock").exists()


async def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    """A file with data in it is never removed."""
    (folder / "app.sock").write_text("precious")
    with pytest.raises(ListenError, match="there is a file which is not a socket; remove it"):
        async with open_listeners([Address.parse("./app.sock")], OPTIONS):
            pytest.fail("it was taken over")
    assert "precious" == (folder / "app.sock").read_text()


async def test_the_file_of_a_newer_server_is_not_removed(folder: Path) -> None:
    """At the end only our own socket file is removed, not one that was put in its place."""
    async with open_listeners([Address.parse("./app.sock")], OPTIONS):
        (folder / "app.sock").unlink()
        with socket.socket(socket.AF_UNIX) as newer:
            newer.bind("app.sock")
    assert (folder / "app.sock").exists()
    async with open_listeners([Address.parse("./app.sock")], OPTIONS):
        (folder / "app.sock").unlink()
    assert not (folder / "app.sock").exists()


async def test_abstract_sockets_have_no_file(folder: Path) -> None:
    """`@name` is a socket in Linux's abstract namespace, and reads back as such."""
    name = f"@trio-uwsgi-{os.getpid()}"
    async with open_listeners([Address.parse(name)], OPTIONS) as (listener,):
        assert name == str(listener.address)
        assert b"ok" == await talk(listener)
        assert [] == list(folder.iterdir())
        with pytest.raises(ListenError, match=f"cannot listen on {name}: the address is in use"):
            async with open_listeners([Address.parse(name)], OPTIONS):
                pytest.fail("both of them got the name")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_an_inherited_socket_is_served_and_closed(family: socket.AddressFamily, folder: Path) -> None:
    """A listening socket given by its number is used as it is, and its file, which is the parent's, is not removed."""
    parent = socket.socket(family)
    parent.bind("parent.sock" if family == socket.AF_UNIX else ("127.0.0.1", 0))
    parent.listen()
    name = parent.getsockname()
    async with open_listeners([Address.inherited(parent.detach())], OPTIONS) as (listener,):
        assert name == listener.socket.getsockname()
        assert ("unix" if family == socket.AF_UNIX else "tcp") == listener.address.kind
        assert not listener.socket.get_inheritable()
        assert b"ok" == await talk(listener)
    assert (family == socket.AF_UNIX) == (folder / "parent.sock").exists()


async def test_descriptors_that_cannot_be_listened_on(folder: Path) -> None:
    """A descriptor that is closed, no socket, or no listening stream socket is refused, and stays open."""

    async def refusal(fd: int) -> str:
        with pytest.raises(ListenError) as caught:
            async with open_listeners([Address.inherited(fd)], OPTIONS):
                pytest.fail("it was opened")
        return str(caught.value)

    assert "fd://999999: the descriptor is not open" in await refusal(999_999)
    with (folder / "file").open("w") as file:
        assert "the descriptor is not a socket" in await refusal(file.fileno())
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind(("127.0.0.1", 0))
            assert "not a listening stream socket" in await refusal(sock.fileno())
            assert sock.getsockname()


async def test_everything_is_undone_when_a_later_address_fails(folder: Path) -> None:
    """Sockets and files opened before the one that failed are closed and removed."""
    addresses = [Address.parse(text) for text in ("127.0.0.1:0", "./a.sock", "/nowhere/at/all.sock")]
    with pytest.raises(ListenError):
        async with open_listeners(addresses, OPTIONS):
            pytest.fail("all of them were opened")
    assert [] == list(folder.iterdir())


async def test_a_socket_file_is_removed_when_its_mode_or_backlog_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure between bind and listen leaves no file behind."""

    def refuse(path: str, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(ListenError, match="this user may not use it"):
        async with open_listeners([Address.parse("./a.sock")], SocketOptions(backlog=16, mode=0o660)):
            pytest.fail("it was opened")
    assert [] == list(folder.iterdir())


async def test_a_cancel_leaves_nothing_open(folder: Path) -> None:
    """A cancel while a later name is resolved closes the earlier sockets and removes their files."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_listeners([Address.parse("./a.sock"), Address.parse("localhost:0")], OPTIONS):
            pytest.fail("it was not cancelled")
    assert scope.cancelled_caught
    assert [] == list(folder.iterdir())


class TwoPlaces(trio.abc.HostnameResolver):
    """A resolver of two names: one has an address no machine has, the other two addresses that exclude each other."""

    async def getaddrinfo(  # type: ignore[override]
        self, host: bytes | None, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]]:
        """Give both addresses of the name, with the port that was asked for."""
        places = {b"half.test": ["127.0.0.1", "192.0.2.1"], b"twice.test": ["127.0.0.1", "0.0.0.0"]}[host or b""]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in places]

    async def getnameinfo(self, sockaddr: tuple[str, int], flags: int) -> tuple[str, str]:  # type: ignore[override]
        """Not used by servers."""
        raise NotImplementedError


async def test_an_address_the_machine_lacks_is_left_out_of_a_name() -> None:
    """A name with one address that exists and one that does not is served on the first."""
    trio.socket.set_custom_hostname_resolver(TwoPlaces())
    async with open_listeners([Address.parse("half.test:0")], OPTIONS) as listeners:
        assert ["127.0.0.1"] == [listener.address.host for listener in listeners]


async def test_the_search_for_a_common_port_ends() -> None:
    """When no port is free at all addresses of a name, it is an error after a few tries, and all sockets are closed."""
    trio.socket.set_custom_hostname_resolver(TwoPlaces())
    with pytest.raises(ListenError, match=r"twice\.test:0: the address is in use"):
        async with open_listeners([Address.parse("twice.test:0")], OPTIONS):
            pytest.fail("it was opened")
