"""Close the server's sockets in a child process that the application forks.

An owner of sockets registers itself (`close_in_forked_children`), and closes them in the child with its own objects.
Otherwise these objects would close the same descriptor numbers again later, when other files have them.
"""

from __future__ import annotations

import weakref
from typing import Protocol

__all__ = ["close_copies", "close_in_forked_children"]


class _Owner(Protocol):
    def close_copies(self) -> None:
        """In a forked child: close the copies, without an effect on what both processes share."""


_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()


def close_in_forked_children(owner: _Owner) -> None:
    """Call `close_copies` of this owner in forked children, as long as the owner exists."""
    _owners.add(owner)


def close_copies() -> None:
    """In a forked child: have all registered owners close their copies."""
    for owner in list(_owners):
        owner.close_copies()
    _owners.clear()
