"""Twenty configuration files as people write them: explained line by line, and served by ours and by a real uWSGI."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.peers import TIMEOUT, Program, exchange, find_program, free_port
from trio_uwsgi._protocol.packet import encode_packet, encode_vars

pytestmark = pytest.mark.real

FILES = Path(__file__).parents[1] / "fixtures" / "uwsgi_ini"
REFUSED = ("daemonized", "emperor", "gevent", "hooks", "nginx_replacement")
SERVED = sorted({path.stem for path in FILES.glob("*.ini")} - {*REFUSED, "base"})
OURS = [sys.executable, "-m", "trio_uwsgi"]
# What this uWSGI, a wheel, has not, or does at the cost of the test: plugins as files, threads of statistics.
NOT_IN_THE_WHEEL = re.compile(r"^(plugins|home|stats) .*\n", re.MULTILINE)


def placed(name: str, folder: Path) -> tuple[str, dict[str, int]]:
    """Put a file and the sites into a folder, which takes the place of /srv; ports become free ones.

    Returns:
        the name of the file, and the ports that it now has.
    """
    shutil.copytree(FILES / "apps", folder, dirs_exist_ok=True)
    (folder / "run").mkdir()
    (folder / "venv").symlink_to(sys.prefix)
    user = getpass.getuser()
    ports: dict[str, int] = {}
    for path in FILES.glob("*.ini"):
        text = path.read_text().replace("/srv", str(folder)).replace("www-data", user).replace(f"{user}:{user}", user)
        if path.stem == name:
            for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", text))):
                ports[port] = free_port()
                text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ports[port]}")
        if path.stem == name and "chdir" not in text and "ini = %d" not in text:
            text = text.replace("[uwsgi]\n", f"[uwsgi]\nchdir = {folder}/app\n", 1)
        (folder / path.name).write_text(text)
    return f"{name}.ini", ports


def checked(file: str, folder: Path) -> tuple[int, dict[str, Any]]:  # Any: JSON
    """What `trio-uwsgi check` says of a file: the exit code, and the JSON."""
    done = subprocess.run(
        [*OURS, "check", "--format=json", file], cwd=folder, capture_output=True, timeout=TIMEOUT, env=environment()
    )
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def environment() -> dict[str, str]:
    """The environment of a command that finds this package from any folder."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def page(address: str, protocol: str, path: str) -> str:
    """The body of a page."""
    if protocol == "http":
        request = f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode()
    else:
        variables = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REQUEST_URI": path, "QUERY_STRING": ""}
        variables |= {"SERVER_NAME": "x", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "x"}
        request = encode_packet(0, 0, encode_vars([(k.encode(), v.encode()) for k, v in variables.items()]))
    return exchange(address, request).partition(b"\r\n\r\n")[2].decode()


def address_in(command: list[str]) -> tuple[str, str]:
    """Where a translated command line serves, and its protocol."""
    at = next(number for number, word in enumerate(command) if word in ("--http", "--socket"))
    return command[at + 1], command[at].removeprefix("--").replace("socket", "uwsgi")


def test_there_are_twenty() -> None:
    """Twenty files, and one that is included by another."""
    assert 20 == len(SERVED) + len(REFUSED)


@pytest.mark.parametrize("name", [*SERVED, *REFUSED])
def test_check_explains_every_line(name: str, tmp_path: Path) -> None:
    """Each option of the file has its line number, a verdict, and words or a reason; a refusal is exit code 1."""
    file, _ = placed(name, tmp_path)
    code, found = checked(file, tmp_path)
    assert (1 if name in REFUSED else 0) == code, found["mistakes"]
    assert bool(found["mistakes"]) == (name in REFUSED)
    explained = {option["line"] for option in found["options"] if option["file"] == file}
    lines = (tmp_path / file).read_text().splitlines()
    section = ""
    for number, line in enumerate(lines, 1):
        if line.startswith("["):
            section = line
        elif line and line[0] not in ";#" and section != "[development]":
            assert number in explained, line
    for option in found["options"]:
        assert option["becomes"] or option["note"] or option["verdict"] == "read", option


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_file_does_not_start(name: str, tmp_path: Path) -> None:
    """Exit code 2, and a line with file and line number for each mistake that `check` found."""
    file, _ = placed(name, tmp_path)
    _, found = checked(file, tmp_path)
    done = subprocess.run(
        [*OURS, "--ini", file], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, env=environment()
    )
    assert 2 == done.returncode
    assert [f"trio-uwsgi: {mistake}" for mistake in found["mistakes"]] == done.stderr.splitlines()


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("who", ["ours", "uwsgi"])
def test_both_serve_it(name: str, who: str, tmp_path: Path) -> None:
    """A file that nothing in is refused serves the same page here and there."""
    folder = Path(os.path.realpath(tmp_path))
    file, _ = placed(name, folder)
    _, found = checked(file, folder)
    address, protocol = address_in(found["command"])
    command = [*OURS, "--ini", file]
    if who == "uwsgi":
        program = find_program("uwsgi", "pyuwsgi")
        if program is None:
            pytest.skip("uWSGI is not installed: pip install pyuwsgi")
        (folder / file).write_text(NOT_IN_THE_WHEEL.sub("", (folder / file).read_text()))
        command = [program, "--ini", file, "--die-on-term"]
    server = Program(command, folder, [address])
    try:
        site = (
            "mysite" if "site/" in (folder / file).read_text() or "mysite" in (folder / file).read_text() else "flask"
        )
        assert f"{site} a/page" == page(address, protocol, "/a/page"), server.log.read_text()
    finally:
        server.kill()


@pytest.mark.parametrize("name", SERVED)
def test_both_read_the_same(name: str, tmp_path: Path) -> None:
    """The options and values of a file, with all that it includes and refers to, are those that a real uWSGI shows."""
    program = find_program("uwsgi", "pyuwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    folder = Path(os.path.realpath(tmp_path))
    file, _ = placed(name, folder)
    _, found = checked(file, folder)
    ours = [(option["option"], option["value"]) for option in found["options"] if option["verdict"] != "skipped"]
    # A plugin that does not exist ends uWSGI before it shows anything.
    (folder / file).write_text((folder / file).read_text().replace("plugins = ", "x-plugins = "))
    done = subprocess.run(
        [program, "--ini", file, "--show-config", "--no-server"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    text = "".join([done.stdout, done.stderr, *(log.read_text() for log in (folder / "run").glob("*.log"))])
    text = re.sub(r"^\w{3} \w{3} [\d :]+ - ", "", text, flags=re.MULTILINE)  # of log-date
    shown = text.partition(";uWSGI instance configuration\n[uwsgi]\n")[2].partition("\n;end of configuration")[0]
    pairs = [tuple(line.split(" = ", 1)) for line in shown.replace("x-plugins", "plugins").splitlines()]
    assert [("show-config", "true"), ("no-server", "true")] == pairs[-2:], text
    # uWSGI has cut the value of cron2 into two by then.
    ours = [(option, value.partition(" ")[0] if option == "cron2" else value) for option, value in ours]
    assert ours == pairs[:-2]
