"""Reloads a server and kills one of its workers, while clients send requests without a pause.

Shows      that a reload loses no request, and that a worker that is killed loses only the requests on its connections.
Try it     pip install httpx
           python examples/reloading/try_it.py
           It starts a copy of app.py, ./var/reloading/app.py, on a free port, and ends after about ten seconds; the log
           of the server is ./var/reloading/log.
Leaves out a proxy in front, such as nginx, which would send a request that was cut to another worker.
"""

import collections
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import httpx
import trio

CLIENTS = 4
FOLDER = Path("var") / "reloading"
LOG, APP = FOLDER / "log", FOLDER / "app.py"


class Answers:
    """What the clients have seen."""

    def __init__(self) -> None:
        self.versions: collections.Counter[int] = collections.Counter()
        self.pids: dict[int, int] = {}  # of each worker's current process
        self.lost: list[str] = []
        self.next = trio.Event()

    def note(self, version: int, worker: int, pid: int) -> None:
        self.versions[version] += 1
        self.pids[worker] = pid
        self.next.set()
        self.next = trio.Event()

    async def wait_for(self, version: int, without: int = 0) -> None:
        """Wait until two workers have answered, none of them in the process `without`, and the version was seen."""
        self.pids.clear()
        with trio.fail_after(30):
            while len(self.pids) < 2 or without in self.pids.values() or not self.versions[version]:
                await self.next.wait()


async def send_requests(url: str, answers: Answers) -> None:
    """One client: one request after the other, and a new connection, perhaps to another worker, for every ten."""
    while True:
        async with httpx.AsyncClient(base_url=url, timeout=10, verify=False) as client:
            for _ in range(10):
                try:
                    answers.note(**(await client.get("/")).raise_for_status().json())
                except httpx.HTTPError as error:
                    answers.lost.append(repr(error))


async def start_server() -> tuple[trio.Process, str]:
    """Start the copy of the application, and find its address in the log."""
    command = [sys.executable, "-m", "trio_uwsgi", str(APP), "--http", "127.0.0.1:0", "--disable-logging"]
    with LOG.open("wb") as log:
        server = await trio.lowlevel.open_process(command, stderr=log)
    with trio.fail_after(30):
        while (found := re.search(r"http on (\S+)[^$]*in processes of process", LOG.read_text())) is None:
            if server.poll() is not None:
                raise SystemExit(f"the server did not start:\n{LOG.read_text()}")
            await trio.sleep(0.05)
    return server, f"http://{found[1]}"


async def try_it(server: trio.Process, answers: Answers) -> None:
    """Reload, then kill a worker."""
    await answers.wait_for(version=1)
    print(f"version 1 is served by the processes {sorted(answers.pids.values())}")

    APP.write_text(APP.read_text().replace("VERSION = 1", "VERSION = 2"))
    server.send_signal(signal.SIGHUP)
    await answers.wait_for(version=2)
    await trio.sleep(1)
    await answers.wait_for(version=2)
    print(f"version 2 is served by the processes {sorted(answers.pids.values())}")
    print(f"the reload lost {len(answers.lost)} of {answers.versions.total()} requests", *answers.lost, sep="\n  ")

    before, killed = len(answers.lost), answers.pids[1]
    os.kill(killed, signal.SIGKILL)
    await answers.wait_for(version=2, without=killed)
    print(f"kill -9 {killed}: worker 1 is now process {answers.pids[1]}")
    print(f"the kill lost {len(answers.lost) - before} requests", *answers.lost[before:], sep="\n  ")


async def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("app.py"), APP)
    server, url = await start_server()
    try:
        answers = Answers()
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(send_requests, url, answers)
            await try_it(server, answers)
            nursery.cancel_scope.cancel()
    finally:
        server.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(20):
            print(f"the server has stopped with exit code {await server.wait()}")


if __name__ == "__main__":
    trio.run(main)
