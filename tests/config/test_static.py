"""The options of static files: what they become, and what is refused with a remedy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trio_uwsgi import Config
from trio_uwsgi.config.static import Expiry, StaticOptions
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


def test_options() -> None:
    """They are parsed when the Config is made; without a folder there are no static files."""
    config = Config(
        static_map={"/static/": "/srv/s", "/": "/srv/root"},
        check_static="/srv/c",
        static_safe=["/srv/a", "/srv/b"],
        static_index="index.html",
        static_expires={r"\.css$": 60},
    )
    expected = StaticOptions(
        maps=(("/static", "/srv/s"), ("", "/srv/root")),
        check=("/srv/c",),
        safe=("/srv/a", "/srv/b"),
        index=("index.html",),
        expires=(Expiry(re.compile(r"\.css$"), 60),),
    )
    assert expected == config.static_options
    assert config.static_options.in_use
    assert not Config().static_options.in_use
    assert Config(check_static=["/srv"]).static_options.in_use


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"static_map": "/static=/srv"}, "is not a mapping"),
        ({"static_map": {"static": "/srv"}}, "does not begin with a slash"),
        ({"static_map": {1: "/srv"}}, "does not begin with a slash"),
        ({"static_map": {"/static": ""}}, "is not a path"),
        ({"static_map": {"/static": "a\0"}}, "is not a path"),
        ({"static_map": {"/static": None}}, "is not a path"),
        ({"static_map": {"/static": "/a", "/static/": "/b"}}, "static_map has /static twice"),
        ({"static_map": {"": "/a"}}, "does not begin with a slash"),
        ({"static_map": {"/": "/a", "//": "/b"}}, "static_map has / twice"),
        ({"static_index": 1}, "is not a name"),
        ({"static_index": ["a/b"]}, "is not the name of a file"),
        ({"static_index": [".."]}, "is not the name of a file"),
        ({"static_index": ["a\0"]}, "is not the name of a file"),
        ({"static_index": [""]}, "is not the name of a file"),
        ({"static_index": [1]}, "is not the name of a file"),
        ({"static_expires": 60}, "is not a mapping"),
        ({"static_expires": {"(": 60}}, "is not a regular expression"),
        ({"static_expires": {1: 60}}, "is not a regular expression"),
        ({"static_expires": {"a": 1.5}}, "is not a number of seconds"),
        ({"static_expires": {"a": -1}}, "is not a number of seconds"),
        ({"static_expires": {"a": True}}, "is not a number of seconds"),
        ({"check_static": ["a", "a"]}, "names a twice"),
        ({"static_safe": 5}, "is not a path"),
    ],
)
def test_impossible_values(options: dict[str, Any], problem: str) -> None:
    """Each is refused when the Config is made."""
    with pytest.raises(ConfigError, match=re.escape(problem)):
        Config(**options)
