"""Files within files, conditions, loops, and what stands for the marks in values: as real uWSGI shows them."""

from __future__ import annotations

import pytest

from tests.uwsgi_config.machines import BINARY, machine, pairs, reading
from trio_uwsgi._uwsgi_config.expansion import magic_of, with_magic
from trio_uwsgi._uwsgi_config.reading import is_config_file
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = %n.%e %s %x %o", ["a=uwsgi.ini uwsgi.ini uwsgi uwsgi.ini"]),
        ("b = %d|%p|%c", ["b=/srv/app/|/srv/app/uwsgi.ini|app"]),
        ("a = %h %k %u %U %g %G %v %t %V %0 %1", ["a=box 4 33 www 34 web /srv/app 5 2.0.31 srv app"]),
        ("a = 100%% %q %", ["a=100% %q %"]),
        ("a = $(HOME) $(NOPE)", ["a=/home $(NOPE)"]),
        ("a = %(late) %(uri)\nlate = %(later)\nlate = x\nlater = y", ["a=y %(uri)", "late=y", "late=x", "later=y"]),
        ("a = @(note.txt)", ["a=hello"]),
        ("set = a=1\nset-ph = b=%(a)", ["set=a=1", "a=1", "set-ph=b=1", "b=1"]),
        ("if-env = HOME\na = %(_)\nendif =\nb = 1", ["if-env=HOME", "a=/home", "endif=", "b=1"]),
        ("if-env = HOME=/x\na = 1\nendif =", ["if-env=HOME=/x", "endif="]),
        ("if-not-env = NOPE\na = 1\nend-if =", ["if-not-env=NOPE", "a=1", "end-if="]),
        ("p = 2\nif-opt = p=2\na = 1\nendif =", ["p=2", "if-opt=p=2", "a=1", "endif="]),
        ("if-opt = q\nb = 1\nendif =", ["if-opt=q", "endif="]),
        ("ifexists = note.txt\na = %(_)\nendif =", ["ifexists=note.txt", "a=note.txt", "endif="]),
        ("if-file = sub\na = 1\nendif =", ["if-file=sub", "endif="]),
        ("if-dir = sub\nb = 1\nendif =", ["if-dir=sub", "b=1", "endif="]),
        ("if-hostname = box\na = 1\nendif =", ["if-hostname=box", "a=1", "endif="]),
        ("if-hostname-match = ^b\na = 1\nendif =", ["if-hostname-match=^b", "a=1", "endif="]),
        ("if-plugin = python\na = 1\nendif =", ["if-plugin=python", "a=1", "endif="]),
        ("if-reload = true\na = 1\nendif =", ["if-reload=true", "endif="]),
        ("for = 1 2\na = %(_)\nb%(_) = x\nendfor =", ["for=1 2", "a=1", "a=2", "b%(_)=x", "b%(_)=x", "endfor="]),
        ("for-times = 2\na = %(_)\nendfor =", ["for-times=2", "a=1", "a=2", "endfor="]),
        ("for-glob = sub/*o*\na = %(_)\nend-for =", ["for-glob=sub/*o*", "a=sub/one", "a=sub/two", "end-for="]),
        ("for-readline = list\na = %(_)\nendfor =", ["for-readline=list", "a=x y", "a=z", "endfor="]),
        ("include = inc_%n.ini\nb = %(from_inc)", ["include=inc_uwsgi.ini", "a=inc_uwsgi uwsgi", "from_inc=1", "b=1"]),
        ("ini = :more\nb = 1\n[more]\nc = %x %X", ["ini=:more", "c=more uwsgi", "b=1"]),
        ("name = sub/y\nyaml = %(name).yaml:two", ["name=sub/y", "yaml=sub/y.yaml:two", "z=3"]),
        ("inherit = sub/plain", ["inherit=sub/plain", "d=4"]),
    ],
)  # fmt: skip
def test_what_is_read(text: str, expected: list[str]) -> None:
    """The settings in order, with their values as they count."""
    files = {
        "note.txt": "hello\n",
        "sub/one": "",
        "sub/two": "",
        "list": "x y\nz\n",
        "inc_uwsgi.ini": "[uwsgi]\na = %n %N\nfrom_inc = 1\n",
        "sub/y.yaml": "two:\n  z: 3\n",
        "sub/plain": "[uwsgi]\nd = 4",
    }
    assert expected == pairs(reading(f"[uwsgi]\n{text}\n", files=files, HOME="/home"))


def test_settings_that_do_not_hold_are_known() -> None:
    """A line in a condition that does not hold is there, but does not count; names that are referred to are told."""
    found = reading("[uwsgi]\nif-env = NOPE\na = %(b)\nendif =\nc = %(d)\nif-not-opt = e=1\nendif =\n")
    assert [("a", False)] == [(setting.name, holds) for setting, holds in found.lines if not holds]
    assert {"d", "e"} == set(found.placeholders)


def test_the_command_line_is_not_a_file() -> None:
    """Magic variables are left alone there, and its options count for the file."""
    assert ["procname=%n", "processes=3", "a=3"] == pairs(
        reading("[uwsgi]\na = %(processes)", "--procname", "%n", "-p3")
    )


def test_magic_without_a_folder_or_an_ending() -> None:
    """A file in the root folder, without an ending: the letters for these are empty."""
    magic = magic_of("/vassal", "uwsgi", {}, machine({}))
    assert "/|vassal||" == with_magic("%d|%n|%e|%c", magic)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("endif =", "uwsgi.ini:2: endif ends nothing; remove it"),
        ("if-env = A\nfor = 1", "uwsgi.ini:3: for within if-env of line 2; end that first"),
        ("if-hostname-match = (\nendif =", "if-hostname-match = (: missing ), unterminated subpattern"),
        ("for-times = x", "uwsgi.ini:2: for-times 'x' is not a number"),
        ("for-readline = x", "uwsgi.ini:2: cannot read x: No such file"),
        ("set = a", "uwsgi.ini:2: set a has no value; write name=value"),
        ("ini = x.ini", "uwsgi.ini:2: cannot read x.ini: No such file or directory; name a file"),
        ("ini = binary", "uwsgi.ini:2: cannot read binary: it is not UTF-8"),
        ("ini = uwsgi.ini", "uwsgi.ini:2: uwsgi.ini includes itself; remove one of the includes"),
        ("a = %(b)\nb = %(a)", "is made of itself"),
        ("a = @(x)", "uwsgi.ini:2: cannot read x: No such file or directory; name a file that can be read"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """What cannot be read is told with file and line."""
    with pytest.raises(ConfigError) as caught:
        reading(f"[uwsgi]\n{text}\n", files={"binary": BINARY})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("a.ini", True), ("a/b.yaml:x", True), ("app:ini", False), ("a.py", False), ("x.json", True), ("app", False)],
)
def test_words_that_name_files(word: str, expected: bool) -> None:
    """A file with one of uWSGI's endings, perhaps with a section."""
    assert expected == is_config_file(word)
