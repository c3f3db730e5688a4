"""What ends when a master or zygote ends, and how another process imports the application by its name."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import zygote_members
from trio_uwsgi._process.app_name import AppReference, Served, reference_of, refuse_to_serve_twice
from trio_uwsgi._process.loader import load_app
from trio_uwsgi.errors import BootError, ConfigError

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

ROOT = Path(__file__).parents[2]
MEMBERS = "tests.real.zygote_members"
# The second in which children may leave by themselves, and one for everything else on a busy machine.
GONE = 2.0


# ----- who survives whom


class Family:
    """A master, its zygote and its children, by pid."""

    def __init__(self, master: subprocess.Popen[bytes]) -> None:
        self.master = master
        assert master.stdout is not None
        self.zygote, *self.children = json.loads(master.stdout.readline())
        self._pidfds = {pid: os.pidfd_open(pid) for pid in (self.zygote, *self.children)}

    def kill(self, *who: int) -> None:
        """SIGKILL these, in the same instant as nearly as can be."""
        for pid in who:
            os.kill(pid, signal.SIGKILL)

    def left(self, seconds: float) -> list[int]:
        """The processes that still run, as soon as there are none, or after this number of seconds."""
        poll = select.poll()
        for pidfd in self._pidfds.values():
            poll.register(pidfd, select.POLLIN)
        living = dict(self._pidfds)
        deadline = time.monotonic() + seconds
        while living and (left := deadline - time.monotonic()) > 0:
            dead = {pidfd for pidfd, _ in poll.poll(left * 1000)}
            for pidfd in dead:
                poll.unregister(pidfd)
            living = {pid: pidfd for pid, pidfd in living.items() if pidfd not in dead}
        return list(living)

    def close(self) -> None:
        """Kill the processes that are left."""
        self.master.kill()
        self.master.wait(60)
        for pidfd in self._pidfds.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        assert self.master.stdout is not None
        self.master.stdout.close()


@contextlib.contextmanager
def family(*how: str, lazy: bool = False) -> Iterator[Family]:
    """A master in another process, with children that are idle, or stuck in some way."""
    command = [sys.executable, "-m", MEMBERS, "lazy" if lazy else "eager", *how]
    found = Family(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT))
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("lazy", [False, True], ids=["forked", "fresh"])
def test_children_end_when_the_master_is_killed(lazy: bool) -> None:
    """Children that read their stream end by themselves; the zygote kills stuck ones, and ends last."""
    with family("idle", "busy", "sleep", "gil", lazy=lazy) as members:
        members.kill(members.master.pid)
        assert set(members.children[1:]) <= set(members.left(0.3))
        assert members.children[0] not in members.left(0.2)
        assert [] == members.left(GONE)


@pytest.mark.parametrize("lazy", [False, pytest.param(True, marks=pytest.mark.long)], ids=["forked", "fresh"])
def test_no_process_is_left_when_master_and_zygote_are_killed(lazy: bool) -> None:
    """The kernel kills the children, whatever they are stuck in."""
    with family("idle", "busy", "sleep", "gil", lazy=lazy) as members:
        members.kill(members.zygote)
        assert members.children == members.left(0.3)  # they keep running
        members.kill(members.master.pid)
        assert [] == members.left(GONE)
    with family("idle", "gil", lazy=lazy) as members:
        members.kill(members.master.pid, members.zygote)
        assert [] == members.left(GONE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_master_that_is_ended_by_other_signals(number: signal.Signals) -> None:
    """However the master ends, its children end too."""
    with family("idle", "sleep") as members:
        members.master.send_signal(number)
        assert [] == members.left(GONE)


# ----- finding the application


def ran(*arguments: str, cwd: Path) -> str:
    """What a program prints, in a directory that is not that of its imports."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "" == result.stderr
    return result.stdout


SCRIPT = """
    import sys, trio
    from tests.real import zygote_members

    print("runs as", __name__, file=sys.stdout)

    def app():
        return f"the app of {__name__}"
"""
GUARDED = """
    if __name__ == "__main__":
        trio.run(zygote_members.serve, app)
"""
UNGUARDED = """
    trio.run(zygote_members.serve, app)
"""
IN_A_NURSERY = """
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zygote_members.serve, app)

    trio.run(main)
"""


@pytest.mark.parametrize(
    "end",
    [GUARDED, *(pytest.param(end, marks=pytest.mark.long) for end in (UNGUARDED, IN_A_NURSERY))],
    ids=["guarded", "unguarded", "nursery"],
)
def test_the_application_of_a_script(tmp_path: Path, end: str) -> None:
    """A script runs a second time to get its application, and serves once."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT + end))
    expected = "runs as __main__\nruns as __mp_main__\nscript the app of __mp_main__\n"
    assert sorted(expected.splitlines()) == sorted(ran("script.py", cwd=tmp_path).splitlines())


def test_the_application_of_a_program(tmp_path: Path) -> None:
    """`python -m package` is found by the module's name, and its relative imports work."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("")
    (tmp_path / "package/other.py").write_text("")
    (tmp_path / "package/__main__.py").write_text(
        textwrap.dedent("from . import other\n" + textwrap.dedent(SCRIPT + GUARDED))
    )
    assert "module the app of __mp_main__" in ran("-m", "package", cwd=tmp_path)


def test_an_application_that_a_script_imports(tmp_path: Path) -> None:
    """The module is preferred: the script does not run again. An instance is found by looking for it."""
    (tmp_path / "web.py").write_text("class App:\n    def __call__(self): return __name__\n\nobject_of_it = App()\n")
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
            import trio
            from tests.real import zygote_members
            from web import object_of_it as app
            print("runs as", __name__)
            trio.run(zygote_members.serve, app)
        """)
    )
    assert "object web\nruns as __main__\n" == "".join(sorted(ran("script.py", cwd=tmp_path).splitlines(keepends=True)))


def test_an_application_under_the_guard(tmp_path: Path) -> None:
    """An application below the guard cannot be imported, and the error says where to put it."""
    script = tmp_path / "script.py"
    script.write_text("if __name__ == '__main__':\n    def app(): pass\n")
    text = f"""
        from trio_uwsgi._process.app_name import AppReference
        try:
            AppReference("script", {str(script)!r}, "app").load()
        except Exception as error:
            print(error)
    """
    said = f"{script} has no 'app' when it is imported rather than run; make the application above `if __name__"
    assert said in ran("-c", textwrap.dedent(text), cwd=tmp_path)


def test_names_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is named by its module and qualified name; a module that was loaded from a file by that file."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert AppReference("object", MEMBERS, "app") == reference_of(zygote_members.app)
    assert AppReference("object", "subprocess", "Popen.wait") == reference_of(subprocess.Popen.wait)
    file = tmp_path / "from-a-file.py"
    file.write_text("def made(): return 5\n")
    app = load_app(f"{file}:made")
    reference = reference_of(app)
    monkeypatch.delitem(sys.modules, app.__module__)
    assert AppReference("name", f"{file}:made") == reference
    assert f"{file}:made" == str(reference)


def test_what_has_no_name_is_refused() -> None:
    """Another process cannot import a closure or an object from a function; the error says what to do."""

    def app() -> None: ...

    for nameless in (app, object(), lambda: 5):
        with pytest.raises(
            ConfigError, match=r"it is not a global of a module; make it at the top level of a module, or pass"
        ):
            reference_of(nameless)


def test_what_was_typed_is_refused(tmp_path: Path) -> None:
    """A main program that is not a file cannot run again."""
    text = """
        from trio_uwsgi._process.app_name import reference_of
        def app(): pass
        try:
            reference_of(app)
        except Exception as error:
            print(error)
    """
    said = "members' processes cannot import 'app': this Python does not run a file; make it at the top"
    assert said in ran("-c", textwrap.dedent(text), cwd=tmp_path)


def test_names_that_lead_nowhere() -> None:
    """A module or an attribute that is not there any more is a BootError with its name."""
    with pytest.raises(BootError, match="importing nowhere failed: ModuleNotFoundError"):
        AppReference("object", "nowhere", "app").load()
    with pytest.raises(
        BootError, match=r"tests\.real\.zygote_members has no 'gone' when it is imported in a new process"
    ):
        AppReference("object", MEMBERS, "gone").load()
    with pytest.raises(BootError, match="reading nowhere failed: ImportError: no module nowhere"):
        AppReference("module", "nowhere", "app").load()
    assert zygote_members.app is AppReference("object", MEMBERS, "app").load()


def test_the_default_registry_of_a_zygote_is_filled(tmp_path: Path) -> None:
    """The zygote that imports the application has its declarations."""
    text = """
        import trio
        from trio_uwsgi import uwsgi
        from tests.real import zygote_members

        @uwsgi.signal_handler(17)
        def handler(signum): pass

        def app():
            return str(uwsgi.signal_registered(17))

        trio.run(zygote_members.serve, app)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(text))
    assert "script True\n" == ran("script.py", cwd=tmp_path)


def test_factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may be that of a factory, as on the command line."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "makes.py").write_text("def create_app(): return lambda: 6\n")
    reference = AppReference("name", f"{tmp_path}/makes.py", factory=True)
    assert 6 == reference.load()()
    monkeypatch.delitem(sys.modules, "makes")


def test_serving_in_a_member_is_the_end_of_an_import() -> None:
    """Only a zygote or member refuses to serve; this process is neither."""
    refuse_to_serve_twice(zygote_members.app)
    assert "this process only imports the application" == str(Served(zygote_members.app))
