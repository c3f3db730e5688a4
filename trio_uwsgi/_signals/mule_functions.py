"""What an application declares for its mules: programs, message handlers, functions of farms. Pure.

The registry's decorators call this. `_runtime/dispatcher.py` chooses the mule of a message; `messages.py` passes it to
a handler or the program there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_uwsgi._signals.targets import option
from trio_uwsgi.errors import RegistrationError

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Headcount

__all__ = ["MessageHandler", "MuleFunctions", "MuleMessage", "Program", "check_handler", "name_of"]

MessageHandler = Callable[["MuleMessage"], object]
Program = Callable[[], object]


class MuleMessage(bytes):
    """A message as a mule gets it: bytes with two attributes.

    In uWSGI a message is plain bytes.

    Attributes:
        farm: the farm that the message was sent to; `""` if it was sent to a mule.
        redelivered: True if this is the second delivery, because a mule died while it handled the message and may have
            done part of the work. There is no third delivery.
    """

    farm: str
    redelivered: bool

    def __new__(cls, data: bytes, farm: str = "", *, redelivered: bool = False) -> MuleMessage:
        message = super().__new__(cls, data)
        message.farm = farm
        message.redelivered = redelivered
        return message


class MuleFunctions:
    """The functions of one application that mules run."""

    def __init__(self) -> None:
        self.programs: dict[int, Program] = {}
        self.message_handlers: list[MessageHandler] = []
        self.farms: dict[str, MessageHandler] = {}
        self.other_program: Program | None = None  # of mules without their own; handlers of messages wait for it

    def check(self, headcount: Headcount) -> None:
        """Refuse declarations that these mules cannot run.

        Raises:
            RegistrationError: a program is for a mule that does not exist or does not always run, a function is for a
                farm that does not exist, or there are message handlers but no mule.
        """
        for number in self.programs:
            _check_program(number, headcount)
        for farm in self.farms:
            if farm not in headcount.farms:
                raise RegistrationError(f"@farm({farm!r}): {headcount.no_farm(farm)}")
        for handler in self.message_handlers:
            check_handler(handler, headcount)

    def declare_program(self, number: int, program: Program) -> None:
        """Register a mule's program.

        Raises:
            RegistrationError: it cannot be called, or the mule has a program already.
        """
        if not callable(program):
            raise RegistrationError(f"the program of mule {number} must be callable without arguments, not {program!r}")
        if number in self.programs:
            raise RegistrationError(
                f"mule {number} has a program already, {name_of(self.programs[number])}; use another mule"
            )
        self.programs[number] = program

    def declare_handler(self, handler: MessageHandler) -> None:
        """Register a message handler.

        Raises:
            RegistrationError: it cannot be called.
        """
        if not callable(handler):
            raise RegistrationError(f"a message handler must be callable with the message, not {handler!r}")
        self.message_handlers.append(handler)

    def declare_farm(self, farm: str, function: MessageHandler) -> None:
        """Register a farm's function.

        Raises:
            RegistrationError: it cannot be called, or the farm has a function already.
        """
        if not callable(function):
            raise RegistrationError(f"the function of farm {farm!r} must be callable with the message: {function!r}")
        if farm in self.farms:
            raise RegistrationError(
                f"farm {farm!r} has a function already, {name_of(self.farms[farm])}; use another farm"
            )
        self.farms[farm] = function


def check_handler(handler: MessageHandler, headcount: Headcount) -> None:
    """Refuse a message handler if there is no mule.

    Raises:
        RegistrationError: there is no mule.
    """
    if not headcount.mules:
        raise RegistrationError(
            f"@mule_message_handler {name_of(handler)} would never run: this runtime has no mule; "
            f"set {option('mules', 1)}, or do not declare it"
        )


def _check_program(number: int, headcount: Headcount) -> None:
    if number <= len(headcount.scripts):
        raise RegistrationError(
            f"@mule({number}) declares a program for a mule that runs the script {headcount.scripts[number - 1]}; "
            f"use mule {len(headcount.scripts) + 1} or a higher one, or leave the script out"
        )
    if number > headcount.mules:
        raise RegistrationError(
            f"@mule({number}) declares a program for a mule that does not exist (this runtime has {headcount.mules}); "
            f"set {option('mules', number)}, or use a lower number"
        )
    if number > headcount.least("mule"):
        raise RegistrationError(
            f"@mule({number}) declares a program for a mule that does not always run; "
            f"set Config(mules=Mules(min={number}, ...)), on the command line --mules {number}-{headcount.mules}, "
            f"or use a lower number"
        )


def name_of(function: Callable[..., object]) -> str:
    """The name of a function in errors."""
    return getattr(function, "__qualname__", repr(function))
