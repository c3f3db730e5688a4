"""User locks of the module `uwsgi`."""

from __future__ import annotations

import threading

import trio
import trio.testing

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config
from trio_uwsgi.errors import LockError
from trio_uwsgi.testing import Notes, open_runtime


@all_modes
async def test_a_lock_excludes(mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A view waits for the lock that a mule holds, and sees that it is held."""
    config = config_in(mode, mules=1, locks=1)
    uwsgi = enter(config)
    ran: Notes[str] = Notes()

    async def hold(signum: int) -> None:
        from trio_uwsgi import uwsgi as native

        async with native.locked(1):
            ran.append("mule")
            await trio.sleep(10)
            ran.append("free")

    def take() -> object:
        held = uwsgi.is_locked(1), uwsgi.is_locked()
        uwsgi.lock(1)
        ran.append("view")
        return held, uwsgi.is_locked(1), uwsgi.unlock(1)

    uwsgi.register_signal(1, "mule1", hold)
    async with open_runtime(asking(take=take), config) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        assert "((True, False), True, None)" == await get(runtime, "take")
    assert ["mule", "free", "view"] == ran


async def test_what_uwsgi_hangs_on_is_refused(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A second lock by the holder, and unlocking what one does not hold, are ValueErrors; so is a wrong number."""
    uwsgi = enter(Config())
    app = asking(
        twice=lambda: (uwsgi.lock(), uwsgi.lock()),
        unlock=lambda: uwsgi.unlock(),
        number=lambda: uwsgi.lock(1),
        negative=lambda: uwsgi.is_locked(-1),
        text=lambda: uwsgi.lock("1"),
    )
    async with open_runtime(app, Config()) as runtime:
        for name in ("twice", "unlock", "number", "negative"):
            assert (await get(runtime, name)).startswith("LockError: ")
        assert (await get(runtime, "text")).startswith("TypeError: ")
    assert issubclass(LockError, ValueError)


async def test_a_thread_of_the_application(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A thread that a view has started takes and releases a lock, and knows its worker."""
    uwsgi = enter(Config())
    found: list[object] = []

    def work() -> None:
        uwsgi.lock()
        found.append((uwsgi.worker_id(), uwsgi.is_locked()))
        uwsgi.unlock()

    def view() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)

    async with open_runtime(asking(view=view), Config()) as runtime:
        assert "None" == await get(runtime, "view")
    assert [(1, True)] == found


async def test_not_in_a_spooler(enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: object) -> None:
    """A spooler has no locks, as in uWSGI."""
    config = Config(spooler=[str(tmp_path)])
    uwsgi = enter(config)
    refused: list[str] = []

    def run(job: object) -> int:
        try:
            uwsgi.lock()
        except ValueError as error:
            refused.append(str(error))
        return int(uwsgi.SPOOL_OK)

    uwsgi.spooler = run
    async with open_runtime(asking(spool=lambda: uwsgi.spool({b"a": b"b"})), config) as runtime:
        await get(runtime, "spool")
        await trio.sleep(1)
    assert ["The spooler cannot lock/unlock resources: use locks in workers and mules"] == refused
