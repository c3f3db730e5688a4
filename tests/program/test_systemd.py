"""Notifications to the service manager, and the sockets that it passes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.program.service_manager import Manager
from trio_uwsgi._program.systemd import Notifier, take_sockets, warn_of_unused
from trio_uwsgi.config.addresses import Address

if TYPE_CHECKING:
    from trio.testing import MockClock

ME = str(os.getpid())


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """A receiver at a path, or at an abstract name."""
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@trio-uwsgi-test-{ME}")
    with manager.socket:
        yield manager


async def test_a_service_from_its_start_to_its_end(manager: Manager, autojump_clock: MockClock) -> None:
    """It reports ready and stopping, and sends two watchdog notifications per period, also while it stops."""
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": ME, "HOME": "/"}
    notifier = Notifier.from_environment(environ)
    assert {"HOME": "/"} == environ
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.report_states, stopping.wait)
        await trio.sleep(3)
        ready = ["READY=1", f"MAINPID={ME}", "STATUS=serving"]
        assert [ready, ["WATCHDOG=1"], ["WATCHDOG=1"]] == manager.heard()
        stopping.set()
        await trio.sleep(2)
        notifier.reloading(False)  # one that was cut short
        assert [["STOPPING=1", "STATUS=stopping"], ["WATCHDOG=1"]] == manager.heard()
        nursery.cancel_scope.cancel()


async def test_an_end_without_a_stop(manager: Manager, autojump_clock: MockClock) -> None:
    """An immediate stop is reported, too; watchdog variables for another process are ignored."""
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}
    with trio.move_on_after(10):
        await Notifier.from_environment(environ).report_states(trio.sleep_forever)
    assert ["READY=1", "STOPPING=1"] == [lines[0] for lines in manager.heard()]


def test_a_reload(manager: Manager) -> None:
    """Its start is reported with the time of the system's monotonic clock, and its end as ready."""
    notifier = Notifier(manager.address)
    before = time.monotonic_ns() // 1000
    notifier.reloading(True)
    notifier.reloading(False)
    begun, over = manager.heard()
    assert ["RELOADING=1", "STATUS=reloading"] == [begun[0], begun[2]]
    assert before <= int(begun[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert ["READY=1", "STATUS=serving"] == over


def test_no_receiver(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without an address nothing is sent; a missing receiver is logged once."""
    Notifier.from_environment({}).send("READY=1")
    assert "" == caplog.text
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.send("READY=1")
    notifier.send("WATCHDOG=1")
    (message,) = caplog.messages
    assert message.startswith("cannot send READY=1 to the service manager: ")


def test_a_full_receiver_does_not_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Notifications that it does not take are dropped."""
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        notifier = Notifier(manager.address)
        while not caplog.messages:
            notifier.send("WATCHDOG=1")
        assert "cannot send WATCHDOG=1 to the service manager: " in caplog.text
        assert {("WATCHDOG=1",)} == {tuple(lines) for lines in manager.heard()}


# ----- sockets


@pytest.mark.parametrize(
    ("given", "http", "uwsgi"),
    [
        ({}, [], []),
        ({"LISTEN_PID": ME, "LISTEN_FDS": "2"}, [1000, 1001], []),
        ({"LISTEN_PID": ME, "LISTEN_FDS": "4", "LISTEN_FDNAMES": "web:uwsgi:socket:"}, [1000, 1003], [1001, 1002]),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:uwsgi"}, [], []),
        ({"LISTEN_PID": ME, "LISTEN_FDS": "two", "LISTEN_PIDFDID": "7"}, [], []),
    ],
)
def test_which_sockets_are_passed(
    given: dict[str, str], http: list[int], uwsgi: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptors from 3 on, for this process only, by protocol; the variables are removed for its children."""
    monkeypatch.setattr("trio_uwsgi._program.systemd._FIRST", 1000)
    environ = {**given, "HOME": "/"}
    expected = tuple([Address.inherited(number) for number in numbers] for numbers in (http, uwsgi))
    assert expected == take_sockets(environ)
    assert {"HOME": "/"} == environ


def test_passed_sockets_are_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that it starts do not inherit them."""
    with socket.socket() as sock:
        sock.set_inheritable(True)
        monkeypatch.setattr("trio_uwsgi._program.systemd._FIRST", sock.fileno())
        take_sockets({"LISTEN_PID": ME, "LISTEN_FDS": "1"})
        assert not sock.get_inheritable()


def test_sockets_that_are_not_served(caplog: pytest.LogCaptureFixture) -> None:
    """Each is logged."""
    warn_of_unused([Address.inherited(3), Address.inherited(4)], [Address.inherited(4), Address.tcp("", 80)])
    (message,) = caplog.messages
    assert message.startswith("systemd passed fd://3, but it is not served")


def test_a_default_timeout_does_not_make_it_wait(manager: Manager) -> None:
    """A receiver that does not read blocks nothing, whatever default timeout the application has set."""
    notifier = Notifier(manager.address)
    socket.setdefaulttimeout(5)
    try:
        began = time.monotonic()
        for _ in range(2000):  # more than its queue takes
            notifier.send("WATCHDOG=1")
        assert time.monotonic() - began < 4
    finally:
        socket.setdefaulttimeout(None)
