"""Caches that processes share where the shared memory takes none: a sentence, which blames nobody else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trio_uwsgi._caches.files import opening
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi.config.options import Cache
from trio_uwsgi.errors import BootError


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The place, what the system said, and the way out are named."""
    missing = tmp_path / "shm"
    with pytest.raises(BootError) as refused:
        SharedFolder.make(missing)
    assert (
        f"no folder for shared caches can be created in {missing}: No such file or directory; "
        "make it writable and large enough, or run members as tasks, without --processes"
    ) == str(refused.value)
    assert refused.value.__cause__ is None


def test_no_room_for_a_cache() -> None:
    """A cache without a store has a file that was made a moment ago, so it is not that which is to be moved away."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(BootError, match="No space left on device") as refused, opening(Cache("a", items=1), "/x/a"):
        raise full
    assert "move it away" not in str(refused.value)
    with pytest.raises(BootError, match="move it away"), opening(Cache("a", items=1, store="/x/a"), "/x/a"):
        raise full
