"""Switch the process to another user, permanently.

The user is looked up while the process is still root. The switch is three calls whose order matters: each needs rights
that the next one gives up.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trio_uwsgi.errors import ConfigError

__all__ = ["Identity", "become", "group_name", "identity_of", "inaccessible_folder", "out_of_reach", "user_name"]


class Identity(NamedTuple):
    """The user and group of a process, as numbers, and all its `groups`."""

    uid: int
    gid: int
    groups: list[int]


def identity_of(uid: str | int | None, gid: str | int | None) -> Identity | None:
    """The identity to switch to; None: this process has it already.

    Args:
        uid: a user's name or number; None is the current user.
        gid: a group's name or number; None is the user's own group.
    Raises:
        ConfigError: there is no such user or group.
    """
    number, user = _user(uid)
    if gid is not None:
        group = _group(gid)
    elif number == os.getuid():
        group = os.getgid()
    elif user is not None:
        group = user.pw_gid
    else:
        raise ConfigError(f"uid={number} is not in the user database, so its group is unknown", "set gid, too")
    if (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) == (number, number, group, group):
        return None
    groups = os.getgrouplist(user.pw_name, group) if uid is not None and user is not None else [group]
    return Identity(number, group, groups)


def _user(uid: str | int | None) -> tuple[int, pwd.struct_passwd | None]:
    if isinstance(uid, str):
        try:
            user = pwd.getpwnam(uid)
        except KeyError:
            raise ConfigError(f"uid={uid!r}: there is no such user", "add it, or use a number") from None
        return user.pw_uid, user
    number = os.getuid() if uid is None else uid
    try:
        return number, pwd.getpwuid(number)
    except KeyError:
        return number, None


def _group(gid: str | int) -> int:
    if isinstance(gid, int):
        return gid
    try:
        return grp.getgrnam(gid).gr_gid
    except KeyError:
        raise ConfigError(f"gid={gid!r}: there is no such group", "add it, or use a number") from None


def user_name(uid: int) -> str:
    """A user, as in an error."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def group_name(gid: int) -> str:
    """A group, as in an error."""
    try:
        return f"group {grp.getgrgid(gid).gr_name}"
    except KeyError:
        return f"group {gid}"


def inaccessible_folder(path: str, *, listed: bool = False) -> str | None:
    """The first folder on this path that the user of this process may not enter; None if there is none. With `listed`,
    the last one has to be readable, too.
    """
    effective = os.access in os.supports_effective_ids
    way = [path]
    while (above := os.path.dirname(way[0])) != way[0]:
        way.insert(0, above)
    for folder in way:
        use = os.X_OK | os.R_OK if listed and folder == path else os.X_OK
        if os.path.isdir(folder) and not os.access(folder, use, effective_ids=effective):
            return folder
    return None


def out_of_reach(identity: Identity, files: Iterable[tuple[str, int]]) -> str | None:
    """The first of these files that the user has no access to; None if there is none. The effective user is switched
    for the check.

    Args:
        identity: the user.
        files: paths, each with the kind of access, as in `os.R_OK`.
    Raises:
        ConfigError: this process is not root.
    """
    former = Identity(os.geteuid(), os.getegid(), os.getgroups())
    with _explain_refusal(identity):
        os.setgroups(identity.groups)
        os.setegid(identity.gid)
        os.seteuid(identity.uid)
    try:
        return next((path for path, use in files if not os.access(path, use, effective_ids=True)), None)
    finally:
        os.seteuid(former.uid)
        os.setegid(former.gid)
        os.setgroups(former.groups)


def become(identity: Identity) -> None:
    """Switch to that user. There is no way back.

    Raises:
        ConfigError: this process is not root.
    """
    with _explain_refusal(identity):
        os.setgroups(identity.groups)
        os.setgid(identity.gid)
        os.setuid(identity.uid)


@contextlib.contextmanager
def _explain_refusal(identity: Identity) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise ConfigError(
            f"{user_name(os.geteuid())} cannot switch to {user_name(identity.uid)} and {group_name(identity.gid)}",
            "start it as root, or leave uid and gid out",
        ) from None
