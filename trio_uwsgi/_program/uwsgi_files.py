"""Read uWSGI's configuration on this machine, and the words that show that a command line is uWSGI's."""

from __future__ import annotations

import errno
import glob
import grp
import os
import pwd
import re
import socket
import time
from collections.abc import Sequence

from trio_uwsgi._program.command_line import takes_value
from trio_uwsgi._uwsgi_config.command_words import settings_of_environment, settings_of_words
from trio_uwsgi._uwsgi_config.expansion import Surroundings
from trio_uwsgi._uwsgi_config.reading import is_config_file, read_settings
from trio_uwsgi._uwsgi_config.translation import Translation, translate

__all__ = ["is_for_uwsgi", "translated"]

_VERSION = "2.0.31"  # whose options these are
_NAMES_AN_APP = re.compile(r"--(module|wsgi|wsgi-file|file|ini|ya?ml|json|js|xml|xmlconfig|emperor)(=.*)?|-[wxyj].*")


def is_for_uwsgi(words: Sequence[str]) -> bool:
    """Is this command line uWSGI's? It is, if it names a configuration file, or the application by an option."""
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if is_config_file(word) and not word.startswith("-") and not takes_value(before.lstrip("-")):
            return True
        # `-w 4` is gunicorn's, and has a hint of its own.
        if _NAMES_AN_APP.fullmatch(word) and not re.fullmatch(r"-w *\d+", f"{word} {after}" if word == "-w" else word):
            return True
    return False


def translated(words: Sequence[str]) -> Translation:
    """Read a command line of uWSGI, with the files that it names and the `UWSGI_...` variables.

    Raises:
        ConfigError: something cannot be read or understood.
    """
    compat = "--compat" in words
    given = settings_of_environment(os.environ)
    given += settings_of_words([word for word in words if word != "--compat"], takes_value)
    return translate(read_settings(given, _surroundings()), takes_value, compat=compat)


def _surroundings() -> Surroundings:
    return Surroundings(
        env=os.environ,
        cwd=os.getcwd(),
        hostname=socket.gethostname(),
        facts={
            "k": str(os.cpu_count() or 1),
            "u": str(os.getuid()),
            "U": _name_of_user(),
            "g": str(os.getgid()),
            "G": _name_of_group(),
            "t": str(int(time.time())),
            "T": str(int(time.time() * 1e6)),
            "V": _VERSION,
        },
        read=_read,
        exists=os.path.exists,
        is_file=os.path.isfile,
        is_dir=os.path.isdir,
        glob=glob.glob,
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not UTF-8") from None


def _name_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _name_of_group() -> str:
    try:
        return grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return str(os.getgid())
