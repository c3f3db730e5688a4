"""Undo or refuse changes that the import of an application made to this process, and that the server depends on.

gevent and eventlet can replace the standard library's sockets, locks and threads by their own, which need an event loop
that does not run here, so that the server would hang sooner or later. That is refused. A closed standard descriptor is
opened again, before another file gets its number; and this package's loggers are enabled again.

Other changes (signals, timeouts, `random.seed`, and so on) are handled where they would matter.
"""

from __future__ import annotations

import sys

from trio_uwsgi._system.standard_streams import have_standard_descriptors
from trio_uwsgi._units.loggers import enable_own_loggers
from trio_uwsgi.errors import BootError

__all__ = ["undo_import_changes"]

# Modules that patch others, each with the name of its function that says whether a module is patched.
_PATCHERS = {"gevent.monkey": "is_module_patched", "eventlet.patcher": "is_monkey_patched"}
_MODULES = ("socket", "select", "thread", "os")


def undo_import_changes() -> None:
    """Undo the changes that can be undone.

    Raises:
        BootError: the standard library has been patched; the text names the module that did it.
    """
    have_standard_descriptors()
    enable_own_loggers()
    for patcher, function in _PATCHERS.items():
        is_patched = getattr(sys.modules.get(patcher), function, None)
        patched = [name for name in _MODULES if is_patched is not None and is_patched(name)]
        if patched:
            raise BootError(
                f"{patcher} has patched Python's {', '.join(patched)}, so Trio cannot run; "
                f"leave the patching out, and use threads=N for code that waits"
            )
