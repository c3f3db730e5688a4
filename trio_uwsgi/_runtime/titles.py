"""What processes are called in `ps`, where setproctitle is installed. Floor 3."""

from __future__ import annotations

__all__ = ["entitle"]


def entitle(role: str) -> None:
    """Name this process for what it does, as in `trio-uwsgi worker 1`. The application may name it otherwise later."""
    try:
        import setproctitle
    except ModuleNotFoundError:
        return
    setproctitle.setproctitle(f"trio-uwsgi {role}")
