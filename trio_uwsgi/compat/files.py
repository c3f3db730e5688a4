"""Files that functions of the module `uwsgi` read."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from trio_uwsgi._protocol.packet import HEADER_SIZE, decode_vars
from trio_uwsgi.compat.absent import NotSupported
from trio_uwsgi.compat.answers import as_name
from trio_uwsgi.errors import RemoteProtocolError

__all__ = ["extract", "parsefile"]

_SCHEME = re.compile("([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_MOST_BYTES = 2**26  # of a file that is read as a whole; uWSGI has no limit
_LINKED = "it reads data that was linked into uWSGI's binary; put it into a file"
# Why a scheme of uWSGI cannot be read here.
_REFUSED = {
    "sym": _LINKED,
    "section": _LINKED,
    "data": _LINKED,
    "fd": "any code could read descriptors of the server with it; open the descriptor with os.fdopen",
    "exec": "a shell would run it; use subprocess.run",
    "call": "it calls a function of uWSGI's binary; call a function of Python",
    "callint": "it calls a function of uWSGI's binary; call a function of Python",
    "http": "it would block this process for a server that does not answer; use an HTTP client with a timeout",
}
_VARS = (0, 17)  # the modifiers of packets of vars: a request and a job


def extract(name: str, /) -> bytes:
    """Return the contents of a file, given as a path or as `file://` and a path.

    uWSGI: a file that cannot be read raises OSError; there the process ends. The other schemes raise `NotSupported`,
        with what to use instead.
    """
    as_name("extract", name)
    found = _SCHEME.fullmatch(name)
    if found is None:
        return _read(name)
    scheme, rest = found[1].lower(), found[2]
    if scheme == "file":
        return _read(unquote(rest))
    reason = _REFUSED.get(scheme, "write a path, or file:// and a path")
    raise NotSupported(f"uwsgi.extract({name!r})", reason)


def parsefile(filename: str, /) -> dict[bytes, bytes] | None:
    """Read the vars of a file that begins with a packet, such as that of a job; None if it does not.

    uWSGI: a packet that is cut off is None too; there what is complete of it.
    """
    try:
        with open(as_name("parsefile", filename), "rb") as file:
            head = file.read(HEADER_SIZE)
            if len(head) < HEADER_SIZE or head[0] not in _VARS:
                return None
            body = file.read(size := head[1] | head[2] << 8)
            return dict(decode_vars(body, size)) if len(body) == size else None
    except (OSError, ValueError, RemoteProtocolError):
        return None


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise OSError(f"uwsgi.extract({path!r}): the file has more than {_MOST_BYTES} bytes; read it with open()")
    return data
