"""Runs what a page of the documentation shows, block after block, in a folder of its own, as a reader would.

CONTRIBUTING.md says what a block has to look like.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import trio
import trio.testing

from tests.docs.blocks import ROOT, Block, Command, blocks_of, commands_of, in_order, prints_as_shown
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._program.command_line import parse
from trio_uwsgi._program.uwsgi_files import is_for_uwsgi
from trio_uwsgi.config.process import ProcessOptions
from trio_uwsgi.testing import open_runtime

# Commands that set up a machine. They are looked at, not run.
SETTING_UP = re.compile(
    r"(python3? -m venv|(\S*/)?pip3? |python -m pip |source |sudo |apt(-get)? |systemctl |journalctl |docker |podman "
    r"|kubectl |useradd |install |git clone|cd )"
)
# Ports that pages name; each run takes free ones, so that several may run at once.
PORTS = re.compile(r"(?<=:)(8000|8001|8080|8443|3031|3032|9191)\b|(?<=listen )(80|8080)\b")
# Folders of a machine that a page may name; each run has its own.
FOLDERS = re.compile(r"(?<![\w.])/(run|srv|var/(?:spool|lib|log))/")
# A server's last line of its start, whatever it is.
SERVES = re.compile(r", in (tasks|processes) of process \d+")
LONGEST = 60  # seconds
# Seconds for a line that may only come when the server stops.
PATIENCE = 5
# Commands that only look, and may do so again.
LOOKS = re.compile(r"(curl (?!.*( -d | --data| -X | -T ))|cat |grep |ls\b|tail |ps |pgrep |trio-uwsgi spool ls)")


class Server:
    """A server in the background, and what it has printed."""

    def __init__(self, words: str, process: subprocess.Popen[str], shown: list[str]) -> None:
        self.words = words
        self.shown = shown
        self.log: list[str] = []
        self._process = process
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line.rstrip("\n"))
            if SERVES.search(line):
                self._ready.set()
        self._ready.set()

    def wait_until_it_serves(self) -> None:
        """Fails if it ends before."""
        assert self._ready.wait(LONGEST), self.log
        assert any(SERVES.search(line) for line in self.log), (self.words, self.log)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it as its page does, when it has printed what the page shows before that; and look at all it printed."""
        before = list(itertools.takewhile(lambda line: line.strip() != "^C", self.shown))
        ends = time.monotonic() + PATIENCE
        while in_order(before, self.log) and self._process.poll() is None and time.monotonic() < ends:
            time.sleep(0.1)
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            assert 0 == self._process.wait(LONGEST), self.log
        finally:
            self.kill()
        missing = in_order([line for line in self.shown if line.strip() != "^C"], self.log)
        assert [] == missing, (self.words, self.log)

    def kill(self) -> None:
        """End it, if it is still there."""
        self._process.kill()
        self._process.wait(LONGEST)
        self._reader.join(LONGEST)
        if self._process.stdout is not None:
            self._process.stdout.close()


class PageRun:
    """One run of a page."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._ports: dict[str, int] = {}
        self._server: Server | None = None
        self._units: list[Path] = []
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/sbin{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "CURL_HOME": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",  # files change within one second
        }
        # As on a terminal, where it draws no progress beside what it prints.
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        if "examples/" in page.read_text():
            (folder / "examples").symlink_to(ROOT / "examples")

    def run(self) -> None:
        """Run all blocks in order."""
        try:
            for block in blocks_of(self._page.read_text()):
                try:
                    self._run_block(block)
                except BaseException as error:
                    error.add_note(f"{self._page.relative_to(ROOT)}, line {block.line}")
                    raise
            self._stop_server()
            self._verify_units()
        finally:
            if self._server is not None:
                self._server.kill()

    def _run_block(self, block: Block) -> None:
        text = FOLDERS.sub(self._own_folder, PORTS.sub(self._own_port, block.text))
        match block.language:
            case "python" if block.file_name:
                self._run_file(self._write(block.file_name, text))
            case "python":
                run_fragment(text, str(self._page.relative_to(ROOT)), self._folder)
            case "console":
                self._run_commands(commands_of(text))
            case "sh":
                self._run_commands([Command(line, []) for line in text.splitlines() if line.strip()])
            case "nginx":
                self._check_nginx(text)
            case "ini" if (block.file_name or "").startswith("/etc/systemd/"):
                self._note_unit(Path(block.file_name or "").name, text)
            case "toml" | "json" | "yaml":
                self._check_data(block.language, text)
                if block.file_name:
                    self._write(block.file_name, text)
            case "dockerfile":
                check_dockerfile(text)
            case "ini" if block.file_name:
                self._write(block.file_name, text)

    # ----- files

    def _own_port(self, found: re.Match[str] | str) -> str:
        name = found if isinstance(found, str) else found[0]
        port = self._ports.get(name)
        if port is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = self._ports[name] = free.getsockname()[1]
        return str(port)

    def _own_folder(self, found: re.Match[str]) -> str:
        (self._folder / found[1]).mkdir(parents=True, exist_ok=True)
        return f"{self._folder}/{found[1]}/"

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _run_file(self, path: Path) -> None:
        if path.name == "conftest.py":
            return
        if path.name.startswith("test_"):
            self._bash(f"python -m pytest -q -p no:cacheprovider {path.relative_to(self._folder)}")
        elif path.name != "__main__.py" and "import uwsgi" not in path.read_text().splitlines():  # that needs a server
            module = ".".join(path.relative_to(self._folder).with_suffix("").parts)
            self._bash(f"python -c 'import {module}'")

    # ----- commands

    def _run_commands(self, commands: list[Command]) -> None:
        for number, (words, shown) in enumerate(commands):
            words = re.sub(r"(?<![\w/.])\.venv/bin/", "", words)
            if SETTING_UP.match(words):
                check_setting_up(words)
                words = words.split("&& ")[-1]
                if not self._serves(words):
                    continue
            if self._serves(words):
                self._start_server(words, shown)
                if "^C" in map(str.strip, shown):
                    self._stop_server(signal.SIGINT)
                continue
            if words == "echo $?":
                continue
            asked = number + 1 < len(commands) and commands[number + 1].words == "echo $?"
            code = int(commands[number + 1].prints[0]) if asked else 0
            waited = number > 0 and commands[number - 1].words.startswith("sleep ")
            self._bash(words, shown, code=code, again=waited and bool(LOOKS.match(words)))

    def _serves(self, words: str) -> bool:
        """Does this command serve until it is stopped?"""
        program, *arguments = [word for word in shlex.split(words) if not re.match(r"[A-Z_]+=", word)]
        if words.endswith("&") or "|" in words or "$?" in words:
            return False
        if program == "trio-uwsgi":
            return "--print-config" not in arguments and arguments[:1] not in (
                ["spool"],
                ["check"],
                ["print-path"],
                ["--help"],
                ["-h"],
                ["--version"],
            )
        if program in ("python", "python3") and arguments and arguments[0].endswith(".py"):
            text = (self._folder / arguments[0]).read_text()
            return "trio_uwsgi.serve" in text and "# runs by itself" not in text
        return False

    def _start_server(self, words: str, shown: list[str]) -> None:
        self._stop_server()
        if program_of(words) == "trio-uwsgi":
            check_command(shlex.split(words)[shlex.split(words).index("trio-uwsgi") + 1 :])
            if not re.search(r" (--https?|--socket|-s|--uwsgi-socket|--ini)\b", words) and not self._config_listens(
                words
            ):
                words += f" --http 127.0.0.1:{self._own_port('8000')}"
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {words}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._server = Server(words, process, shown)
        self._server.wait_until_it_serves()

    def _config_listens(self, words: str) -> bool:
        """Does the `config` beside the application say where to listen?"""
        arguments = shlex.split(words)
        if "--config" in arguments:
            return "http =" in (self._folder / arguments[arguments.index("--config") + 1]).read_text()
        app = "".join(arguments[arguments.index("trio-uwsgi") + 1 :][:1]).partition(":")[0]
        path = self._folder / (app if app.endswith(".py") else app.replace(".", "/") + ".py")
        body = ast.parse(path.read_text()).body if path.exists() else []
        configs = [ast.unparse(node) for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
        return any(re.match(r"config\b.*\b(http|socket)=", config) for config in configs)

    def _stop_server(self, number: int = signal.SIGTERM) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.stop(number)

    def _bash(self, words: str, shown: list[str] | None = None, code: int = 0, *, again: bool = False) -> None:
        """Run a command. With `again` it looks at what takes time, and here may look for longer than its page says."""
        ends = time.monotonic() + (LONGEST if again else 0)
        while True:
            try:
                return self._bash_once(words, shown, code)
            except AssertionError:
                if time.monotonic() > ends:
                    raise
            time.sleep(0.2)

    def _bash_once(self, words: str, shown: list[str] | None, code: int) -> None:
        done = subprocess.run(
            ["bash", "-c", words],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        server = self._server.log if self._server else []
        assert code == done.returncode, (words, done.stdout, server)
        if shown:
            printed = done.stdout.replace("\r", "").rstrip().split("\n")
            shown = "\n".join(shown).rstrip().split("\n")
            assert prints_as_shown(shown, printed), f"{words}\nshown:\n{shown}\nprinted:\n{printed}\nserver:\n{server}"

    # ----- files of other programs

    def _check_nginx(self, text: str) -> None:
        if "events" not in text:
            if not re.search(r"^server\b", text, flags=re.MULTILINE):
                text = f"server {{\n{text}\n}}"
            text = f"events {{}}\nhttp {{\n{text}\n}}\n"
        if not (nginx := shutil.which("nginx", path=self._environment["PATH"])):
            assert os.environ.get("CI") != "true", "CI has nginx"
            return
        for name in ("uwsgi_params", "proxy_params"):
            shutil.copy(Path("/etc/nginx") / name, self._folder)
        path = self._write("nginx.conf", f"pid {self._folder}/nginx.pid;\n{text}")
        self._bash(f"{nginx} -t -q -e stderr -p {self._folder} -c {path}")

    def _note_unit(self, name: str, text: str) -> None:
        here = Path(sys.executable).parent
        text = re.sub(r"(Exec\w+=)\S*/(?=(trio-uwsgi|python)\b)", rf"\g<1>{here}/", text)
        for line in re.findall(r"^Exec\w+=\S*/trio-uwsgi (.*)$", text, flags=re.MULTILINE):
            check_command(shlex.split(line))
        self._units.append(self._write(f"units/{name}", text))

    def _verify_units(self) -> None:
        analyze = shutil.which("systemd-analyze")
        if not (self._units and analyze):
            return
        said = subprocess.run(
            [analyze, "--version"], capture_output=True, text=True, check=True, timeout=LONGEST
        ).stdout
        for unit in self._units:
            if int(said.split()[1]) < 253:  # it knows the rest of such a unit
                unit.write_text(unit.read_text().replace("notify-reload", "notify"))
        for unit in dict.fromkeys(self._units):
            done = subprocess.run(
                [analyze, "verify", str(unit)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LONGEST,
            )
            assert (0, "") == (done.returncode, done.stdout)

    def _check_data(self, language: str, text: str) -> None:
        if language == "toml":
            tomllib.loads(text)
        elif language == "json":
            for line in text.splitlines() if "\n{" in text else [text]:
                json.loads(line)
        else:
            try:
                import yaml
            except ImportError:
                return  # comes with the extra `docs`
            list(yaml.safe_load_all(text))


def program_of(words: str) -> str:
    """The program that a command runs, without what it sets in its environment."""
    return next(word for word in shlex.split(words) if not re.match(r"[A-Z_]+=", word))


def check_command(words: list[str]) -> None:
    """What follows `trio-uwsgi` is right."""
    if words[:1] not in (["spool"], ["check"], ["print-path"], ["--help"], ["--version"]) and not is_for_uwsgi(words):
        parse(words, needs_app=False)


def check_setting_up(words: str) -> None:
    """The extras that are installed exist, and so do the options of servers that are started."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"(?:trio[-_]uwsgi|\.)\[([\w,-]+)\]", words):
        assert set() == set(names.split(",")) - set(extras), words
    if " install " not in words and (found := re.search(r"(?<=[ /])trio-uwsgi ([^|&;]*)$", words)):
        check_command(shlex.split(found[1]))


def check_dockerfile(text: str) -> None:
    """Commands in it that serve are right."""
    for line in re.findall(r"^(?:CMD|ENTRYPOINT) (\[.*\])$", text, flags=re.MULTILINE):
        words = json.loads(line)
        if Path(words[0]).name == "trio-uwsgi" and len(words) > 1:
            check_command(words[1:])


def run_fragment(source: str, name: str, folder: Path) -> None:
    """Run a block that is complete in itself: its tests, its `main`, or the application that it declares."""
    registry, uwsgi.registry = uwsgi.registry, Registry()
    here = Path.cwd()
    os.chdir(folder)
    try:
        module = ModuleType("shown")
        exec(compile(source, name, "exec"), vars(module))
        shown = vars(module)
        tests = [value for key, value in shown.items() if key.startswith("test_")]
        for test in tests:
            clock = trio.testing.MockClock(autojump_threshold=0)
            trio.run(test, *([clock] if inspect.signature(test).parameters else []), clock=clock)
        main = shown.get("main")
        if main is not None and not inspect.signature(main).parameters and "app" not in shown:
            trio.run(main)
        elif not tests and ("app" in shown or "config" in shown or repr(uwsgi.registry) != repr(Registry())):
            trio.run(serve_for_a_minute, shown, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        os.chdir(here)
        uwsgi.registry = registry


async def serve_for_a_minute(shown: dict[str, Any]) -> None:
    """Serve what a block declares for a minute of a mock clock; what fails in it fails here."""
    config = shown.get("config", Config())
    alone = {field.name: getattr(Config(), field.name) for field in dataclasses.fields(ProcessOptions)}
    config = dataclasses.replace(config, placement="task", **alone)
    async with open_runtime(shown.get("app"), config) as runtime:
        if "app" in shown:
            assert 500 > (await runtime.client.get("/")).status_code
        await trio.sleep(60)
