"""@filemon: when a file changes."""

from pathlib import Path

from uwsgidecorators import filemon

from tests.interop.apps.noting import answering, note, place

LINES = 2
WATCHED = [Path.cwd() / "one", Path.cwd() / "two"]
for path in WATCHED:
    path.write_text("before")


@filemon(str(WATCHED[0]))
def changed(signum: int) -> None:
    note(place(), signum)


@filemon(str(WATCHED[1]), target="mule1", signum=50)
def in_mule(signum: int) -> None:
    note(place(), signum)


application = answering(lambda: [path.write_text("after") for path in WATCHED])
