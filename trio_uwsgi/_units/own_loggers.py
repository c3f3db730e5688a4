"""Our loggers are heard, however the application sets up logging.

`dictConfig` and `fileConfig` disable all loggers that are there and are not named, unless told otherwise. In most
servers' order of things that is the application's own business; but ours are there only because we were imported
first, and whoever runs the application would look for its failures in an empty log. So they are enabled again when it
has been imported and started. Where its code disabled one of ours by name, that is what it wants, and stays.
"""

from __future__ import annotations

import logging

__all__ = ["enable_own_loggers"]

# Nobody names this one: it is disabled by what disables everything.
_bystander = logging.getLogger("trio_uwsgi.bystander")


def enable_own_loggers() -> None:
    """Enable again what a configuration of logging disabled because it did not name it."""
    if not _bystander.disabled:
        return
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and (name == "trio_uwsgi" or name.startswith("trio_uwsgi.")):
            logger.disabled = False
