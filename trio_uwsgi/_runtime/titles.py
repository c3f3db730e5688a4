"""What processes are called in `ps`, where setproctitle is installed. Floor 3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["entitle", "entitled"]


def entitle(role: str) -> None:
    """Name this process for what it does, as in `trio-uwsgi worker 1`. The application may name it otherwise later."""
    try:
        import setproctitle
    except ModuleNotFoundError:
        return
    setproctitle.setproctitle(f"trio-uwsgi {role}")


@contextlib.contextmanager
def entitled(role: str) -> Iterator[None]:
    """Name this process so during the block: what is a program today may be a part of another one, or of a test."""
    try:
        import setproctitle
    except ModuleNotFoundError:
        yield
        return
    before = setproctitle.getproctitle()
    entitle(role)
    try:
        yield
    finally:
        setproctitle.setproctitle(before)
