"""`--mount`: several applications in one server, in processes that import them by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.commands import running

pytestmark = pytest.mark.real

APP = """
def app(environ, start_response):
    body = f"{NAME} {environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_mounted_applications(tmp_path: Path) -> None:
    """Each gets its own requests; the one that is named first gets the rest."""
    for name in ("main", "shop"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}\n{APP}")
    with running(tmp_path, "main:app", "--mount", "/shop=shop:app", "-p", "1") as server, server.client() as sock:
        for path, expected in (("/", "main  /"), ("/shop/a", "shop /shop /a"), ("/shops", "main  /shops")):
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(expected.encode()):
                answer += (piece := sock.recv(1000))
                assert piece, answer
