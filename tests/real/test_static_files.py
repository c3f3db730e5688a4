"""Downloads of files from real servers: while they stop and reload, and with flat memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import random
import re
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.real.commands import SECONDS, Command, running
from tests.real.process_runtimes import descendants

pytestmark = [pytest.mark.real, pytest.mark.processes]

DATA = random.Random(14).randbytes(8_000_000)
APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"asked"]
"""


def begin(command: Command, path: str) -> tuple[socket.socket, bytes]:
    """Ask for a file over a small window, and read its first bytes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.settimeout(SECONDS)
    sock.connect(command.address)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return sock, sock.recv(1000)


def body_of(sock: socket.socket, data: bytes) -> bytes:
    """The rest of a response, to the end of the connection."""
    pieces = [data]
    with sock:
        while piece := sock.recv(65536):
            pieces.append(piece)
    return b"".join(pieces).partition(b"\r\n\r\n")[2]


def test_a_stop_waits_for_downloads(tmp_path: Path) -> None:
    """A slow client gets its file to the end, and then the server ends."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "file").write_bytes(DATA)
    with running(tmp_path, "app.py", "--static-map", f"/s={tmp_path}", "--processes", "2") as command:
        clients = [begin(command, "/s/file") for _ in range(5)]
        command.process.send_signal(signal.SIGTERM)
        command.read("SIGTERM")
        time.sleep(0.2)
        for client in clients:
            assert DATA == body_of(*client)
        assert 0 == command.process.wait(timeout=SECONDS)


def test_a_reload_waits_for_downloads(tmp_path: Path) -> None:
    """Clients of the old workers get their files to the end, while the new ones serve."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "file").write_bytes(DATA)
    with running(tmp_path, "app.py", "--static-map", f"/s={tmp_path}", "--processes", "2") as command:
        clients = [begin(command, "/s/file") for _ in range(5)]
        command.process.send_signal(signal.SIGHUP)
        command.read("reloaded in")
        assert DATA == body_of(*begin(command, "/s/file"))
        for client in clients:
            assert DATA == body_of(*client)


@pytest.mark.long
def test_memory_is_flat(tmp_path: Path) -> None:
    """A file of 1 GiB goes to two clients at once, and another one to others meanwhile, without memory for it."""
    size = 1024 * 1024 * 1024
    (tmp_path / "app.py").write_text(APP)
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)
    (tmp_path / "small").write_bytes(b"small")

    def peak() -> int:
        found = [Path(f"/proc/{pid}/status").read_text() for pid in descendants(command.process.pid)]
        return sum(int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) * 1024 for status in found)

    def download() -> None:
        sock, data = begin(command, "/s/file")
        received = len(data) - len(data.partition(b"\r\n\r\n")[0]) - 4
        buffer = bytearray(1 << 20)
        with sock:
            while count := sock.recv_into(buffer):
                received += count
        sizes.append(received)

    with running(tmp_path, "app.py", "--static-map", f"/s={tmp_path}", "--processes", "1") as command:
        assert b"small" == body_of(*begin(command, "/s/small"))
        before = peak()
        sizes: list[int] = []
        threads = [threading.Thread(target=download) for _ in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert b"small" == body_of(*begin(command, "/s/small"))
            time.sleep(0.05)
        assert [size] * 2 == sizes
        assert peak() - before < 8 * 1024 * 1024


# What is asked for below /s/.
HOSTILE = {
    "dots": "../secret",
    "dots further up": "../" * 20 + "etc/passwd",
    "dots behind a folder": "d1/../../secret",
    "dots at the end": "d1/..",
    "encoded dots": "%2e%2e/secret",
    "half encoded dots": ".%2E/secret",
    "encoded slash": "..%2fsecret",
    "all encoded": "%2e%2e%2f%73%65%63%72%65%74",
    "double encoded dots": "%252e%252e/secret",
    "double encoded slash": "..%252fsecret",
    "triple encoded": "%25252e%25252e%25252fsecret",
    "overlong slash": "..%c0%afsecret",
    "overlong dot": "%c0%ae%c0%ae/secret",
    "three bytes overlong": "%e0%80%ae%e0%80%ae/secret",
    "full width dots": "%ef%bc%8e%ef%bc%8e/secret",
    "not UTF-8": "%ff/../../secret",
    "of IIS": "%u002e%u002e/secret",
    "backslash": "..\\secret",
    "encoded backslash": "..%5csecret",
    "drive": "C:%5csecret",
    "more dots": "....//secret",
    "parameter": "..;/secret",
    "null byte": "../secret%00",
    "null byte in a name": "d1/f1%00.css",
    "line end": "d1/f1%0d%0aX:%20y",
    "blank at the end": "d1/f1%20",
    "absolute": "/etc/passwd",
    "encoded absolute": "%2fetc%2fpasswd",
    "absolute with dots": "//../../etc/passwd",
    "home": "~root/.bashrc",
    "slash behind a file": "d1/f1/",
    "below a file": "d1/f1/../../../secret",
    "long name": "n" * 300,
    "long path": "d1/" * 1500 + "f1",
    "link to a file outside": "out",
    "link to a folder outside": "up/secret",
    "absolute link": "root/etc/passwd",
    "link through a link": "d1/up/secret",
    "link of the system": "proc/etc/passwd",
    "descriptors": "fd/0",
    "loop of links": "loop",
    "link to nowhere": "dangling",
    "fifo": "fifo",
    "socket": "socket",
    "device": "device",
    "link to a device": "zero",
}


def make_folder(folder: Path) -> Path:
    """10,000 files, and what does not lead to one, beside a secret."""
    files = folder / "files"
    for directory in range(100):
        (files / f"d{directory}").mkdir(parents=True)
        for number in range(100):
            (files / f"d{directory}" / f"f{number}").write_text(f"{directory}-{number}")
    (folder / "secret").write_text("secret")
    links = {"out": "../secret", "up": "..", "root": "/", "d1/up": "../up", "proc": "/proc/self/root", "fd": "/dev/fd"}
    for name, target in {**links, "loop": "loop", "dangling": "nowhere", "zero": "/dev/zero"}.items():
        (files / name).symlink_to(target)
    os.mkfifo(files / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(files / "socket"))
    with contextlib.suppress(PermissionError):  # only root may; then it is not there
        os.mknod(files / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (files / "real").mkdir()
    (files / "real" / "secret").write_text("inside")
    (files / "link").symlink_to("..")
    return files


def swap(files: Path, over: threading.Event) -> None:
    """Let `changes` be a folder and a link to the outside, in turn, until it is over."""
    while not over.is_set():
        for name in ("real", "link"):
            (files / name).rename(files / "changes")
            (files / "changes").rename(files / name)


def ask(command: Command, path: str) -> tuple[int, bytes]:
    """Status and body of one request."""
    with socket.create_connection(command.address, timeout=SECONDS) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def read_them(command: Command, names: list[tuple[int, int]]) -> None:
    """Ask for files over one connection, a hundred at a time."""
    connection = http.client.HTTPConnection(*command.address, timeout=SECONDS)
    for directory, number in names:
        connection.request("GET", f"/s/d{directory}/f{number}")
        response = connection.getresponse()
        assert (200, f"{directory}-{number}".encode()) == (response.status, response.read())
    connection.close()


def test_ten_thousand_files_and_hostile_paths(tmp_path: Path) -> None:
    """Each file is sent whole; no path, and no link that appears meanwhile, gives one outside of the folder."""
    files = make_folder(tmp_path)
    (tmp_path / "app.py").write_text(APP.replace("200 OK", "404 Not Found"))
    names = [(directory, number) for directory in range(100) for number in range(100)]
    random.Random(5).shuffle(names)
    over = threading.Event()
    statuses: dict[str, set[int]] = {kind: set() for kind in HOSTILE}
    raced: set[tuple[int, bytes]] = set()
    with (
        running(tmp_path, "app.py", "--static-map", f"/s={files}", "--processes", "2") as command,
        concurrent.futures.ThreadPoolExecutor(3) as pool,
    ):
        swapping = pool.submit(swap, files, over)
        readers = [pool.submit(read_them, command, names[start::2]) for start in range(2)]
        try:
            while not all(reader.done() for reader in readers) or len(raced) < 2:
                for kind, path in HOSTILE.items():
                    for prefix in ("/s/", "http://x/s/", "/s"):
                        status, body = ask(command, f"{prefix}{path}")
                        assert not re.search(rb"secret|inside|root:", body), kind
                        statuses[kind].add(status)
                    raced.add(ask(command, "/s/changes/secret"))
        finally:
            over.set()
        for done in (swapping, *readers):
            done.result(SECONDS)
    for kind, found in statuses.items():
        assert found <= {403, 404}, (kind, found)
    assert raced <= {(200, b"inside"), (404, b"asked"), (404, b"Not Found\n")}
