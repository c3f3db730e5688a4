"""An application that configures logging does not silence the server, unless it says that."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_uwsgi import __main__ as command
from trio_uwsgi._units.loggers import enable_own_loggers

pytestmark = pytest.mark.real

ROOT = Path(command.__file__).parent.parent
ROOT_CONFIG = """logging.config.dictConfig({
    "version": 1, "formatters": {"f": {"format": "THEIRS %(message)s"}},
    "handlers": {"c": {"class": "logging.StreamHandler", "formatter": "f"}},
    "root": {"handlers": ["c"], "level": "INFO"}LOGGERS})
"""
VIEW = """
def app(environ, start_response):
    raise ValueError("nobody would know")
"""
IMPORTS = "import logging, logging.config\nfrom trio_uwsgi import uwsgi\n"


@contextlib.contextmanager
def served(folder: Path, source: str, *words: str) -> Iterator[list[str]]:
    """Serve this application, ask it once, and stop; gives what was logged from the start to the end."""
    (folder / "shop.py").write_text(source)
    line = [sys.executable, "-m", "trio_uwsgi", "shop:app", "--http", "127.0.0.1:0", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(line, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            assert process.stderr is not None
            said: list[str] = []
            while not any("of process" in text for text in said):
                said.append(process.stderr.readline())
                assert said[-1], said
            (port,) = re.findall(r"http on 127\.0\.0\.1:(\d+)", "".join(said))
            client = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
            with contextlib.closing(client):
                client.request("GET", "/")
                assert 500 == client.getresponse().status
            process.send_signal(signal.SIGTERM)
            said += process.stderr.readlines()
            assert 0 == process.wait(30)
            yield said
        finally:
            guard.cancel()
            process.kill()


@pytest.mark.parametrize(
    "words",
    [
        [],
        pytest.param(["--threads", "2"], marks=pytest.mark.long),
        ["-p", "1"],
        pytest.param(["-p", "1", "--lazy-apps"], marks=pytest.mark.long),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("where", ["import", pytest.param("post_fork", marks=pytest.mark.long)])
def test_a_configuration_does_not_silence_the_server(tmp_path: Path, where: str, words: list[str]) -> None:
    """After a dictConfig that disables what it does not name, failures and requests are logged, by its handlers."""
    configure = ROOT_CONFIG.replace("LOGGERS", "")
    if where == "post_fork":
        configure = "@uwsgi.post_fork\ndef configure():\n    " + configure.replace("\n", "\n    ")
    with served(tmp_path, f"{IMPORTS}{configure}{VIEW}", *words) as said:
        assert 1 == sum("request GET / failed: ValueError: nobody would know" in line for line in said)
        (access,) = [line for line in said if '"GET / HTTP/1.1" 500' in line]
        assert access.startswith("THEIRS ")


def test_a_configuration_that_names_ours_is_obeyed(tmp_path: Path) -> None:
    """Levels and handlers that it gives to our loggers, and one that its code disables by hand, are as it says."""
    quiet = ROOT_CONFIG.replace("LOGGERS", ', "loggers": {"trio_uwsgi.access": {"level": "ERROR"}}')
    with served(tmp_path, f"{IMPORTS}{quiet}{VIEW}") as said:
        assert any("nobody would know" in line for line in said)
        assert not any("GET / HTTP/1.1" in line for line in said)


def test_what_is_disabled_by_hand_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what disables everything is taken back."""
    ours = logging.getLogger("trio_uwsgi.access")
    monkeypatch.setattr(ours, "disabled", True)
    enable_own_loggers()
    assert ours.disabled
    monkeypatch.setattr(logging.getLogger("trio_uwsgi.bystander"), "disabled", True)
    enable_own_loggers()
    assert not ours.disabled
