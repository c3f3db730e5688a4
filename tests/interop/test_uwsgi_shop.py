"""The shop that was written for uWSGI starts with the command that it prints, unmodified, here and under uWSGI."""

from __future__ import annotations

import ast
import http.client
import json
import re
import shlex
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.interop.peers import ROOT, TIMEOUT, Program, find_program, free_port

pytestmark = pytest.mark.real

FOLDER = Path("examples", "shop_uwsgi")
TEA = urlencode({"product": "tea", "email": "ada@example.com"})


def printed_command(server: str) -> list[str]:
    """The words of the command in the example's docstring that starts this server."""
    text = ast.get_docstring(ast.parse((ROOT / FOLDER / "shop.py").read_text())) or ""
    found = re.search(rf"(?<![\w-]){server} --ini \S+", text)
    assert found is not None, text
    return shlex.split(found[0])


def ask(port: int, method: str, path: str, form: str = "") -> tuple[int, str]:
    """What the shop answers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        connection.request(method, path, form, {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        return response.status, response.read().decode()


def wait_for(port: int, path: str, text: str) -> str:
    """Ask until the answer has this text."""
    end = time.monotonic() + TIMEOUT
    while text not in (answer := ask(port, "GET", path)[1]):
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    return answer


@pytest.mark.parametrize("server", ["trio-uwsgi", "uwsgi"])
def test_the_shop_of_import_uwsgi(server: str, tmp_path: Path) -> None:
    """It takes an order, confirms it in a job and counts it in the mule, with the same answers."""
    program, *words = printed_command(server)
    start = [sys.executable, "-m", "trio_uwsgi"]
    if program == "uwsgi":
        found = find_program("uwsgi", "pyuwsgi")
        if found is None:
            pytest.skip("uWSGI is not installed: pip install pyuwsgi")
        start = [found]
    shutil.copytree(ROOT / FOLDER, tmp_path / FOLDER)
    port = free_port()
    ini = tmp_path / FOLDER / "uwsgi.ini"
    ini.write_text(ini.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    shop = Program([*start, *words], tmp_path, [f"127.0.0.1:{port}"])
    try:
        page = "<h1>Shop</h1>\n<ul>\n<li>coffee: 9 EUR, 20 in stock</li>\n<li>tea: 6 EUR, {} in stock</li>\n</ul>\n"
        assert (200, page.format(50)) == ask(port, "GET", "/")
        assert (202, "order 1 accepted\n") == ask(port, "POST", "/orders", TEA)
        order = json.loads(wait_for(port, "/orders/1", "true"))
        assert {"product": "tea", "confirmed": True} == order
        assert page.format(49) == wait_for(port, "/", "49 in stock")
        assert 404 == ask(port, "GET", "/orders/2")[0]
        assert 0 == shop.stop(), shop.log.read_text()
    finally:
        shop.kill()
    assert "mail to ada@example.com: your tea is on its way" in shop.log.read_text()
