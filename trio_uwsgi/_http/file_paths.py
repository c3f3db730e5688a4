"""Which files the path of a request may mean, and how it is redirected to a folder. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["Map", "Place", "find_places", "folder_location"]


class Map(NamedTuple):
    """A prefix of paths, without a slash at its end, and the folder or the file for it. With `passes` the paths below
    the prefix belong to the application, and a file is only looked for: `check_static`.
    """

    prefix: bytes
    folder: bytes
    passes: bool


class Place(NamedTuple):
    """Where a file may be: `name` is relative to the folder, b"" for the folder itself."""

    folder: bytes
    name: bytes
    passes: bool


def find_places(path: bytes, maps: Sequence[Map]) -> list[Place] | None:
    """The places to look at, in order. None: no file and no application is asked for this path.

    A path with a segment `..` or a null byte is looked for nowhere. Below a prefix it is answered with 404, as it was
    made by somebody who tries to leave the folder; elsewhere the application may know what it means.

    Args:
        path: of the request, percent-decoded once.
        maps: in the order in which they are tried.
    """
    places: list[Place] = []
    hostile = b"\0" in path or b".." in path.split(b"/")
    for prefix, folder, passes in maps:
        if path == prefix or path.startswith(prefix + b"/"):
            if not hostile:
                places.append(Place(folder, path[len(prefix) :].lstrip(b"/"), passes))
            elif not passes:
                return None
    return places


def folder_location(path: bytes, query: bytes) -> bytes:
    """The Location for a folder whose path has no slash at its end. It is relative, so it is right behind any proxy.

    Whatever the path is, the result names no other host and no scheme, and has no control characters.
    """
    location = quote(path.rpartition(b"/")[2], safe="").encode() + b"/"
    if query:
        location += b"?" + quote(query, safe="!$%&'()*+,-./:;=?@[]_~").encode()
    return location
