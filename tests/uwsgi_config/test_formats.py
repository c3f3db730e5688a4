"""uWSGI's formats of files, each with its lines and its refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_uwsgi._uwsgi_config.formats import format_of, parse_ini, parse_json, parse_xml, parse_yaml
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._uwsgi_config.settings import Setting

pytestmark = pytest.mark.pure


def lines(settings: list[Setting]) -> list[tuple[int, str, str]]:
    """Line, name and value of each."""
    return [(setting.place.line, setting.name, setting.value) for setting in settings]


def test_ini() -> None:
    """Comments, names without a value, sections that occur twice, and values with signs of their own."""
    text = "# c\n; c\n[uwsgi]\n  socket =  :3031 ; no comment \nvacuum\nenv = A=B\n\n[other]\nx = 1\n[uwsgi]\ny = 2\n"
    expected = [(4, "socket", ":3031 ; no comment"), (5, "vacuum", ""), (6, "env", "A=B"), (11, "y", "2")]
    assert expected == lines(parse_ini(text, "f", "uwsgi"))
    assert [(9, "x", "1")] == lines(parse_ini(text, "f", "other"))


def test_yaml() -> None:
    """Scalars with and without quotes, comments, lists, and other keys of the first level."""
    text = (
        '---\nother:\n  - skipped\n  x: 1\nuwsgi:\n    socket: :3031  # here\n    s: "a: b"\n'
        "    env:\n      - A=1\n      - 'B=2'\n    n:\n    master: true\n"
    )
    expected = [(6, "socket", ":3031"), (7, "s", "a: b"), (9, "env", "A=1"), (10, "env", "B=2"), (12, "master", "true")]
    assert expected == lines(parse_yaml(text, "f", "uwsgi"))


def test_json() -> None:
    """Texts, numbers, switches, nothing, and lists; a key that occurs twice is two settings."""
    text = (
        '{\n "uwsgi": {\n  "processes": 2,\n  "master": true,\n  "lazy": false, "x": null,\n'
        '  "env": ["A=1", "B=2"]\n }\n}'
    )
    expected = [
        (3, "processes", "2"),
        (4, "master", "true"),
        (5, "lazy", "false"),
        (5, "x", ""),
        (6, "env", "A=1"),
        (6, "env", "B=2"),
    ]
    assert expected == lines(parse_json(text, "f", "uwsgi"))
    assert [] == parse_json('{"uwsgi": 1}', "f", "uwsgi")


def test_xml() -> None:
    """Elements with and without text; the section is an attribute."""
    text = '<all>\n<uwsgi>\n<master/>\n<env>A=1</env>\n</uwsgi>\n<uwsgi id="b"><env>B</env></uwsgi><x>1</x></all>'
    assert [(3, "master", ""), (4, "env", "A=1")] == lines(parse_xml(text, "f", "uwsgi"))
    assert [(6, "env", "B")] == lines(parse_xml(text, "f", "b"))


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_ini, "[a]\n[b]\n", "f has no section uwsgi; it has a, b; name one, as in f:section"),
        (parse_ini, "x = 1", "f has no section uwsgi; it has none"),
        (parse_yaml, "uwsgi:\n  - A", "f:2: an item without a key"),
        (parse_yaml, "uwsgi:\n  a: {b: 1}", "f:2: 'a: {b: 1}' is not understood; write `name: value`"),
        (parse_yaml, "uwsgi:\n  nothing", "f:2: 'nothing' is not understood"),
        (parse_yaml, "a: 1", "f has no section uwsgi"),
        (parse_json, '{"uwsgi": {\n"a" 1}}', "f:2: this is not JSON: Expecting ':' delimiter"),
        (parse_json, '{"uwsgi": {"a": {"b": 1}}}', "f:1: a has an object"),
        (parse_json, '{"uwsgi": {"a": [{"b": 1}]}}', "f:1: a has an object"),
        (parse_json, "[1]", "f has no section uwsgi"),
        (parse_json, "3", "f has no section uwsgi"),
        (parse_xml, "<uwsgi>\n<a></uwsgi>", "f:2: this is not XML: mismatched tag"),
        (parse_xml, "<a/>", "f has no section uwsgi"),
    ],
)
def test_refusals(parse: object, text: str, message: str) -> None:
    """What cannot be read is told with the line."""
    assert callable(parse)
    with pytest.raises(ConfigError) as caught:
        parse(text, "f", "uwsgi")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.ini", parse_ini),
        ("a.yml", parse_yaml),
        ("a.js", parse_json),
        ("a.xml", parse_xml),
        ("ini", None),
        ("a.b", None),
    ],
)
def test_formats_by_name(name: str, expected: object) -> None:
    """The end of a file's name says its format."""
    assert expected is format_of(name)
