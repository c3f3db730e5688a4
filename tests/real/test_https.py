"""HTTPS by the command line: other programs' clients, clients' certificates, and renewed certificates under load."""

from __future__ import annotations

import contextlib
import http.client
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.certificates import Authority
from tests.real.servers import SECONDS, Server, every_mode, serving, until
from trio_uwsgi import Address, Config, Tls, serve
from trio_uwsgi.errors import NotServing

pytestmark = pytest.mark.real

LONG = 60.0  # seconds: reloads under load, on a machine that does other things as well

SOURCE = """
def who():
    return environ.get("SSL_CLIENT_S_DN_CN", environ.get("SSL_CLIENT_VERIFY", "?"))
def scheme():
    return environ["wsgi.url_scheme"] + environ["HTTPS"]
def slow():
    time.sleep(0.05)
    return "slow"
def app(environ, start_response, asked=app):
    globals()["environ"] = environ
    return asked(environ, start_response)
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def words(authority: Authority, more: str = "") -> list[str]:
    """The option, with a new certificate."""
    certificate, key = authority.issue("server")
    return ["--https", f"127.0.0.1:0,{certificate},{key}{more}"]


def port(server: Server) -> int:
    """Where it serves HTTPS."""
    found = re.search(r"https on 127\.0\.0\.1:(\d+)", server.wait_for("https on"))
    assert found is not None
    return int(found[1])


def run(*line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)


@every_mode
def test_curl(tmp_path: Path, authority: Authority, curl: str, mode: str) -> None:
    """curl gets a page over TLS, and a sentence without it."""
    with serving(tmp_path, SOURCE, mode, *words(authority)) as server:
        url = f"localhost:{port(server)}/scheme"
        assert "httpson" == run(curl, "-sS", "--http1.1", "--cacert", authority.file, f"https://{url}").stdout
        assert "httpson" == run(curl, "-sS", "--tls-max", "1.2", "--cacert", authority.file, f"https://{url}").stdout
        plain = run(curl, "-sS", "-w", "%{http_code}", f"http://{url}").stdout
        assert plain.startswith("this address serves HTTPS, and the request was sent without TLS")
        assert plain.endswith("400")
        assert 0 == server.end()


def test_openssl(tmp_path: Path, authority: Authority) -> None:
    """s_client agrees on HTTP/1.1, finds the chain in order, and is offered no old protocol."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    with serving(tmp_path, SOURCE, "tasks", *words(authority)) as server:
        line = [openssl, "s_client", "-connect", f"127.0.0.1:{port(server)}", "-CAfile", authority.file]
        line += ["-servername", "localhost"]
        said = run(*line, "-alpn", "h2,http/1.1").stdout
        assert "ALPN protocol: http/1.1" in said
        assert "Verify return code: 0 (ok)" in said
        assert "TLSv1.3, Cipher is TLS_" in said
        old = run(*line, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert 0 != old.returncode
        assert "alert protocol version" in old.stderr


@every_mode
def test_a_clients_certificate(tmp_path: Path, authority: Authority, curl: str, mode: str) -> None:
    """Who has none is refused, who has one is known by name."""
    certificate, key = authority.issue("someone", "me@example.org")
    with serving(tmp_path, SOURCE, mode, *words(authority, f",,!{authority.file}")) as server:
        line = [curl, "-sS", "--cacert", authority.file, f"https://localhost:{port(server)}/who"]
        assert "someone" == run(*line, "--cert", certificate, "--key", key).stdout
        refused = run(*line)
        assert (True, "") == (refused.returncode != 0, refused.stdout)
        server.wait_for("the TLS handshake failed: peer did not return a certificate")


def test_a_clients_certificate_that_is_optional(tmp_path: Path, authority: Authority, curl: str) -> None:
    """Who has none is served, too; who has another authority's is refused."""
    mine = authority.issue("someone", "me@example.org")
    (tmp_path / "other").mkdir()
    strange = Authority(tmp_path / "other").issue("stranger", "me@example.org")
    with serving(tmp_path, SOURCE, "tasks", *words(authority, f",,{authority.file}")) as server:
        line = [curl, "-sS", "--cacert", authority.file, f"https://localhost:{port(server)}/who"]
        assert "NONE" == run(*line).stdout
        assert "someone" == run(*line, "--cert", mine[0], "--key", mine[1]).stdout
        refused = run(*line, "--cert", strange[0], "--key", strange[1])
        assert (True, "") == (refused.returncode != 0, refused.stdout)
        server.wait_for("the client's certificate was refused")


STALLED = 1000


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as a thousand clients need, here and in a server that is started."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = STALLED + 500
    if resource.RLIM_INFINITY != limits[1] < needed:
        pytest.skip(f"this user may not have {needed} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, limits[0]), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@every_mode
@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_stalled_handshakes(tmp_path: Path, authority: Authority, mode: str) -> None:
    """Clients that stall before, in and after their first message, and after the handshake, stop nobody; in the end
    they are disconnected."""
    context = authority.context()
    with serving(tmp_path, SOURCE, mode, *words(authority), "--header-timeout", "5") as server:
        address = ("127.0.0.1", port(server))
        with contextlib.ExitStack() as ends:
            stalled = [ends.enter_context(socket.create_connection(address, timeout=LONG)) for _ in range(STALLED)]
            for number, sock in enumerate(stalled):
                outgoing = ssl.MemoryBIO()
                client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
                with contextlib.suppress(ssl.SSLWantReadError):
                    client.do_handshake()
                hello = outgoing.read()
                sock.sendall((b"", hello[:1], hello[:100], hello)[number % 4])
            for _ in range(100):
                connection = http.client.HTTPSConnection(*address, timeout=LONG, context=context)
                connection.request("GET", "/hello")
                assert b"hello" == connection.getresponse().read()
                connection.close()
            for sock in stalled:
                while sock.recv(65536):
                    pass
        assert 0 == server.end()


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    """The start fails, and says which file it is."""
    line = [sys.executable, "-m", "trio_uwsgi", "app:app", "--https", "127.0.0.1:0,none.pem,none.key"]
    (tmp_path / "app.py").write_text("def app(environ, start_response): ...\n")
    failed = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert 0 != failed.returncode
    said = f"cannot listen on 127.0.0.1:0: {tmp_path}/none.pem cannot be read (No such file or directory)"
    assert said in failed.stderr


@pytest.mark.parametrize("placement", ["task", "memory"])
async def test_an_embedded_server(authority: Authority, placement: str, caplog: pytest.LogCaptureFixture) -> None:
    """It serves HTTPS beside HTTP; a reload reads certificates, and is refused where there is nothing to read."""
    caplog.set_level("INFO")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(*authority.issue("own"))
    context = Tls(address="127.0.0.1:0", context=own)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})

    async def ask(address: Address, client: ssl.SSLContext | None) -> bytes:
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", address.port)
        if client is not None:
            stream = trio.SSLStream(stream, client, server_hostname="localhost")
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := await stream.receive_some():
            answer += data
        await stream.aclose()
        return answer.partition(b"\r\n\r\n")[2]

    for https, read in ((authority.tls(), True), (context, False)):
        config = Config(http="127.0.0.1:0", https=https, placement=placement, lifespan="off", workers=2)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            runtime = await nursery.start(serve, app, config)
            (plain,), (secure,) = runtime.addresses, runtime.https_addresses
            assert f"on {plain}, {secure}:" in repr(runtime)
            assert (b"http", b"https") == (await ask(plain, None), await ask(secure, authority.context()))
            if read:
                runtime.reload()
                assert f"https on {secure}: the certificates were read again" in caplog.messages
            else:
                with pytest.raises(NotServing):
                    runtime.reload()
            assert b"https" == await ask(secure, authority.context())
            runtime.stop()


class Load:
    """Clients that send one request after another; every third connection is new."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.answers: Counter[str] = Counter()  # by the certificate's serial number
        self.failures: list[BaseException] = []
        self._port = port(server)
        self._context = context
        self._over = threading.Event()

    @contextlib.contextmanager
    def running(self, count: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(SECONDS)

    def wait_for(self, serial: str) -> None:
        """Wait until twenty more requests were answered under this certificate."""
        enough = self.answers[serial] + 20
        until(lambda: self.failures or self.answers[serial] >= enough, LONG)
        assert [] == self.failures

    def wait_for_another(self, serial: str) -> str:
        """Wait until a request was answered under another certificate; its serial number.

        The log says that a reload is over when the old workers were told to end. They may still accept somebody before
        they have heard of it, so whatever the next new client sees proves nothing.
        """
        until(lambda: self.failures or set(self.answers) - {serial}, LONG)
        assert [] == self.failures
        (other,) = set(self.answers) - {serial}
        return other

    def _run(self) -> None:
        while not self._over.is_set() and not self.failures:
            connection = http.client.HTTPSConnection("localhost", self._port, timeout=SECONDS, context=self._context)
            try:
                self._ask(connection)
            except BaseException as error:
                self.failures.append(error)
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPSConnection) -> None:
        for _ in range(3):
            connection.request("GET", "/hello")
            response = connection.getresponse()
            assert (200, b"hello") == (response.status, response.read())
            if response.getheader("connection") == "close":
                break
            self.answers[serial(connection.sock)] += 1


def serial(sock: ssl.SSLSocket) -> str:
    """Of the server's certificate."""
    found = sock.getpeercert()
    assert found
    return str(found["serialNumber"])


def fresh(server: Server, context: ssl.SSLContext) -> str:
    """The serial number that a new client sees."""
    with (
        socket.create_connection(("127.0.0.1", port(server)), timeout=SECONDS) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as secured,
    ):
        return serial(secured)


@every_mode
def test_a_renewed_certificate(tmp_path: Path, authority: Authority, mode: str) -> None:
    """SIGHUP under load: no request is lost, new clients see the new one; a broken one changes nothing."""
    context = authority.context()
    with serving(tmp_path, SOURCE, mode, *words(authority)) as server:
        done = "reloaded in" if "proc" in mode or mode == "lazy" else "only certificates are reloaded"
        first = fresh(server, context)
        load = Load(server, context)
        with load.running(6):
            load.wait_for(first)
            authority.issue("server")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(done, seconds=LONG)
            second = load.wait_for_another(first)
            load.wait_for(second)
            (tmp_path / "server.pem").write_text("broken")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("the certificates that were read before stay in force", seconds=LONG)
            until(lambda: 2 == server.said.count(done), LONG)
            load.wait_for(second)
        assert [] == load.failures
        assert {first, second} == set(load.answers)
        assert second == fresh(server, context)
        assert 0 == server.end()


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")
def test_two_workers_have_as_many_clients(tmp_path: Path, authority: Authority) -> None:
    """Where workers are processes, clients of HTTPS are shared as others are."""
    context = authority.context()
    with serving(tmp_path, SOURCE, "processes", *words(authority)) as server, contextlib.ExitStack() as stack:
        pids: Counter[str] = Counter()
        for _ in range(64):
            connection = http.client.HTTPSConnection("localhost", port(server), timeout=SECONDS, context=context)
            stack.callback(connection.close)
            connection.request("GET", "/pid")
            pids[connection.getresponse().read().decode()] += 1
            time.sleep(0.003)
        assert 2 == len(pids)
        assert max(pids.values()) <= 1.2 * 32, pids
