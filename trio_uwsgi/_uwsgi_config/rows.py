"""The rows of the table of uWSGI's options, and the ways to write one. Pure.

A row says what becomes of an option here: `supported` under its own name, `mapped` to words of the command line of
trio_uwsgi, `ignored` because nothing is lost, or `refused` because something would be. Refused options have a
replacement in their note.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from trio_uwsgi._uwsgi_config.known_options import OPTIONAL_VALUE, WITHOUT_VALUE
from trio_uwsgi._uwsgi_config.settings import FALSE_WORDS

__all__ = ["Outcome", "Row", "Verdict", "ignored", "judged", "mapped", "refused", "supported"]

Verdict: TypeAlias = Literal["supported", "mapped", "ignored", "refused"]


class Outcome(NamedTuple):
    """What becomes of one setting: the verdict, words of the command line, and a note for people."""

    verdict: Verdict
    words: tuple[str, ...] = ()
    note: str = ""


class Row(NamedTuple):
    """One option with its other names. `becomes` is how it is written here, for people; `judge` takes a value."""

    names: tuple[str, ...]
    verdict: Verdict
    becomes: str
    note: str
    judge: Callable[[str], Outcome]


def supported(names: str, value: str = "") -> Row:
    """Options with the same name and meaning here.

    Args:
        names: the option and its other names; the first is ours.
        value: what its value is called in our command line; "" for a switch.
    """
    first = names.split()[0]
    return _written(names, "supported", f"--{first} {value}".strip(), "")


def mapped(names: str, becomes: str, note: str = "", *, convert: Callable[[str], str] | None = None) -> Row:
    """Options that are called otherwise here.

    Args:
        names: the option and its other names.
        becomes: words of our command line; a word in capital letters at the end stands for the value.
        note: what is different.
        convert: makes our value of uWSGI's.
    """
    return _written(names, "mapped", becomes, note, convert)


def _written(names: str, verdict: Verdict, becomes: str, note: str, convert: Callable[[str], str] | None = None) -> Row:
    words = tuple(becomes.split())
    takes_value = words[-1].isupper() or not words[-1].startswith("--")
    fixed = words[:-1] if takes_value else words
    first, *_ = split = tuple(names.split())
    switch = first in WITHOUT_VALUE

    def judge(value: str) -> Outcome:
        if switch and value.lower() in FALSE_WORDS:
            return _switched_off()
        given = (convert(value) if convert else value,) if takes_value else ()
        return Outcome(verdict, (*fixed, *given), note)

    return Row(split, verdict, becomes, note, judge)


def ignored(names: str, reason: str) -> Row:
    """Options that need nothing here."""
    split = tuple(names.split())
    return Row(split, "ignored", "", reason, lambda value: Outcome("ignored", (), reason))


def refused(names: str, replacement: str) -> Row:
    """Options that do something which is not here.

    Args:
        names: the option and its other names.
        replacement: what to do instead.
    """
    split = tuple(names.split())
    switch = split[0] in WITHOUT_VALUE | OPTIONAL_VALUE

    def judge(value: str) -> Outcome:
        off = switch and value.lower() in FALSE_WORDS
        return _switched_off() if off else Outcome("refused", (), replacement)

    return Row(split, "refused", "", replacement, judge)


def judged(names: str, becomes: str, note: str, judge: Callable[[str], Outcome]) -> Row:
    """Options of which the value decides what becomes of them."""
    return Row(tuple(names.split()), "mapped", becomes, note, judge)


def _switched_off() -> Outcome:
    return Outcome("ignored", (), "it is switched off")
