"""What processes are called: in `ps`, where setproctitle is installed, and in what they say of themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["process_label", "set_title", "with_title"]

_role = ""


def set_title(role: str) -> None:
    """Name this process for what it does, as in `trio-uwsgi worker 1`. The application may name it otherwise later."""
    global _role
    _role = role
    try:
        import setproctitle
    except ModuleNotFoundError:
        return
    setproctitle.setproctitle(f"trio-uwsgi {role}")


def process_label() -> str:
    """This process, for whoever reads what it says: its role, where it has one, and its number."""
    return f"{_role} (process {os.getpid()})" if _role else f"process {os.getpid()}"


@contextlib.contextmanager
def with_title(role: str) -> Iterator[None]:
    """Name this process so during the block: what is a program today may be a part of another one, or of a test."""
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
