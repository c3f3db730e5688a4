"""Compares static files under load with nginx and uWSGI: `python -m benchmarks.files`.

Each server runs one process on core 0 and sends a file of 10 KiB and one of 1 MiB, which are in the page cache, to wrk
on core 1 over 64 keep-alive connections. Rounds alternate between all servers, because a machine's speed changes by the
minute: compare only numbers of one table. Access logs are off. The goal is half of nginx's rate for 1 MiB.

Needs `wrk`, `taskset` and nginx. nginx sends files as it does by default (`sendfile off`: it reads them), and with
`sendfile on`; the better one counts. uWSGI is the one of the tests, with `--static-map` and `--http-socket`, which ends
each connection after a response.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys

from benchmarks.measured import Scenario, comparison
from benchmarks.running import Place, placed, started, under_load, wait_for_listener
from benchmarks.serving import SERVED

FILES = {"10 KiB": 10 * 1024, "1 MiB": 1024 * 1024}

NGINX = """{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile {sendfile};
    keepalive_requests 1000000000;
    server {{ listen {address}; location /s/ {{ alias {folder}/files/; }} }}
}}
"""


def commands(place: Place, nginx: str) -> dict[str, list[str]]:
    """All servers by name, each at the address of the place."""
    found: dict[str, list[str]] = {}
    for sendfile in ("on", "off"):
        file = place.folder / f"{sendfile}.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(NGINX.format(user=user, folder=place.folder, sendfile=sendfile, address=place.address))
        found[f"nginx, sendfile {sendfile}"] = [nginx, "-p", str(place.folder), "-c", file.name, "-e", "stderr"]
    static = ["--static-map", f"/s={place.folder}/files"]
    found["uWSGI"] = [
        *(sys.executable, "-c", "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])"),
        *("--http-socket", place.address, "--wsgi", "http_app:wsgi_app", "--pythonpath", ".", "--master"),
        *("--die-on-term", "--disable-logging", "--listen", "100", "--need-app", "--add-header", "Connection: close"),
        *static,
    ]
    ours = [sys.executable, "-m", "trio_uwsgi", "http_app:wsgi_app", "--disable-logging", *static]
    found["ours"] = [*ours, "--processes", "1", "--http", place.address]
    return found


def measure(command: list[str], place: Place, seconds: float, connections: int) -> dict[str, dict[str, float]]:
    """The numbers of each file."""
    found = {}
    with started(command, place) as pid:
        wait_for_listener(place, pid)
        for name in FILES:
            load = {"path": f"/s/{name.replace(' ', '')}", "connections": connections}
            under_load(pid, place.port, 1, **load)
            found[name] = under_load(pid, place.port, seconds, **load)
    return found


def main() -> None:
    """Run all servers in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        raise SystemExit("nginx is not installed")
    scenarios = {name: Scenario(name, list(SERVED)) for name in FILES}
    for _ in range(options.rounds):
        with placed() as place:
            (place.folder / "files").mkdir()
            for file, size in FILES.items():
                (place.folder / "files" / file.replace(" ", "")).write_bytes(random.Random(1).randbytes(size))
            for server, command in commands(place, nginx).items():
                for file, found in measure(command, place, options.seconds, options.connections).items():
                    scenarios[file].add(server, found)
    print(*(comparison(scenario, ["ours"]) for scenario in scenarios.values()), sep="\n\n")


if __name__ == "__main__":
    main()
