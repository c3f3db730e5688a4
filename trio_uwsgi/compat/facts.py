"""What the module `uwsgi` says of the runtime without asking a member: options, counts, process ids. Pure.

The master makes the facts of its `Config`; members that are processes get them before they import the application.
"""

from __future__ import annotations

import base64
import dataclasses
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trio_uwsgi._runtime.opt import uwsgi_options
from trio_uwsgi.errors import NotServing

if TYPE_CHECKING:
    from trio_uwsgi.config import Config

__all__ = ["Facts", "current", "entries"]

entries: list[Facts] = []
"""The facts of the runtimes for which the module is entered, the last one last. `trio_uwsgi.compat` fills it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """The facts of one runtime.

    Args:
        options: the options under uWSGI's names.
        master_pid: the process id of the master.
        workers, mules: how many there are at most.
        cores: requests that a worker runs at once in threads.
        spoolers: the directories.
        areas: how many shared areas there are.
        buffer_size: the largest head of a request.
        pidfile: its path, if there is one.
        started_on: when the runtime started, in seconds since the epoch.
        is_a_reload: whether the application is imported by a reload.
    """

    options: Mapping[str, bytes | bool | list[bytes]]
    master_pid: int
    workers: int
    mules: int
    cores: int
    spoolers: tuple[str, ...]
    areas: int
    buffer_size: int
    pidfile: str | None
    started_on: int
    is_a_reload: bool = False

    @classmethod
    def of(cls, config: Config, master_pid: int, now: float) -> Facts:
        """The facts of a runtime with these options, whose master is this process."""
        return cls(
            options=dict(uwsgi_options(config)),
            master_pid=master_pid,
            workers=config.workers,
            mules=config.mule_pool.max,
            cores=config.threads or 1,
            spoolers=tuple(config.spooler_options.directories),
            areas=len(config.sharedarea),
            buffer_size=config.max_header_size,
            pidfile=config.pidfile,
            started_on=int(now),
        )

    def to_text(self) -> str:
        """As text, for the process that imports the application, which is one of this server."""
        return base64.b64encode(pickle.dumps(self)).decode()

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """The reverse of `to_text`."""
        facts = pickle.loads(base64.b64decode(text))
        assert isinstance(facts, cls)
        return facts

    @property
    def opt(self) -> dict[str, bytes | bool]:
        """The value of `uwsgi.opt`. Of an option that was given several times it has the last one, as in uWSGI."""
        return {
            name: value[-1] if isinstance(value, list) else value for name, value in self.options.items() if value != []
        }


def current() -> Facts:
    """The facts of the runtime whose code runs: those entered last.

    Raises:
        NotServing: the application has kept the module, and its runtime has ended.
    """
    if not entries:
        raise NotServing(
            "a function of the module uwsgi",
            "call it while the application is imported or served",
            "after the end of the runtime",
        )
    return entries[-1]
