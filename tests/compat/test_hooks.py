"""The functions that an application assigns to `post_fork_hook` and `atexit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.compat.modes import Enter, Mode, all_modes, asking, config_in, get
from trio_uwsgi import Config, Registry
from trio_uwsgi import uwsgi as native
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    import pytest
    import trio.testing


@all_modes
async def test_each_member_calls_them(
    mode: Mode, enter: Enter, autojump_clock: trio.testing.MockClock, tmp_path: object
) -> None:
    """Workers, mules and spoolers call `post_fork_hook` when they start, and `atexit` when they end."""
    config = config_in(mode, workers=2, mules=1, spooler=[str(tmp_path)])
    uwsgi = enter(config)
    ran: Notes[tuple[str, int, int, bool]] = Notes()

    def note(what: str) -> None:
        ran.append((what, uwsgi.worker_id(), uwsgi.mule_id(), uwsgi.i_am_the_spooler() is True))

    uwsgi.post_fork_hook = lambda: note("begin")
    uwsgi.atexit = lambda: note("end")
    members = [(1, 0, False), (2, 0, False), (0, 1, False), (0, 0, True)]
    async with open_runtime(None, config):
        assert sorted(("begin", *member) for member in members) == sorted(ran)
    assert sorted((what, *member) for what in ("begin", "end") for member in members) == sorted(ran)


async def test_a_hook_that_fails_is_logged(
    enter: Enter, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of `post_fork_hook` does not keep the member from starting, as in uWSGI."""
    uwsgi = enter(Config())

    def fail() -> None:
        raise RuntimeError("on purpose")

    uwsgi.post_fork_hook = fail
    async with open_runtime(asking(one=lambda: 1), Config()) as runtime:
        assert "1" == await get(runtime, "one")
    assert "uwsgi.post_fork_hook failed" in caplog.text
    assert "on purpose" in caplog.text


async def test_an_assignment_while_serving(enter: Enter, autojump_clock: trio.testing.MockClock) -> None:
    """A function that is assigned to `atexit` in a request is called at the end, and None takes it away."""
    uwsgi = enter(Config())
    ran: list[str] = []
    app = asking(
        assign=lambda: setattr(uwsgi, "atexit", lambda: ran.append("end")), none=lambda: setattr(uwsgi, "atexit", None)
    )
    async with open_runtime(app, Config()) as runtime:
        await get(runtime, "assign")
    assert ["end"] == ran
    async with open_runtime(app, Config()) as runtime:
        await get(runtime, "none")
    assert ["end"] == ran


def test_a_later_module_replaces_the_hooks_of_an_earlier_one(enter: Enter) -> None:
    """A registry calls the hooks of the application that was imported last, and not both."""
    first = enter(Config(mules=1))
    for name in ("post_fork_hook", "atexit", "mule_msg_hook"):
        setattr(first, name, print)
        setattr(first, name, repr)
    registry: Registry = native.registry
    assert [1, 1, 1] == [
        len(declared) for declared in (registry.post_fork_hooks, registry.atexit_hooks, registry.mules.message_handlers)
    ]
