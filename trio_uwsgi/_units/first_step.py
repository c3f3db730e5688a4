"""Eager first step: start a coroutine without a new task, and await only the rest of it.

Most user code does not wait, and a coroutine that ends with its first step needs neither its own task nor a deadline.
So a task that runs many coroutines runs the first step itself, in a separate context:

    task.context = context  # takes effect with the task's next step
    try:
        trap = context.run(coroutine.send, None)
    except StopIteration:
        ...  # it never waited
    else:
        await rest_of(coroutine, trap)
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import TypeVar

__all__ = ["rest_of"]

T = TypeVar("T")


@types.coroutine
def rest_of(coroutine: Coroutine[object, object, T], trap: object) -> Generator[object, object, T]:
    """Await the rest of a coroutine whose first step yielded `trap`.

    As with `await`, values and exceptions that Trio sends or throws are passed on to the coroutine.
    """
    send = coroutine.send
    try:
        while True:
            try:
                value = yield trap
            except BaseException as error:
                trap = coroutine.throw(error)
            else:
                trap = send(value)
    except StopIteration as end:
        result: T = end.value
        return result
