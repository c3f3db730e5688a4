"""Static files over memory streams and sockets: what is sent, what goes to the application, and what is never sent."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import random
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.services import Client, Opener, World
from trio_uwsgi._http import open_file, static_files
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.reactor import serve_sockets
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.connections import SocketOptions
from trio_uwsgi.config.static import StaticOptions, expiries

BIG = random.Random(14).randbytes(1_500_000)
SMALL = bytes(range(256)) * 4
START = {"type": "http.response.start", "status": 404, "headers": []}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers 404 with the path."""
    await send(START)
    await send({"type": "http.response.body", "body": b"app " + scope["path"].encode()})


@pytest.fixture
async def held() -> AsyncIterator[None]:
    """A mock clock stands still while a thread reads a file."""
    with hold_clock():
        yield


@pytest.fixture
def folder(tmp_path: Path, held: None) -> Path:
    """A folder of files, and a secret beside it."""
    root = tmp_path / "static"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "big.bin").write_bytes(BIG)
    (root / "small.txt").write_bytes(SMALL)
    (root / "nothing.css").write_bytes(b"")
    (root / "index.html").write_text("<p>")
    (root / "sub" / "index.html").write_text("<i>")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to("small.txt")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(root / "fifo")
    return root


def options(folder: Path, **more: Any) -> StaticOptions:
    return StaticOptions(maps=(("/s", str(folder)),), index=("index.html",), **more)


Opened = tuple[World, Client]


async def opened(open_http: Opener, folder: Path, **more: Any) -> Opened:
    world = await open_http(app, static=options(folder), **more)
    return world, world.connect()


async def test_files_and_the_application(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """A file is sent with its type; what is not there, or is no file, is the application's."""
    _, client = await opened(open_http, folder)
    for name, kind, body in (
        ("small.txt", "text/plain", SMALL),
        ("big.bin", "application/octet-stream", BIG),
        ("nothing.css", "text/css", b""),
        ("link.txt", "text/plain", SMALL),
        ("%73mall%2Etxt", "text/plain", SMALL),
        ("/small.txt?v=1", "text/plain", SMALL),
        ("", "text/html", b"<p>"),
        ("sub/", "text/html", b"<i>"),
    ):
        answer = await client.get(f"/s/{name}")
        assert (200, kind, body) == (answer.status, answer.headers["content-type"], answer.body)
        assert str(len(body)) == answer.headers["content-length"]
    for path in ("/s/none", "/s/small.txt/", "/s/small.txt/x", "/s/empty", "/s/empty/", "/s/fifo", "/other", "/"):
        answer = await client.get(path)
        assert (404, b"app " + path.encode()) == (answer.status, answer.body)
    await client.send(b"POST /s/small.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert b"app /s/small.txt" == (await client.response()).body


async def test_folders_are_redirected(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """A folder with an index is reached with a slash at the end; the query stays."""
    _, client = await opened(open_http, folder)
    for path, location in (("/s", "s/"), ("/s/sub?a=b", "sub/?a=b")):
        answer = await client.get(path)
        assert (301, location) == (answer.status, answer.headers["location"])


async def test_head(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """HEAD has the headers of GET and no body, of small and of big files."""
    _, client = await opened(open_http, folder)
    for name in ("small.txt", "big.bin"):
        full = await client.get(f"/s/{name}")
        await client.send(f"HEAD /s/{name} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n".encode())
        head = await client.response("HEAD")
        assert (full.status, full.headers, b"") == (head.status, head.headers, head.body)


@pytest.mark.parametrize("name", ["small.txt", "big.bin"])
async def test_ranges_and_conditions(open_http: Opener, folder: Path, name: str, autojump_clock: Any) -> None:
    """Parts of a file, several parts, and nothing if the client has it already."""
    whole = (folder / name).read_bytes()
    _, client = await opened(open_http, folder)
    answer = await client.get(f"/s/{name}")
    tag, modified = answer.headers["etag"], answer.headers["last-modified"]
    for first, last in ((0, 0), (5, 700), (0, len(whole) - 1), (len(whole) - 3, len(whole) - 1), (1, len(whole))):
        answer = await client.get(f"/s/{name}", f"Range: bytes={first}-{last}", f"If-Range: {tag}")
        assert (206, whole[first : last + 1]) == (answer.status, answer.body)
    answer = await client.get(f"/s/{name}", f"Range: bytes=0-2,{len(whole) - 900}-{len(whole) - 100},-4")
    boundary = re.fullmatch("multipart/byteranges; boundary=(.*)", answer.headers["content-type"])
    assert boundary is not None
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.body.split(b"\r\n--" + boundary[1].encode())[1:-1]]
    assert [whole[:3], whole[-900:-99], whole[-4:]] == bodies
    for header in (f"If-None-Match: {tag}", f"If-Modified-Since: {modified}"):
        answer = await client.get(f"/s/{name}", header)
        assert (304, b"", tag) == (answer.status, answer.body, answer.headers["etag"])
    assert 412 == (await client.get(f"/s/{name}", "If-Match: x")).status
    answer = await client.get(f"/s/{name}", f"Range: bytes={len(whole)}-")
    assert (416, f"bytes */{len(whole)}") == (answer.status, answer.headers["content-range"])


async def test_encoded_files(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """The file beside the file that the client prefers is sent, with the type of the file; an older one is not."""
    packed = gzip.compress(SMALL)
    (folder / "small.txt.gz").write_bytes(packed)
    (folder / "small.txt.br").write_bytes(b"br" * 50_000)
    (folder / "index.html.gz").write_bytes(b"old")
    os.utime(folder / "index.html.gz", (1, 1))
    (folder / "big.bin.br").mkdir()
    _, client = await opened(open_http, folder)
    tags = set()
    for accept, encoding, body in (
        ("gzip, br", "br", b"br" * 50_000),
        ("gzip", "gzip", packed),
        ("gzip;q=1, br;q=0.5", "gzip", packed),
        ("identity", None, SMALL),
        ("", None, SMALL),
    ):
        answer = await client.get("/s/small.txt", f"Accept-Encoding: {accept}")
        assert (encoding, body) == (answer.headers.get("content-encoding"), answer.body)
        assert ("Accept-Encoding", "text/plain") == (answer.headers["vary"], answer.headers["content-type"])
        tags.add(answer.headers["etag"])
    assert 3 == len(tags)
    answer = await client.get("/s/small.txt", "Accept-Encoding: gzip", "Range: bytes=2-5")
    assert (206, packed[2:6]) == (answer.status, answer.body)
    for path in ("/s/", "/s/big.bin"):
        answer = await client.get(path, "Accept-Encoding: gzip, br")
        assert (200, False, False) == (answer.status, "vary" in answer.headers, "content-encoding" in answer.headers)
    answer = await client.get("/s/small.txt.gz")
    assert ("application/gzip", packed) == (answer.headers["content-type"], answer.body)


async def test_an_encoded_file_appears(
    open_http: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    """That there is none is remembered for a moment, of a bounded number of files."""
    monkeypatch.setattr(static_files, "_ALONE", 1)
    _, client = await opened(open_http, folder)
    gzipped = ("/s/small.txt", "Accept-Encoding: gzip")
    assert SMALL == (await client.get(*gzipped)).body
    (folder / "small.txt.gz").write_bytes(b"packed")
    assert SMALL == (await client.get(*gzipped)).body
    await client.get("/s/nothing.css")
    assert b"packed" == (await client.get(*gzipped)).body


async def test_expiry_links_and_files_as_maps(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """Clients may keep what matches; a link may lead into a safe folder; a map may be one file."""
    maps = (("/s", str(folder)), ("/icon", str(folder / "small.txt")), ("/none", str(folder / "missing")))
    found = StaticOptions(maps=maps, safe=(str(folder.parent),), expires=expiries({r"\.txt$": 60, "": 5}))
    world = await open_http(app, static=found)
    client = world.connect()
    for path, body, age in (("/s/out.txt", b"secret", 60), ("/icon", SMALL, 60), ("/s/big.bin", BIG, 5)):
        answer = await client.get(path)
        assert (body, f"max-age={age}") == (answer.body, answer.headers["cache-control"])
    for path in ("/icon/", "/icon/x", "/none/x", "/s/sub", "/s"):
        assert 404 == (await client.get(path)).status


async def test_check_static(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """A file is looked for by every path; whatever is not there or not allowed is the application's."""
    world = await open_http(app, static=StaticOptions(check=(str(folder),)))
    client = world.connect()
    assert SMALL == (await client.get("/small.txt")).body
    for path in ("/", "/none", "/out.txt", "/a/../small.txt", "/small.txt%00"):
        assert (await client.get(path)).body.startswith(b"app ")


async def test_a_file_for_pipelined_requests(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """Hundreds of requests in one piece, of files and of the application, are answered in order."""
    world, client = await opened(open_http, folder)
    paths = ["/s/small.txt", "/other", "/s/big.bin"] + ["/s/small.txt", "/s/none"] * 300
    await client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
    for path in paths:
        answer = await client.response()
        assert (200 if path in ("/s/small.txt", "/s/big.bin") else 404) == answer.status
    assert (len(paths), 0) == (world.service.requests, world.service.running)
    assert len(paths) == world.service.calls.done
    assert len(paths) == len(world.journal.notes)


async def test_a_system_that_always_waits(
    open_http: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    """Where nothing can be opened or read without waiting, threads do it, and the counts are the same."""
    monkeypatch.setattr("trio_uwsgi._system.beneath.HAS_CACHED", False)
    monkeypatch.setattr(open_file, "_NOWAIT", 0)
    world, client = await opened(open_http, folder, access_log=True)
    for _ in range(2):
        for path, body in (
            ("small.txt", SMALL),
            ("big.bin", BIG),
            ("none", b"app /s/none"),
            ("out.txt", b"Not Found\n"),
        ):
            assert body == (await client.get(f"/s/{path}")).body
    assert (8, 0, 8) == (world.service.requests, world.service.running, world.service.calls.done)
    assert 8 == len(world.journal.notes)


async def test_the_client_leaves_while_a_thread_looks(
    open_http: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application then takes the request over, and is cancelled as the user has set it."""
    monkeypatch.setattr("trio_uwsgi._system.beneath.HAS_CACHED", False)
    world, _ = await opened(open_http, folder, cancel_on_disconnect=True)
    for path in ("/s/none", "/s/big.bin"):
        client = world.connect()
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.close()
    with trio.fail_after(10):
        while world.service.running or len(world.service.sessions) > 1 or world.service.requests < 2:  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.01)
    assert [] == world.journal.failures


async def test_the_access_log(
    open_http: Opener, folder: Path, caplog: pytest.LogCaptureFixture, autojump_clock: Any
) -> None:
    """It has the bytes of each answer, also of one that was cut."""
    caplog.set_level(logging.INFO, "trio_uwsgi")
    world, client = await opened(open_http, folder, access_log=True)
    await client.get("/s/big.bin")
    await client.get("/s/big.bin", "Range: bytes=0-99999,200000-200009")
    await client.get("/s/small.txt")
    await client.send(b"HEAD /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.response("HEAD")
    slow = world.connect(narrow=300_000)
    await slow.send(b"GET /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.sleep(61)
    assert 300_000 >= len(await slow.read_all()) > 100_000
    await trio.sleep(1)
    lines = [record.getMessage() for record in caplog.records if '"' in record.getMessage()]
    found = [re.findall(r'"(\w+) \S+ HTTP/1.1" (\d+) (\d+)b [0-9.]+ms(.*)', line)[0] for line in lines]
    length = len(BIG)
    assert [("GET", "200", str(length), ""), ("GET", "200", "1024", ""), ("HEAD", "200", "0", "")] == [
        found[0],
        *found[2:4],
    ]
    assert ("206", "") == (found[1][1], found[1][3])
    assert 100_010 < int(found[1][2]) < 101_000
    assert ("200", " cut") == (found[4][1], found[4][3])
    assert int(found[4][2]) < length


async def test_a_stalled_client_and_a_slow_one(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """One that takes nothing for `socket_timeout` is disconnected; the time limit of requests does not apply."""
    world, _ = await opened(open_http, folder, harakiri=5)
    client = world.connect(narrow=100_000)
    await client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.sleep(50)
    assert 1 == world.service.running
    assert client.server_end is not None
    client.server_end.open_wide()
    assert BIG == (await client.response()).body
    client = world.connect(narrow=100_000)
    await client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.sleep(61)
    assert (0, 1) == (world.service.running, len(world.service.sessions))


async def test_draining(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """A stop lets a file be sent to its end, and closes then."""
    world, _ = await opened(open_http, folder)
    client = world.connect(narrow=100_000)
    await client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.sleep(1)
    world.service.drain()
    assert client.server_end is not None
    client.server_end.open_wide()
    assert BIG == (await client.response()).body
    assert b"" == await client.receive()
    with trio.fail_after(10):
        await world.service.wait_drained()


async def test_a_file_that_is_truncated(
    open_http: Opener, folder: Path, caplog: pytest.LogCaptureFixture, autojump_clock: Any
) -> None:
    """The connection is cut, so that the client notices, and the log says why."""
    world, _ = await opened(open_http, folder)
    client = world.connect(narrow=200_000)
    await client.send(b"GET /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    begun = await client.receive()  # a thread looks up the file, which the test's clock does not wait for
    os.truncate(folder / "big.bin", 1000)
    assert client.server_end is not None
    client.server_end.open_wide()
    assert len(BIG) > len(begun + await client.read_all())
    assert "truncated" in caplog.text
    assert 0 == world.service.running


async def test_a_folder_that_is_missing(
    open_http: Opener, folder: Path, caplog: pytest.LogCaptureFixture, autojump_clock: Any
) -> None:
    """The start says so, and goes on."""
    await opened(open_http, folder / "nowhere")
    assert f"static files: {folder / 'nowhere'} does not exist" in caplog.text


@pytest.mark.parametrize(
    ("error", "mapped", "checked"),
    [(PermissionError(13, "Permission denied"), 403, 404), (OSError(24, "Too many"), 500, 500)],
)
async def test_what_cannot_be_opened(
    open_http: Opener,
    folder: Path,
    error: OSError,
    mapped: int,
    checked: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file without permission is forbidden, or the application's; with too many open files the server has failed."""

    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(static_files, "open_beneath", fail)
    _, client = await opened(open_http, folder)
    assert mapped == (await client.get("/s/small.txt")).status
    world = await open_http(app, static=StaticOptions(check=(str(folder),)))
    assert checked == (await world.connect().get("/small.txt")).status
    assert ("the file cannot be read" in caplog.text) == (mapped == 500)


async def test_packets(open_http: Opener, folder: Path, autojump_clock: Any) -> None:
    """A front server gets files by the path that it has decoded."""
    world, _ = await opened(open_http, folder)
    peer = Peer(client=None, server=None, scheme="http", protocol="uwsgi")
    for path, expected in ((b"/s/big.bin", BIG), (b"/s/small.txt", SMALL), (b"/s/../secret.txt", b"Not Found\n")):
        client = world.connect(peer=peer)
        found = {b"REQUEST_METHOD": b"GET", b"PATH_INFO": path, b"REQUEST_URI": path, b"SERVER_PROTOCOL": b"HTTP/1.1"}
        await client.send(encode_packet(0, 0, encode_vars(list(found.items()))))
        head, _, body = (await client.read_all()).partition(b"\r\n\r\n")
        assert expected == body
        assert b"content-length: %d" % len(expected) in head


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith(f"{folder}/")]


HOSTILE = [
    "..", "../", "../secret.txt", "%2e%2e/secret.txt", "%2E%2E%2Fsecret.txt", "..%2fsecret.txt", ".%2e/secret.txt",
    "sub/../../secret.txt", "sub/%2e%2e/%2e%2e/secret.txt", "%252e%252e/secret.txt", "..%252fsecret.txt",
    "..%c0%afsecret.txt", "%c0%ae%c0%ae/secret.txt", "%uff0e%uff0e/secret.txt", "..\\secret.txt", "..%5csecret.txt",
    "%5c..%5csecret.txt", "....//secret.txt", "..;/secret.txt", "..%00/secret.txt", "small.txt%00.css",
    "../static/../secret.txt", "/../secret.txt", "//../../secret.txt", "./../secret.txt", "out.txt", "up/secret.txt",
    "root/etc/passwd", "proc/etc/passwd", "%2fetc%2fpasswd", "/etc/passwd", "//etc/passwd", "..%2f..%2f..%2fetc/passwd",
    "sub/up/secret.txt", "fd/0", "~root", "%ff/../../secret.txt", "a" * 900, "..%0d%0a/secret.txt",
    "dir.txt/secret.txt",
]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("way", ["openat2", "walk"])
async def test_hostile_paths(open_http: Opener, folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket no path gives a file outside of the folder; each is answered with 404, 403 or 400."""
    if way == "walk":
        monkeypatch.setattr("trio_uwsgi._system.beneath.HAS_BENEATH", False)
        monkeypatch.setattr("trio_uwsgi._system.beneath.HAS_CACHED", False)
    outside = {"up": "..", "root": "/", "proc": "/proc/self/root", "fd": "/dev/fd", "sub/up": "../..", "dir.txt": ".."}
    for name, target in outside.items():
        (folder / name).symlink_to(target)
    world = await open_http(app, static=options(folder))
    async with open_listeners([Address.tcp("127.0.0.1", 0)], SocketOptions(backlog=10, mode=None)) as listeners:
        world.nursery.start_soon(serve_sockets, world.service, listeners)
        port = listeners[0].socket.getsockname()[1]
        statuses = set()
        for name in HOSTILE:
            for prefix in ("/s/", "http://x/s/", "/x/../s/", "/s"):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                request = f"GET {prefix}{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                await stream.send_all(request.encode())
                with trio.fail_after(10):
                    answer = b"".join([data async for data in stream])
                await stream.aclose()
                assert not re.search(rb"secret(?!\.txt)|root:", answer.partition(b"\r\n\r\n")[2]), (prefix, name)
                statuses.add(int(answer.split()[1]))
        assert {404, 400} >= statuses
        assert 404 in statuses
        world.service.drain()


@pytest.mark.real
async def test_a_socket(open_http: Opener, folder: Path) -> None:
    """Big files by sendfile to fast, slow and broken clients, while others are served; nothing stays open."""
    world, _ = await opened(open_http, folder)
    async with open_listeners([Address.tcp("127.0.0.1", 0)], SocketOptions(backlog=10, mode=None)) as listeners:
        world.nursery.start_soon(serve_sockets, world.service, listeners)
        port = listeners[0].socket.getsockname()[1]
        slow = trio.socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await slow.connect(("127.0.0.1", port))
        broken = await trio.open_tcp_stream("127.0.0.1", port)
        for stream in (trio.SocketStream(slow), broken):
            await stream.send_all(b"GET /s/big.bin HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        await trio.sleep(0.05)
        await broken.aclose()
        client = Client(await trio.open_tcp_stream("127.0.0.1", port))
        with trio.fail_after(20):
            assert BIG == (await client.get("/s/big.bin")).body
            several = (await client.get("/s/big.bin", "Range: bytes=0-799999,900000-900001")).body
            assert BIG[:800_000] in several
            assert SMALL == (await client.get("/s/small.txt")).body
            late = Client(trio.SocketStream(slow))
            for _ in range(3):
                assert BIG == (await late.response()).body
            await late.close()
            await client.close()
            while world.service.running or len(world.service.sessions) > 1:  # noqa: ASYNC110 - likewise
                await trio.sleep(0.01)
        assert [] == open_files(folder)
        world.service.drain()
