"""Front servers for the tests beside this file: nginx, Apache and uWSGI's HTTP router, with configurations of their own
in temporary folders, in front of a real uWSGI or of ours. Nothing of the system's is read but Apache's modules.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.interop.peers import Once, Program, find_program, free_port, our_command, uwsgi_command

P = TypeVar("P", bound=Program)

# What nginx is commonly told to pass on: the `uwsgi_params` that it is installed with.
_NGINX_PARAMS = """
    uwsgi_param QUERY_STRING $query_string;
    uwsgi_param REQUEST_METHOD $request_method;
    uwsgi_param CONTENT_TYPE $content_type;
    uwsgi_param CONTENT_LENGTH $content_length;
    uwsgi_param REQUEST_URI $request_uri;
    uwsgi_param PATH_INFO $document_uri;
    uwsgi_param DOCUMENT_ROOT $document_root;
    uwsgi_param SERVER_PROTOCOL $server_protocol;
    uwsgi_param REQUEST_SCHEME $scheme;
    uwsgi_param HTTPS $https if_not_empty;
    uwsgi_param REMOTE_ADDR $remote_addr;
    uwsgi_param REMOTE_PORT $remote_port;
    uwsgi_param SERVER_PORT $server_port;
    uwsgi_param SERVER_NAME $server_name;
"""
_NGINX = """{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    {params}
    {servers}
}}
"""
_APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
Mutex file:{folder} default
ErrorLog /dev/stderr
ServerName 127.0.0.1
KeepAliveTimeout 1
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_uwsgi_module {modules}/mod_proxy_uwsgi.so
{hosts}
"""
_APACHE_MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules")


class Backend(Program):
    """An application behind a front server, on a TCP port and a unix socket.

    Args:
        kind: "uwsgi wsgi", "ours wsgi" or "ours asgi".
        folder: its working directory; others must be able to enter it.
        uwsgi: the path of a real uWSGI.
    """

    def __init__(self, kind: str, folder: Path, uwsgi: str) -> None:
        self.tcp, self.unix = f"127.0.0.1:{free_port()}", str(folder / "app.sock")
        server, _, app = kind.partition(" ")
        if server == "uwsgi":
            command = uwsgi_command(uwsgi, f"web_{app}.py", "--chmod-socket=666")
        else:
            command = our_command(f"web_{app}.py", "--chmod-socket", "666", "--http", f"127.0.0.1:{free_port()}")
        super().__init__([*command, "--socket", self.tcp, "--socket", self.unix], folder, [self.tcp, self.unix])


class Front(Program):
    """A front server with a port for each way in which it passes requests on."""

    def __init__(self, command: list[str], folder: Path, ports: dict[str, int]) -> None:
        self.ports = ports
        super().__init__(command, folder, [f"127.0.0.1:{port}" for port in ports.values()])


def nginx(backend: Backend, folder: Path) -> Front:
    """nginx, which passes on over "tcp" and "unix", each with and without "buffered" request bodies."""
    program = _find("nginx")
    servers, ports = [], {}
    for over, target in (("tcp", backend.tcp), ("unix", f"unix:{backend.unix}")):
        for name, buffering in (("buffered", "on"), ("unbuffered", "off")):
            ports[f"{over} {name}"] = port = free_port()
            servers.append(
                f"server {{ listen 127.0.0.1:{port}; "
                f"location / {{ uwsgi_pass {target}; uwsgi_request_buffering {buffering}; }} }}"
            )
    # A nginx that root starts would work as somebody who may not enter the folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, folder=folder, params=_NGINX_PARAMS, servers="\n    ".join(servers))
    (folder / "nginx.conf").write_text(text)
    return Front([program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], folder, ports)


def apache(backend: Backend, folder: Path) -> Front:
    """Apache with mod_proxy_uwsgi, which passes on over "tcp" and "unix"."""
    program = _find("apache2", "httpd")
    modules = next((path for path in _APACHE_MODULES if Path(path, "mod_proxy_uwsgi.so").exists()), None)
    if modules is None:
        pytest.skip("Apache's mod_proxy_uwsgi is not installed")
    hosts, ports = [], {}
    for over, target in (
        ("tcp", f"uwsgi://{backend.tcp}/"),
        ("unix", f"unix:{backend.unix}|uwsgi://localhost/"),
    ):
        ports[over] = port = free_port()
        hosts.append(f"Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\nProxyPass / {target}\n</VirtualHost>")
    # Apache does not work as root.
    user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
    text = _APACHE.format(user=user, folder=folder, modules=modules, hosts="\n".join(hosts))
    (folder / "apache.conf").write_text(text)
    return Front([program, "-d", str(folder), "-f", f"{folder}/apache.conf", "-D", "FOREGROUND"], folder, ports)


def router(backend: Backend, over: str, folder: Path, uwsgi: str) -> Front:
    """uWSGI's HTTP router, which passes on over "tcp" or "unix"."""
    port = free_port()
    target = backend.tcp if over == "tcp" else backend.unix
    # It may take a server that reset a connection for dead, and closes all requests meanwhile: 30 s if not told.
    options = ["--http-gracetime", "1"]
    return Front(
        [uwsgi, "--master", "--http", f"127.0.0.1:{port}", "--http-to", target, *options], folder, {over: port}
    )


def _find(*names: str) -> str:
    # Where Debian keeps servers is not on everybody's PATH.
    program = find_program(*names) or find_program(*(f"/usr/sbin/{name}" for name in names))
    if program is None:
        pytest.skip(f"{names[0]} is not installed")
    return program


class Fronts:
    """Back ends and front servers, each started when it is first needed."""

    def __init__(self, uwsgi: str, folder: Path, ends: contextlib.ExitStack) -> None:
        self._uwsgi = uwsgi
        self._folder = folder
        self._ends = ends
        self._backends = Once()
        self._fronts = Once()

    def backend(self, kind: str) -> Backend:
        """The back end of a kind."""
        return self._backends.get(kind, lambda: self._ending(Backend(kind, self._make_folder(kind), self._uwsgi)))

    def port(self, front: str, kind: str) -> int:
        """The port of a front server, as in "nginx tcp buffered", before a back end of a kind."""
        program, _, way = front.partition(" ")
        # A router has one way only.
        name = f"{front if program == 'router' else program} before {kind}"
        return self._fronts.get(name, lambda: self._start(name, program, way, self.backend(kind))).ports[way]

    def _start(self, name: str, program: str, way: str, backend: Backend) -> Front:
        folder = self._make_folder(name)
        if program == "router":
            return self._ending(router(backend, way, folder, self._uwsgi))
        return self._ending({"nginx": nginx, "apache": apache}[program](backend, folder))

    def _ending(self, program: P) -> P:
        self._ends.callback(program.kill)
        return program

    def _make_folder(self, name: str) -> Path:
        folder = self._folder / name.replace(" ", "-")
        folder.mkdir()
        return folder


@contextlib.contextmanager
def open_fronts(uwsgi: str, folder: Path) -> Iterator[Fronts]:
    """What starts servers in this folder, and kills them at the end."""
    # Apache enters it as somebody else.
    folder.chmod(0o755)
    with contextlib.ExitStack() as ends:
        yield Fronts(uwsgi, folder, ends)
