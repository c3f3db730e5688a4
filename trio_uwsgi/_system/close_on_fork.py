"""Sockets of ours that a forked child of the application must not keep open.

Who has some says so once (`close_in_forked_children`), and is asked in the child to close them: with its own objects,
which otherwise would close the number once more, later, when something else has it.
"""

from __future__ import annotations

import weakref
from typing import Protocol

__all__ = ["close_copies", "close_in_forked_children"]


class _Copied(Protocol):
    def close_copies(self) -> None:
        """In a forked child: close what is ours, and leave alone what belongs to both processes."""


_copied: weakref.WeakSet[_Copied] = weakref.WeakSet()


def close_in_forked_children(owner: _Copied) -> None:
    """From now on, as long as it lives, this one is asked."""
    _copied.add(owner)


def close_copies() -> None:
    """In a forked child: let all of them close theirs."""
    for owner in list(_copied):
        owner.close_copies()
    _copied.clear()
