"""The servers that the tests beside this file let speak to each other; started once, killed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.interop.peers import Node, Once, find_program, our_node, uwsgi_node


class Pair(NamedTuple):
    """Who calls whom, and over what."""

    caller: Node
    callee: Node
    over: str

    @property
    def node(self) -> str:
        """The callee's address, as the caller writes it."""
        return self.callee.at(self.over)

    @property
    def kinds(self) -> str:
        """As in "uwsgi to ours"."""
        return f"{self.caller.kind} to {self.callee.kind}"


@pytest.fixture(scope="session")
def uwsgi_program() -> str:
    """The path of a real uWSGI; a test that needs it is skipped without it."""
    path = find_program("uwsgi", "pyuwsgi")
    if path is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    return path


class Nodes:
    """The nodes, each started when it is first needed. Two of each kind, because a server that calls itself shows less,
    and a uWSGI may wait for itself.
    """

    def __init__(self, uwsgi: str, folders: pytest.TempPathFactory, ends: contextlib.ExitStack) -> None:
        self._uwsgi = uwsgi
        self._folders = folders
        self._ends = ends
        self._once = Once()

    def get(self, name: str) -> Node:
        """One of "uwsgi1", "uwsgi2", "ours1" and "ours2"."""
        return self._once.get(name, lambda: self._start(name))

    def _start(self, name: str) -> Node:
        folder = self._folders.mktemp(name)
        node = uwsgi_node(self._uwsgi, folder) if name.startswith("uwsgi") else our_node(folder)
        return self._ends.enter_context(node)


@pytest.fixture(scope="session")
def nodes(uwsgi_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The nodes, which end with the session."""
    with contextlib.ExitStack() as ends:
        yield Nodes(uwsgi_program, tmp_path_factory, ends)


# uWSGI to itself is the measure: what is expected there is what the real one does.
PAIRS = {
    "uwsgi-uwsgi": ("uwsgi1", "uwsgi2"),
    "uwsgi-ours": ("uwsgi1", "ours2"),
    "ours-uwsgi": ("ours1", "uwsgi2"),
    "ours-ours": ("ours1", "ours2"),
}


@pytest.fixture(params=PAIRS)
def kinds(request: pytest.FixtureRequest) -> str:
    """The kinds of the caller and of the callee."""
    return str(request.param)


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest, nodes: Nodes, kinds: str) -> Pair:
    """A caller, a callee and the kind of the socket between them: all eight."""
    caller, callee = PAIRS[kinds]
    return Pair(nodes.get(caller), nodes.get(callee), request.param)
