"""The titles of processes: in `ps`, if setproctitle is installed, and in their own log lines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["process_label", "set_title", "with_title"]

_role = ""


def set_title(role: str) -> None:
    """Set the title of this process, as in `trio-uwsgi worker 1`. The application may change it later."""
    global _role
    _role = role
    try:
        import setproctitle
    except ModuleNotFoundError:
        return
    setproctitle.setproctitle(f"trio-uwsgi {role}")


def process_label() -> str:
    """This process, for the log: its role, if it has one, and its pid."""
    return f"{_role} (process {os.getpid()})" if _role else f"process {os.getpid()}"


@contextlib.contextmanager
def with_title(role: str) -> Iterator[None]:
    """Set the title of this process for the time of the block: other code may run in the process afterwards."""
    global _role
    was, title = _role, _title()
    set_title(role)
    try:
        yield
    finally:
        _role = was
        if title is not None:
            import setproctitle

            setproctitle.setproctitle(title)


def _title() -> str | None:
    try:
        import setproctitle
    except ModuleNotFoundError:
        return None
    title: str = setproctitle.getproctitle()
    return title
