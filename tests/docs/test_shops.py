"""The shops of the tutorial: their tests pass, each starts by its one command, and the tutorial ends with them.

That of `import uwsgi` has no page of the tutorial: see `test_shop_versions.py` and `tests/interop/test_uwsgi_shop.py`.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import ROOT, blocks_of

FLASK, STARLETTE = ROOT / "examples" / "shop_flask", ROOT / "examples" / "shop_starlette"
TEA = {"product": "tea", "email": "ada@example.com"}
each_shop = pytest.mark.parametrize("folder", [FLASK, STARLETTE], ids=lambda folder: folder.name)


def code_of(source: str) -> str:
    """A module without the docstring at its top, and without comments for type checkers."""
    documented = ast.get_docstring(ast.parse(source)) is not None
    return re.sub(r"  # type: .*", "", source.partition('"""\n\n')[2] if documented else source)


@each_shop
def test_shops_are_short_and_say_what_they_are(folder: Path) -> None:
    """At most 140 lines, with the header of the other examples."""
    source = (folder / "shop.py").read_text()
    assert 140 >= len(source.splitlines())
    header = ast.get_docstring(ast.parse(source)) or ""
    assert ["Shows", "Try it", "Leaves out"] == re.findall(r"^(Shows|Try it|Leaves out)\b", header, flags=re.MULTILINE)
    assert f"trio-uwsgi examples/{folder.name}/shop.py" in header


@pytest.mark.parametrize(
    ("page", "path"),
    [("orders.md", FLASK / "shop.py"), ("starlette.md", STARLETTE / "shop.py"), ("tests.md", FLASK / "test_shop.py")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_tutorial_ends_with_the_examples(page: str, path: Path) -> None:
    """The last version of a file in the tutorial is the example's file."""
    text = (ROOT / "docs" / "tutorial" / page).read_text()
    shown = [block.text for block in blocks_of(text) if block.file_name == path.name]
    assert code_of(path.read_text()) == shown[-1].removeprefix(f"# {path.name}\n")


@pytest.mark.real
@each_shop
def test_the_tests_of_a_shop_pass(folder: Path, tmp_path: Path) -> None:
    """Also in a project of its own, without this one's configuration of pytest."""
    for name in ("shop.py", "test_shop.py"):
        shutil.copy(folder / name, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert 0 == done.returncode, done.stdout
    assert "10 passed" in done.stdout


def wait_for(client: httpx.Client, path: str, text: str) -> None:
    """Ask until the answer has this text."""
    end = time.monotonic() + 30
    while text not in (answer := client.get(path).text):
        assert time.monotonic() < end, answer
        time.sleep(0.05)


@pytest.mark.real
@pytest.mark.parametrize("where", ["tasks", "processes"])
@each_shop
def test_a_shop_as_a_program(folder: Path, where: str, tmp_path: Path) -> None:
    """`trio-uwsgi examples/X/shop.py` takes an order, confirms it and counts, in tasks as in processes."""
    words = [
        str(folder / "shop.py"),
        "--http",
        "unix:shop.sock",
        *(["--processes", "2"] if where == "processes" else []),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "trio_uwsgi", *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            assert process.stderr is not None
            said = ""
            while f"1 mule and 1 spooler, in {where} of process" not in said:  # the last line of the start
                line = process.stderr.readline()
                assert line, said
                said += line
            transport = httpx.HTTPTransport(uds=str(tmp_path / "shop.sock"))
            with httpx.Client(transport=transport, base_url="http://shop") as client:
                assert "tea: 6 EUR, 50 in stock" in client.get("/").text
                assert "order 1 accepted\n" == client.post("/orders", data=TEA).text
                wait_for(client, "/orders/1", '"confirmed":true')
                wait_for(client, "/", "tea: 6 EUR, 49 in stock")
            process.send_signal(signal.SIGTERM)
            said += process.stderr.read()
            assert 0 == process.wait(30), said
        finally:
            guard.cancel()
            process.kill()
    assert "mail to ada@example.com: your tea is on its way" in said
