"""What an application declares for mules, and the message that they get."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.mule_functions import MuleFunctions, MuleMessage
from trio_uwsgi._signals.targets import Headcount
from trio_uwsgi.errors import RegistrationError

pytestmark = pytest.mark.pure


def test_a_message_is_bytes() -> None:
    """Whoever knows nothing of it sees no difference: it is equal, hashed and shown like its bytes."""
    message = MuleMessage(b"hello", "images", redelivered=True)
    assert (b"hello", "images", True) == (message, message.farm, message.redelivered)
    assert hash(b"hello") == hash(message)
    assert "b'hello'" == repr(message)
    assert {b"hello": 1}[message]
    assert isinstance(message, bytes)


def test_a_message_by_itself() -> None:
    """Most were sent to a mule, and for the first time; a copy keeps what it was."""
    assert ("", False) == (MuleMessage(b"").farm, MuleMessage(b"").redelivered)
    copy = pickle.loads(pickle.dumps(MuleMessage(b"x", "images", redelivered=True)))
    assert (b"x", "images", True) == (copy, copy.farm, copy.redelivered)


def test_a_farm_has_one_function() -> None:
    """The decorator keeps the function and returns it; a second one is refused, and the first is named."""
    registry = Registry()
    assert print is registry.farm("images")(print)
    assert {"images": print} == registry.mules.farms
    with pytest.raises(RegistrationError, match="farm 'images' has a function already, print; use another farm"):
        registry.farm("images")(len)


@pytest.mark.parametrize(
    ("declare", "remedy"),
    [
        (lambda registry: registry.farm(1), r"a farm's name is a str, not 1; write @farm\('images'\)"),
        (lambda registry: registry.farm("a")(None), "the function of farm 'a' must be callable with the message: None"),
        (lambda registry: registry.mule(1)(1), "the program of mule 1 must be callable without arguments, not 1"),
        (lambda registry: registry.mule_message_handler(1), "must be callable with the message, not 1"),
    ],
)
def test_what_cannot_be_a_function_is_refused(declare: Callable[[Registry], Any], remedy: str) -> None:
    """Names of the wrong type, and what cannot be called."""
    with pytest.raises(RegistrationError, match=remedy):
        declare(Registry())


def test_functions_are_declared_before_serving() -> None:
    """While mules run it is too late."""
    registry = Registry()
    registry._open(Headcount(1, 1, farms={"a": [1]}), lambda timer: None, lambda timer: None)
    with pytest.raises(RegistrationError, match="mules have started already; declare the functions of farms before"):
        registry.farm("a")(print)


POOL = Headcount(1, 4, min_mules=2, farms={"images": [1, 2], "mail": [3]})


@pytest.mark.parametrize(
    ("number", "farm", "remedy"),
    [
        (5, "mail", r"for a mule that does not exist \(this runtime has 4\); set Config\(mules=5\)"),
        (
            3,
            "mail",
            r"@mule\(3\) declares a program for a mule that does not always run; set Config\(mules=Mules\(min=3, ",
        ),
        (
            2,
            "imgaes",
            r"@farm\('imgaes'\): there is no farm 'imgaes'; did you mean 'images'\? There",
        ),
    ],
)
def test_functions_must_fit_the_mules(number: int, farm: str, remedy: str) -> None:
    """Programs are for mules that stay, functions for farms that exist."""
    functions = MuleFunctions()
    functions.declare_program(number, lambda: None)
    functions.declare_farm(farm, print)
    with pytest.raises(RegistrationError, match=remedy):
        functions.check(POOL)


def test_functions_that_fit() -> None:
    """A program for the last mule that stays, and a function for a farm of any mules."""
    functions = MuleFunctions()
    functions.declare_program(2, lambda: None)
    functions.declare_farm("mail", print)
    functions.check(POOL)
