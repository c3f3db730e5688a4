"""Looks up the file that a request is for, with its type and its encodings, by the options of static files.

A look-up that may not wait answers from what the system has in memory, or raises BlockingIOError; then it is repeated
in a thread. A file that is replaced is served at once. All that is kept from one request to the next is which files had
no encoded one beside them, for `ALONE_SECONDS`: looking for two more files doubles the time of a look-up.
"""

from __future__ import annotations

import errno
import functools
import logging
import mimetypes
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi._http.file_answers import ENCODINGS, FileAnswer, FileFacts, plain_answer, wanted_encodings
from trio_uwsgi._http.file_paths import Map, Place, find_places, folder_location
from trio_uwsgi._http.open_file import OpenFile
from trio_uwsgi._system.beneath import Outside, open_beneath, open_path

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request
    from trio_uwsgi.config.static import StaticOptions

__all__ = ["Found", "StaticFiles"]

logger = logging.getLogger("trio_uwsgi")

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
NOT_FOUND = (404, "Not Found")
FORBIDDEN = (403, "Forbidden")

# A type of a file that is compressed as such; it is not unpacked by the client.
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_UNKNOWN = "application/octet-stream"
# Types of which no encoded file is looked for, because they are compressed already.
_COMPRESSED = ("image/", "audio/", "video/", "font/woff", "application/zip", *_PACKED.values())


ALONE_SECONDS = 1.0
_ALONE = 4096  # names that are kept


class Found(NamedTuple):
    """A file, and what its answer depends on."""

    file: OpenFile
    facts: FileFacts


class StaticFiles:
    """The files of one worker, by `StaticOptions`."""

    def __init__(self, options: StaticOptions) -> None:
        maps = [Map(os.fsencode(prefix), os.fsencode(folder), False) for prefix, folder in options.maps]
        self._maps = maps + [Map(b"", os.fsencode(folder), True) for folder in options.check]
        self._safe = [os.fsencode(folder) for folder in options.safe]
        self._index = [os.fsencode(name) for name in options.index]
        self._expires = options.expires
        self._alone: dict[tuple[bytes, bytes], float] = {}  # place -> when it is looked at again

    def warn(self) -> None:
        """Log which folders do not exist now, and read the types of files. Called once, before the first request."""
        content_type(b".css")
        for _, folder, _ in self._maps:
            if not os.path.exists(folder):
                name = os.fsdecode(folder)
                logger.warning("static files: %s does not exist; requests for its files go to the application", name)

    def look(self, request: Request, *, wait: bool) -> Found | FileAnswer | None:
        """What answers a GET or HEAD request; None: the application.

        Raises:
            BlockingIOError: the call would have to wait for a disk, and `wait` is not set.
        """
        path = request.path_bytes()
        places = find_places(path, self._maps)
        if places is None:
            return plain_answer(*NOT_FOUND)
        for place in places:
            try:
                file = self._open(place, wait)
                if file is None:
                    continue
                if not file.is_folder:
                    if place.name or not path.endswith(b"/"):
                        return self._found(place, file, request, wait)
                    continue
                for name in self._index:
                    inside = place._replace(name=(place.name + b"/" + name).lstrip(b"/"))
                    index = self._open(inside, wait)
                    if index is None or index.is_folder:
                        continue
                    if not path.endswith(b"/"):
                        location = folder_location(path, request.query)
                        return plain_answer(301, "Moved Permanently", (b"location", location))
                    return self._found(inside, index, request, wait)
            except BlockingIOError:
                raise
            except Outside:
                if not place.passes:
                    return plain_answer(*NOT_FOUND)
            except PermissionError:
                if not place.passes:
                    return plain_answer(*FORBIDDEN)
        return None

    def _open(self, place: Place, wait: bool) -> OpenFile | None:
        """The file or the folder at a place; None: there is neither."""
        try:
            if place.name:
                descriptor = open_beneath(place.folder, place.name, self._safe, wait=wait)
            else:
                descriptor = open_path(place.folder, wait=wait)
            return OpenFile(descriptor, folders=True)
        except (BlockingIOError, Outside, PermissionError):
            raise
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                raise
            return None

    def _found(self, place: Place, file: OpenFile, request: Request, wait: bool) -> Found:
        """The file, or the one beside it that has the encoding which the client prefers."""
        whole = place.name or place.folder
        kind = content_type(os.path.splitext(whole)[1])
        max_age = self._max_age(whole)
        encoded = {} if kind.startswith(_COMPRESSED) or not place.name else self._encoded(place, file, wait)
        chosen = b""
        if encoded:
            accept = b",".join(value for name, value in request.headers if name == b"accept-encoding")
            chosen = next((encoding for encoding in wanted_encodings(accept) if encoding in encoded), b"")
            file = encoded.get(chosen, file)
        facts = FileFacts(file.size, file.mtime_ns, kind.encode("latin-1"), chosen, bool(encoded), max_age)
        return Found(file, facts)

    def _encoded(self, place: Place, file: OpenFile, wait: bool) -> dict[bytes, OpenFile]:
        """The encoded files beside a file."""
        key = place.folder, place.name
        now = time.monotonic()
        if self._alone.get(key, 0.0) > now:
            return {}
        found: dict[bytes, OpenFile] = {}
        for encoding, suffix in ENCODINGS.items():
            other = self._beside(place, suffix, file, wait)
            if other is not None:
                found[encoding] = other
        if not found:
            if len(self._alone) >= _ALONE:
                self._alone.clear()
            self._alone[key] = now + ALONE_SECONDS
        return found

    def _beside(self, place: Place, suffix: bytes, file: OpenFile, wait: bool) -> OpenFile | None:
        """The encoded file beside a file. One that is older than the file is left alone: it has another content."""
        try:
            other = self._open(place._replace(name=place.name + suffix), wait)
        except BlockingIOError:
            raise
        except OSError:
            return None
        if other is None or other.is_folder or other.mtime_ns // 10**9 < file.mtime_ns // 10**9:
            return None
        return other

    def _max_age(self, name: bytes) -> int:
        if self._expires:
            text = os.fsdecode(name)
            for expiry in self._expires:
                if expiry.pattern.search(text):
                    return expiry.seconds
        return -1


@functools.lru_cache(1024)
def content_type(extension: bytes) -> str:
    """The type of files with an extension, by `mimetypes`; an application may add some when it is imported."""
    kind, packed = mimetypes.guess_type("file" + os.fsdecode(extension))
    if packed is not None:
        return _PACKED.get(packed, _UNKNOWN)
    return kind or _UNKNOWN
