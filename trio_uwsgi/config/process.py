"""The options of a standalone server's process: user, group, directory, files. Pure.

`options.py` exports them; this is a module of its own only because of the length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from trio_uwsgi.errors import ConfigError

__all__ = ["ProcessOptions", "check_id", "check_path"]

# One less than the largest number of 32 bits, which means "unchanged" to the kernel.
_LARGEST_ID = 2**32 - 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """Settings of the process, see the fields of `Config` with these names.

    Raises:
        ConfigError: a value is impossible.
    """

    uid: str | int | None = None
    gid: str | int | None = None
    chdir: str | None = None
    umask: int | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pidfile: str | None = None
    master_fifo: str | None = None
    touch_reload: Sequence[str] = ()
    reload: bool = False
    attach_daemon: Sequence[object] = ()
    cron: Sequence[str] = ()
    hooks: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("uid", "gid"):
            check_id(name, getattr(self, name))
        for name in ("chdir", "pidfile", "master_fifo"):
            check_path(name, getattr(self, name))
        if self.umask is not None and (type(self.umask) is not int or not 0 <= self.umask <= 0o777):
            raise ConfigError(f"umask={self.umask!r} is not a umask", "write it in octal, as in umask=0o027")
        if not isinstance(self.env, Mapping):
            raise ConfigError(f"env={self.env!r} is not a mapping", "write env={'NAME': 'value'}")
        for name, value in self.env.items():
            _check_variable(name, value)

    @property
    def given(self) -> list[str]:
        """The names of those that differ from their defaults."""
        defaults = ProcessOptions()
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(defaults, name)]


def check_id(name: str, value: object) -> None:
    """Refuse what is no name or number of a user or a group.

    Raises:
        ConfigError: it is not.
    """
    if value is None or (isinstance(value, str) and value and "\0" not in value):
        return
    if type(value) is not int or not 0 <= value <= _LARGEST_ID:
        raise ConfigError(
            f"{name}={value!r} is neither a name nor a number", f"write {name}='www-data' or {name}=33, for example"
        )


def check_path(name: str, value: object) -> None:
    """Refuse what is no path.

    Raises:
        ConfigError: it is not.
    """
    if value is not None and (not isinstance(value, str) or not value or "\0" in value):
        raise ConfigError(f"{name}={value!r} is not a path", f"write {name}='/srv/app', for example")


def _check_variable(name: object, value: object) -> None:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise ConfigError(f"env: {name!r} is not the name of a variable", "write a text without '='")
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"env: {name} is given {value!r}, which is not a text", f"write env={{{name!r}: 'value'}}")
