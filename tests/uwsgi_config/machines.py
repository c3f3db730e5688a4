"""A machine of plain values, for tests of what a configuration asks."""

from __future__ import annotations

import errno
import fnmatch
from collections.abc import Mapping

from trio_uwsgi._program.command_line import takes_value
from trio_uwsgi._uwsgi_config.command_words import settings_of_words
from trio_uwsgi._uwsgi_config.expansion import Surroundings
from trio_uwsgi._uwsgi_config.reading import Reading, read_settings
from trio_uwsgi._uwsgi_config.translation import Translation, translate

BINARY = "\xff"  # stands for a file that is no text
FACTS = {"k": "4", "u": "33", "U": "www", "g": "34", "G": "web", "t": "5", "T": "5000000", "V": "2.0.31"}


def machine(files: Mapping[str, str], env: Mapping[str, str] | None = None) -> Surroundings:
    """A machine with these files, whose folders are the beginnings of their names."""

    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        if files[path] == BINARY:
            raise OSError(errno.EILSEQ, "it is not UTF-8")
        return files[path]

    folders = {name.rpartition("/")[0] for name in files}
    return Surroundings(
        env=env or {},
        cwd="/srv/app",
        hostname="box",
        facts=FACTS,
        read=read,
        exists=lambda path: path in files or path in folders,
        is_file=lambda path: path in files,
        is_dir=lambda path: path in folders,
        glob=lambda pattern: fnmatch.filter(files, pattern),
    )


def reading(text: str, *words: str, files: Mapping[str, str] | None = None, **env: str) -> Reading:
    """What is read of `uwsgi.ini` with this text, behind these words."""
    given = settings_of_words([*words, "--ini", "uwsgi.ini"], takes_value)
    return read_settings(given, machine({"uwsgi.ini": text, **(files or {})}, env))


def pairs(found: Reading) -> list[str]:
    """The settings that count, without the option that named the file."""
    return [f"{s.name}={s.value}" for s, holds in found.lines if holds and s[:2] != ("ini", "uwsgi.ini")]


def translation(text: str, *words: str, compat: bool = False) -> Translation:
    """The translation of a section [uwsgi] with these lines."""
    return translate(reading(f"[uwsgi]\n{text}", *words), takes_value, compat=compat)
