"""Read uWSGI's command line and its environment variables as settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from trio_uwsgi._uwsgi_config.formats import FORMATS
from trio_uwsgi._uwsgi_config.known_options import NAMES, OPTIONAL_VALUE, SHORT, WITHOUT_VALUE
from trio_uwsgi._uwsgi_config.reading import is_config_file
from trio_uwsgi._uwsgi_config.settings import COMMAND_LINE, Place, Setting
from trio_uwsgi._uwsgi_config.table import OPTIONS
from trio_uwsgi.errors import ConfigError

__all__ = ["settings_of_environment", "settings_of_words"]


def settings_of_environment(env: Mapping[str, str]) -> list[Setting]:
    """Variables such as `UWSGI_HTTP_SOCKET`. Those that name no option are left alone: others use the prefix, too."""
    found = []
    for variable, value in env.items():
        name = variable.removeprefix("UWSGI_").lower().replace("_", "-")
        if variable.startswith("UWSGI_") and (name in NAMES or name in OPTIONS):
            found.append(Setting(name, value, Place(variable)))
    return found


def settings_of_words(words: Sequence[str], takes_value: Callable[[str], bool | None]) -> list[Setting]:
    """Read a command line of uWSGI, which may have options of ours.

    Args:
        words: without the program's name.
        takes_value: for an option that is not uWSGI's: does ours take a value? None if we have none, either.
    Raises:
        ConfigError: a value is missing, or a word is neither an option nor a file.
    """
    found: list[Setting] = []
    files: list[Setting] = []
    left = list(reversed(words))
    while left:
        word = left.pop()
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            takes = _takes(name, takes_value)
            if equals and takes is False and name not in OPTIONAL_VALUE:
                raise ConfigError(f"--{name} takes no value", f"write --{name}")
            if not equals and takes:
                value = _value(f"--{name}", left)
            bare = "" if name in OPTIONAL_VALUE else "true"
            found.append(Setting(name, value if equals or takes else bare, COMMAND_LINE))
        elif word.startswith("-") and len(word) > 1:
            found += _short(word[1:], left)
        else:
            kind = _positional(word)
            (files if kind in FORMATS else found).append(Setting(kind, word, COMMAND_LINE))
    return found + files  # uWSGI reads files that are named without an option at the end


def _takes(name: str, takes_value: Callable[[str], bool | None]) -> bool | None:
    if name in NAMES:
        return name not in WITHOUT_VALUE | OPTIONAL_VALUE
    if name in OPTIONS:
        return name not in ("websockets", "spooler-cheap")
    return takes_value(name)


def _value(option: str, left: list[str]) -> str:
    if not left:
        raise ConfigError(f"{option} needs a value", "write it behind the option")
    return left.pop()


def _short(letters: str, left: list[str]) -> list[Setting]:
    """The options of a word such as `-M`, `-p4` or `-Mp4`."""
    found = []
    while letters:
        letter, letters = letters[0], letters[1:]
        name = SHORT.get(letter)
        if name is None:
            raise ConfigError(f"there is no option -{letter}", "see trio-uwsgi check --options")
        if name in WITHOUT_VALUE:
            found.append(Setting(name, "true", COMMAND_LINE))
            continue
        if name in OPTIONAL_VALUE:
            found.append(Setting(name, letters, COMMAND_LINE))
        else:
            found.append(Setting(name, letters or _value(f"-{letter}", left), COMMAND_LINE))
        break
    return found


def _positional(word: str) -> str:
    if is_config_file(word):
        return next(kind for kind in FORMATS if re.search(rf"\.{kind}(:[^/]*)?$", word))
    if word.endswith(".toml"):
        raise ConfigError(
            f"{word} is no file of uWSGI", f"write --config {word}, and --print-config to see its options"
        )
    if word.endswith((".py", ".wsgi")):
        return "wsgi-file"
    if re.fullmatch(r"[\w.]+(:[\w.()]+)?", word):
        return "module"
    raise ConfigError(f"{word!r} is neither an option nor a file", "write an option, as in --module app")
