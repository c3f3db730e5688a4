"""The guide on containers: its command as process 1 of a namespace, as another user, with a read-only file system."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.interop.peers import TIMEOUT, Program, find_program, free_port

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(find_program("unshare") is None or find_program("setpriv") is None, reason="no util-linux"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make such namespaces"),
]

BLOCKS = list(blocks_of((ROOT / "docs/guides/containers.md").read_text()))
# What an application does that starts programs and does not wait for them; and what is in the container afterwards.
LEAVES = """
import os, subprocess

def running():
    numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    return [open(f"/proc/{number}/stat").read() for number in numbers]

@app.get("/leave")
def leave():
    subprocess.run(["sh", "-c", "sleep 0.1 & exit"])
    return f"{open('/proc/1/cmdline').read()} {os.getuid()} {os.access('/', os.W_OK)}"

@app.get("/orphans")
def orphans():
    return str(sum("(sleep)" in stat or " Z " in stat for stat in running()))
"""
# The folders of this Python may be closed for others, so the page's user may read everything here.
NAMESPACE = """
set -e
mount -o remount,ro,bind / || {{ mount --rbind / /mnt; mount -o remount,ro,bind /mnt; }}
mount -t tmpfs -o size=64m tmpfs /dev/shm
exec setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs \\
    --inh-caps=+dac_read_search --ambient-caps=+dac_read_search {command}
"""


class Container(Program):
    """The page's command as process 1."""

    def __init__(self, folder: Path) -> None:
        text = next(block.text for block in BLOCKS if block.language == "dockerfile")
        words = json.loads(re.findall(r"^CMD (.*)$", text, flags=re.MULTILINE)[0])
        user = re.findall(r"^USER (\d+)$", text, flags=re.MULTILINE)[0]
        port = free_port()
        words = [word.replace(":8000", f"127.0.0.1:{port}") for word in words[1:]]
        command = shlex.join([sys.executable, "-c", "from trio_uwsgi.__main__ import main; main()", *words])
        app = next(block.text for block in BLOCKS if block.file_name == "shop.py")
        (folder / "shop.py").write_text(app + LEAVES)
        script = NAMESPACE.format(user=user, command=command)
        unshare = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"]
        super().__init__([*unshare, "sh", "-c", script], folder, [f"127.0.0.1:{port}"])
        self.url = f"http://127.0.0.1:{port}"
        self.user = user

    def get(self, path: str) -> str:
        """Request a path."""
        return httpx.get(self.url + path, timeout=TIMEOUT).text


@pytest.fixture
def container() -> Iterator[Container]:
    """One that serves."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        container = Container(Path(folder))
        yield container
        container.kill()


def first_child(pid: int) -> int:
    """The process that `unshare` has started: process 1 of the namespace."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_process_1_reaps_and_forwards(container: Container) -> None:
    """What the application leaves behind does not stay as a zombie, and SIGTERM to process 1 stops gracefully."""
    assert "ok\n" == container.get("/health")
    title, user, writable = container.get("/leave").rsplit(maxsplit=2)
    assert ("trio-uwsgi init", container.user, "False") == (title.rstrip("\0 "), user, writable)
    deadline = time.monotonic() + TIMEOUT
    while (left := container.get("/orphans")) != "0" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "0" == left
    os.kill(first_child(container.process.pid), 15)
    assert 0 == container.process.wait(TIMEOUT)
    assert "SIGTERM: stopping gracefully" in container.log.read_text()
