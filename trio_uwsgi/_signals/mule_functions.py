"""What an application declared for its mules: programs, message handlers, functions of farms. Pure.

The registry's decorators lead here; who gets a message is decided in `dispatcher.py` and, inside of a mule, in
`_signals/messages.py`.
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
    """A message to a mule, as the mule gets it: bytes, like any others.

    Args:
        data: its bytes.
        farm: the farm it was sent to; `""` if to a mule.
        redelivered: a mule died while it handled this message. What it had done of it is not known, and there is no
            third time.
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

    def check(self, headcount: Headcount) -> None:
        """Refuse what these mules cannot run.

        Raises:
            RegistrationError: a program is for a mule that does not exist or is not always there, a function for a
                farm that does not exist, or there are handlers of messages and no mule.
        """
        for number in self.programs:
            _check_program(number, headcount)
        for farm in self.farms:
            if farm not in headcount.farms:
                raise RegistrationError(f"@farm({farm!r}): {headcount.no_farm(farm)}")
        for handler in self.message_handlers:
            check_handler(handler, headcount)

    def declare_program(self, number: int, program: Program) -> None:
        """Keep a mule's program.

        Raises:
            RegistrationError: it cannot be called, or the mule has one.
        """
        if not callable(program):
            raise RegistrationError(f"the program of mule {number} must be callable without arguments, not {program!r}")
        if number in self.programs:
            raise RegistrationError(
                f"mule {number} has a program already, {name_of(self.programs[number])}; use another mule"
            )
        self.programs[number] = program

    def declare_handler(self, handler: MessageHandler) -> None:
        """Keep a handler of messages.

        Raises:
            RegistrationError: it cannot be called.
        """
        if not callable(handler):
            raise RegistrationError(f"a message handler must be callable with the message, not {handler!r}")
        self.message_handlers.append(handler)

    def declare_farm(self, farm: str, function: MessageHandler) -> None:
        """Keep a farm's function.

        Raises:
            RegistrationError: it cannot be called, or the farm has one.
        """
        if not callable(function):
            raise RegistrationError(f"the function of farm {farm!r} must be callable with the message: {function!r}")
        if farm in self.farms:
            raise RegistrationError(
                f"farm {farm!r} has a function already, {name_of(self.farms[farm])}; use another farm"
            )
        self.farms[farm] = function


def check_handler(handler: MessageHandler, headcount: Headcount) -> None:
    """Refuse a handler of messages where there is no mule.

    Raises:
        RegistrationError: there is none.
    """
    if not headcount.mules:
        raise RegistrationError(
            f"@mule_message_handler {name_of(handler)} would never run: this runtime has no mule; "
            f"set {option('mules', 1)}, or do not declare it"
        )


def _check_program(number: int, headcount: Headcount) -> None:
    if number > headcount.mules:
        raise RegistrationError(
            f"@mule({number}) gives a program to a mule that does not exist (this runtime has {headcount.mules}); "
            f"set {option('mules', number)}, or use a lower number"
        )
    if number > headcount.least("mule"):
        raise RegistrationError(
            f"@mule({number}) gives a program to a mule that comes and goes; "
            f"set Config(mules=Mules(min={number}, ...)), on the command line --mules {number}-{headcount.mules}, "
            f"or use a lower number"
        )


def name_of(function: Callable[..., object]) -> str:
    """What errors call it."""
    return getattr(function, "__qualname__", repr(function))
