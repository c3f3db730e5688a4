"""Hooks: their points and actions, and what is said of those that do not exist."""

from __future__ import annotations

import pytest

from trio_uwsgi import Config
from trio_uwsgi.config.hooks import Hook
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("asap exec:a b:c", Hook("asap", "exec", "a b:c")),
        ("pre-app  cd:/srv", Hook("pre-app", "chdir", "/srv")),
        ("as-root log:a b", Hook("as-root", "print", "a b")),
        ("as-user write:/f a b", Hook("as-user", "write", "/f", "a b")),
        ("as-user append:/f", Hook("as-user", "append", "/f", "")),
        ("post-app chmod:/f 660", Hook("post-app", "chmod", "/f", "660")),
        ("master-start putenv:A=", Hook("master-start", "putenv", "A=")),
    ],
)
def test_the_form_of_a_hook(text: str, expected: Hook) -> None:
    """A point, and an action with its argument."""
    assert (text,) == Config(hooks=text).hooks
    assert expected == Hook.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preapp exec:a", "there is no point 'preapp'; did you mean 'pre-app'?"),
        ("jail exec:a", "there is no point 'jail'; use asap, as-root, as-user, pre-app"),
        ("asap mount:proc none", "the action 'mount' does not exist here; let systemd do it"),
        ("asap callret:f", "the action 'callret' does not exist here; write a function with @uwsgi.post_fork"),
        ("asap unix_signal:15 x", "the action 'unix_signal' does not exist here; write exec: with a shell command"),
        ("asap exce:a", "there is no action 'exce'; did you mean 'exec'?"),
        ("asap zzz:a", "there is no action 'zzz'; use exec, safeexec"),
        ("asap exec", "there is no action 'exec'; did you mean 'exec'?"),
        ("asap exec:", "lacks an argument; write 'pre-app exec:"),
        ("asap putenv:A", "lacks an argument"),
        ("asap chmod:/f", "lacks a mode; write chmod:FILE 660"),
    ],
)
def test_impossible_hooks(text: str, message: str) -> None:
    """Each error says what to write."""
    with pytest.raises(ConfigError) as caught:
        Config(hooks=[text])
    assert message in str(caught.value)
