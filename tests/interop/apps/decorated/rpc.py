"""@rpc: the function is registered, and is what it was."""

import uwsgi
from uwsgidecorators import rpc

from tests.interop.apps.noting import answering, note

LINES = 3


@rpc("join")
def join(*words: bytes) -> bytes:
    return b"+".join(words)


def begin() -> None:
    note(uwsgi.call(b"join", b"a", b"b"), uwsgi.rpc(None, b"join", b"c"))
    note(b"join" in uwsgi.rpc_list())
    note(join(b"d", b"e"))


application = answering(begin)
