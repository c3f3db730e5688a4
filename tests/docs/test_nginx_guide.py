"""The guide on nginx, with a real nginx whose workers run as www-data: the 502 of a socket that nginx may not write to,
its remedy, and what the other blocks promise; and a real Apache. Directories, servers and configurations are those of
the page.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import ROOT, Block, blocks_of, commands_of
from tests.interop.peers import TIMEOUT, Program, find_program, free_port

NGINX = find_program("nginx", "/usr/sbin/nginx")
SETPRIV = find_program("setpriv")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(NGINX is None or SETPRIV is None, reason="nginx or setpriv is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start servers as other users"),
]

BLOCKS = list(blocks_of((ROOT / "docs/guides/nginx.md").read_text()))
FIRST = """
user www-data;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {text}
}}
"""
APACHE = find_program("apache2", "/usr/sbin/apache2")
APACHE_MODULES = Path("/usr/lib/apache2/modules")
FIRST_OF_APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
Mutex file:{folder} default
ErrorLog /dev/stderr
ServerName 127.0.0.1
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_uwsgi_module {modules}/mod_proxy_uwsgi.so
Listen 127.0.0.1:{port}
{text}
"""
# The page's user `shop` is one that exists here. The folders of this Python may be closed for others, so it may read
# everything; nothing else of root's rights is left, so that what may be written and connected to is as on the page.
AS_SHOP = (
    "setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
)


def block(language: str, part: str) -> Block:
    """The first block of a language that has this part."""
    return next(block for block in BLOCKS if block.language == language and part in block.text)


def command(*parts: str) -> str:
    """The first command of the page that has all these parts."""
    commands = [command.words for block in BLOCKS if block.language == "console" for command in commands_of(block.text)]
    return next(words for words in commands if all(part in words for part in parts))


SERVE_UWSGI = command("sudo -u shop", "--socket")
SERVE_HTTP = command("sudo -u shop", "--http")


class Machine:
    """A folder in the place of /run, where the page's directory has been made, and the programs that were started."""

    def __init__(self, folder: Path, ends: contextlib.ExitStack) -> None:
        self._folder = folder
        self._ends = ends
        (folder / "run").mkdir()
        folder.joinpath("shop.py").write_text(block("python", "# shop.py").text)
        shutil.copy("/etc/nginx/uwsgi_params", folder)
        subprocess.run(self._here(command("sudo install -d")), check=True, timeout=TIMEOUT)

    def _here(self, words: str) -> list[str]:
        """A command of the page, as it runs here."""
        words = words.replace("-o shop", "-o nobody").replace("--uid shop", "--uid root")
        words = words.replace("/run/", f"{self._folder}/run/").removeprefix("sudo ")
        words = words.replace("-u shop", AS_SHOP).replace(".venv/bin/trio-uwsgi", f"{sys.executable} -m trio_uwsgi")
        return shlex.split(words)

    def serve(self, words: str, file: str = "shop.sock") -> Program:
        """Start a server as the page does; `file` is the socket that it has to listen on."""
        program = Program(self._here(words), self._folder, [str(self._folder / "run/shop" / file)])
        self._ends.callback(program.kill)
        return program

    def nginx(self, text: str) -> Callable[..., httpx.Response]:
        """Start nginx with this block; returns what requests a path of it."""
        port = free_port()
        text = re.sub(r"listen \d+", f"listen 127.0.0.1:{port}", text).replace("/run/", f"{self._folder}/run/")
        (self._folder / "nginx.conf").write_text(FIRST.format(folder=self._folder, text=text))
        assert NGINX is not None
        words = [NGINX, "-p", str(self._folder), "-c", "nginx.conf", "-e", "stderr"]
        return self._front(words, port)

    def apache(self, text: str) -> Callable[..., httpx.Response]:
        """The same with Apache."""
        port = free_port()
        text = text.replace("*:80", f"127.0.0.1:{port}").replace("/run/", f"{self._folder}/run/")
        text = FIRST_OF_APACHE.format(folder=self._folder, modules=APACHE_MODULES, port=port, text=text)
        (self._folder / "apache.conf").write_text(text)
        words = [str(APACHE), "-d", str(self._folder), "-f", f"{self._folder}/apache.conf", "-D", "FOREGROUND"]
        return self._front(words, port)

    def _front(self, words: list[str], port: int) -> Callable[..., httpx.Response]:
        self._ends.callback(Program(words, self._folder, [f"127.0.0.1:{port}"]).kill)

        def get(**headers: str) -> httpx.Response:
            return httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": "shop.example", **headers}, timeout=TIMEOUT)

        return get

    @property
    def errors(self) -> str:
        """What nginx has logged."""
        return (self._folder / "error.log").read_text().replace(str(self._folder), "")

    @property
    def log(self) -> str:
        """What our server has logged."""
        return (self._folder / "log").read_text()


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine of the page, in a folder that other users may enter."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        Path(folder).chmod(0o755)
        yield Machine(Path(folder), ends)


def test_without_a_mode_nginx_answers_502(machine: Machine) -> None:
    """With the line in nginx's error log that the page shows; the same server with the page's options is reached."""
    without = machine.serve(re.sub(r" --chmod-socket \d+", "", SERVE_UWSGI))
    get = machine.nginx(block("nginx", "uwsgi_pass").text)
    assert 502 == get().status_code
    assert block("text", "Permission denied").text.strip() in machine.errors
    without.kill()
    machine.serve(SERVE_UWSGI)
    response = get()
    assert (200, "http://shop.example/ for 127.0.0.1\n") == (response.status_code, response.text)


def test_root_gives_the_socket_to_nginxs_group(machine: Machine) -> None:
    """The options `--uid` and `--gid` let nginx in, as the setgid directory does."""
    machine.serve(command("--gid www-data"))
    assert 200 == machine.nginx(block("nginx", "uwsgi_pass").text)().status_code


def test_the_application_trusts_one_proxy(machine: Machine) -> None:
    """Over HTTP it takes address and scheme from nginx's headers, and ignores those that the client sent."""
    untrusting = machine.serve(SERVE_HTTP, "http.sock")
    get = machine.nginx(block("nginx", "proxy_pass").text)
    headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    assert "http://shop.example/ for \n" == get(**headers).text
    untrusting.kill()
    untrusting.log.with_name("trusting.py").write_text(block("python", "ProxyFix").text)
    machine.serve(SERVE_HTTP.replace("shop:app", "trusting:app"), "http.sock")
    assert "http://shop.example/ for 127.0.0.1\n" == get(**headers).text


def test_behind_a_load_balancer(machine: Machine) -> None:
    """nginx takes the client's address from the balancer's header, and the scheme from its own configuration."""
    machine.serve(SERVE_UWSGI)
    text = block("nginx", "set_real_ip_from").text.replace("10.0.0.0/8", "127.0.0.0/8")
    response = machine.nginx(text)(**{"X-Forwarded-For": "192.0.2.1"})
    assert "https://shop.example/ for 192.0.2.1\n" == response.text


def test_the_port_reaches_the_application(machine: Machine) -> None:
    """With the line of the page for `uwsgi_params` that send `$host`."""
    machine.serve(SERVE_UWSGI)
    line = "uwsgi_param HTTP_HOST $host:$server_port;"
    assert line in (ROOT / "docs/guides/nginx.md").read_text()
    text = block("nginx", "uwsgi_pass").text.replace("uwsgi_params;", f"uwsgi_params; {line}")
    assert re.fullmatch(r"http://shop\.example:\d+/ for 127\.0\.0\.1\n", machine.nginx(text)().text)


def test_errors_of_nginx(machine: Machine) -> None:
    """No socket, a socket that a killed server has left, and one of the other protocol: rows of the page's table."""
    get = machine.nginx(block("nginx", "uwsgi_pass").text)
    assert (502, True) == (get().status_code, "(2: No such file or directory)" in machine.errors)
    machine.serve(SERVE_UWSGI).kill()
    assert (502, True) == (get().status_code, "(111: Connection refused)" in machine.errors)
    machine.serve(SERVE_HTTP.replace("http.sock", "shop.sock"))
    assert (400, True) == (get().status_code, "this is not HTTP" in machine.log)


def test_a_response_with_a_large_head(machine: Machine) -> None:
    """nginx refuses it with the line of the page's table, and passes it on with the page's remedy."""
    server = machine.serve(SERVE_UWSGI)
    server.kill()
    app = server.log.with_name("shop.py")
    app.write_text(app.read_text().replace('("Content-Type"', '("X-Large", "x" * 20_000), ("Content-Type"'))
    machine.serve(SERVE_UWSGI)
    text = block("nginx", "uwsgi_pass").text
    remedy = "uwsgi_buffer_size 32k; uwsgi_buffers 8 32k;"
    assert remedy in (ROOT / "docs/guides/nginx.md").read_text()
    with_remedy = text.replace("uwsgi_pass", f"{remedy} uwsgi_pass")
    assert (502, True) == (machine.nginx(text)().status_code, "upstream sent too big header" in machine.errors)
    assert 200 == machine.nginx(with_remedy)().status_code


@pytest.mark.skipif(not (APACHE and APACHE_MODULES.is_dir()), reason="Debian's apache2 is not installed")
def test_apache(machine: Machine) -> None:
    """The page's virtual host forwards to the same socket."""
    machine.serve(SERVE_UWSGI)
    response = machine.apache(block("apache", "ProxyPass").text)()
    assert (200, "http://shop.example/ for 127.0.0.1\n") == (response.status_code, response.text)
