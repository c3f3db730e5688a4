"""What an application may have changed in this process when it was imported, and the server stands on.

gevent and eventlet can put their own sockets, locks and threads in the place of the standard library's, for everybody.
They wait in a loop of their own, which nobody runs here, so that the server would hang sooner or later. It is refused.
A closed standard descriptor is opened again, before something of ours gets its number; and loggers of ours are enabled
again.

Other changes (signals, timeouts, `random.seed`, and so on) are dealt with where they would matter.
"""

from __future__ import annotations

import sys

from trio_uwsgi._system.standard_streams import have_standard_descriptors
from trio_uwsgi._units.loggers import enable_own_loggers
from trio_uwsgi.errors import BootError

__all__ = ["undo_import_changes"]

# Each says with a function of this name whether it has patched a module.
_PATCHERS = {"gevent.monkey": "is_module_patched", "eventlet.patcher": "is_monkey_patched"}
_MODULES = ("socket", "select", "thread", "os")


def undo_import_changes() -> None:
    """Put right what can be.

    Raises:
        BootError: the standard library has been patched; the text says by whom.
    """
    have_standard_descriptors()
    enable_own_loggers()
    for patcher, function in _PATCHERS.items():
        is_patched = getattr(sys.modules.get(patcher), function, None)
        patched = [name for name in _MODULES if is_patched is not None and is_patched(name)]
        if patched:
            raise BootError(
                f"{patcher} has patched Python's {', '.join(patched)}, which Trio cannot run on; "
                f"leave the patching out, and use threads=N for code that waits"
            )
