"""The process of a standalone server: pidfile, user and group, directory, and the errors about them."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from pathlib import Path

import pytest
import trio

from trio_uwsgi import Config, serve
from trio_uwsgi._program.pidfile import open_pidfile
from trio_uwsgi._program.process_setup import finish_process_setup, set_up_process
from trio_uwsgi._system.privileges import Identity, identity_of
from trio_uwsgi.config.options import ProcessOptions
from trio_uwsgi.errors import ConfigError
from trio_uwsgi.testing import open_runtime

ME = f"{os.getpid()}\n"
NOBODY = 2**31 + 7  # a user that no system has
MISSING = "trio-uwsgi-nobody"


# ----- pidfiles


def test_a_pidfile_from_the_start_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the pid and a newline, replaces one that was left, and is removed at the end, also after a chdir."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "app.pid"
    for former in (None, "1\n", "not a number"):
        if former is not None:
            file.write_text(former)
        with open_pidfile("app.pid"):
            assert (ME, [file]) == (file.read_text(), list(tmp_path.iterdir()))
            os.chdir("/")
        os.chdir(tmp_path)
        assert [] == list(tmp_path.iterdir())


def test_a_pidfile_of_a_running_server(tmp_path: Path) -> None:
    """It is refused with the pid of the running server, and is not changed."""
    file = tmp_path / "app.pid"
    with open_pidfile(str(file)):
        with (
            pytest.raises(ConfigError, match=f"belongs to running process {os.getpid()}; stop that first"),
            open_pidfile(str(file)),
        ):
            pass  # pragma: no cover
        assert ME == file.read_text()


@pytest.mark.parametrize("left", ["another one's", None])
def test_a_pidfile_that_is_another_ones_by_now(tmp_path: Path, left: str | None) -> None:
    """A file that was not written by this process is not removed at the end."""
    file = tmp_path / "app.pid"
    with open_pidfile(str(file)):
        file.unlink()
        if left is not None:
            file.write_text(left)
    assert ([] if left is None else [file]) == list(tmp_path.iterdir())


def test_a_pidfile_that_cannot_be_written(tmp_path: Path) -> None:
    """The error says why, and nothing is left."""
    (tmp_path / "folder.pid").mkdir()
    for name, why in (("no/app.pid", "No such file or directory"), ("folder.pid", "Is a directory")):
        with (
            pytest.raises(ConfigError, match=f"cannot write the pidfile .*: {why}; use a directory"),
            open_pidfile(str(tmp_path / name)),
        ):
            pass  # pragma: no cover
    assert ["folder.pid"] == [path.name for path in tmp_path.iterdir()]


def test_a_pidfile_that_cannot_be_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged: this process has no access to the directory any more, as after a switch to another user."""
    folder = tmp_path / "run"
    folder.mkdir()
    with caplog.at_level(logging.WARNING), open_pidfile(str(folder / "app.pid")):
        folder.rename(tmp_path / "away")
        (tmp_path / "run").write_text("no directory")
    assert f"cannot remove the pidfile {folder}/app.pid as this user: Not a directory" in caplog.text


# ----- users


def test_the_identity_to_switch_to() -> None:
    """Names and numbers are looked up; for the current identity there is nothing to do."""
    root = pwd.getpwuid(0).pw_name
    daemon = next(user for user in pwd.getpwall() if user.pw_uid not in (0, os.getuid()))
    groups = os.getgrouplist(daemon.pw_name, daemon.pw_gid)
    assert Identity(daemon.pw_uid, daemon.pw_gid, groups) == identity_of(daemon.pw_name, None)
    assert Identity(daemon.pw_uid, daemon.pw_gid, groups) == identity_of(daemon.pw_uid, None)
    other = next(group for group in grp.getgrall() if group.gr_gid not in (0, os.getgid()))
    assert Identity(os.getuid(), other.gr_gid, [other.gr_gid]) == identity_of(None, other.gr_name)
    assert Identity(NOBODY, 7, [7]) == identity_of(NOBODY, 7)
    assert None is identity_of(os.getuid(), None)
    assert None is identity_of(os.getuid(), os.getgid())
    assert (0, root) == (pwd.getpwnam(root).pw_uid, root)


@pytest.mark.parametrize(
    ("uid", "gid", "message"),
    [
        (MISSING, None, f"uid='{MISSING}': there is no such user; add it"),
        (None, MISSING, f"gid='{MISSING}': there is no such group; add it"),
        (NOBODY, None, f"uid={NOBODY} is not in the user database, so its group is unknown; set gid, too"),
    ],
)
def test_users_and_groups_that_do_not_exist(uid: str | int | None, gid: str | None, message: str) -> None:
    """They are refused."""
    with pytest.raises(ConfigError, match=message):
        identity_of(uid, gid)


# ----- both steps


def test_directory_umask_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are set; a directory that does not exist is refused."""
    monkeypatch.chdir("/")
    monkeypatch.setenv("TRIO_UWSGI_TEST", "before")
    former = os.umask(0o022)
    try:
        set_up_process(ProcessOptions(chdir=str(tmp_path), umask=0o027, env={"TRIO_UWSGI_TEST": "after"}))
        assert (str(tmp_path), "after", 0o027) == (os.getcwd(), os.environ["TRIO_UWSGI_TEST"], os.umask(0o022))
        with pytest.raises(ConfigError, match="cannot change to the directory nowhere: No such file or directory"):
            set_up_process(ProcessOptions(chdir="nowhere"))
    finally:
        os.umask(former)


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    """A user that does not exist leaves no pidfile."""
    file = tmp_path / "app.pid"
    with (
        pytest.raises(ConfigError, match="no such user"),
        finish_process_setup(ProcessOptions(uid=MISSING, pidfile=str(file)), []),
    ):
        pass  # pragma: no cover


# ----- an embedded server


async def test_an_embedded_server_refuses_options_of_the_process(tmp_path: Path) -> None:
    """They are refused before anything is opened; in a test they have no effect."""
    file = tmp_path / "app.pid"
    config = Config(http=str(tmp_path / "s"), uid=os.getuid(), pidfile=str(file), env={"TRIO_UWSGI_TEST": "1"})
    refused = "uid and env and pidfile: only for a standalone server, and this one is embedded; leave it out"
    async with trio.open_nursery() as nursery:
        with pytest.raises(ConfigError, match=refused):
            await nursery.start(serve, print, config)
    async with open_runtime(None, config) as runtime:
        assert 404 == (await runtime.client.get("/")).status_code
    assert [] == list(tmp_path.iterdir())
    assert "TRIO_UWSGI_TEST" not in os.environ
