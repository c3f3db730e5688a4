"""Coroutines whose first step is run by hand.

Most user code does not wait, and a coroutine that ends with its first step needs nothing of Trio: neither a task of its
own nor a deadline. So a task that runs many of them takes the first step itself, in a context of its own:

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
    """Await a coroutine whose first step ended in `trap`.

    Trio resumes a task by `send`, and throws only to refuse what another library yields. What is thrown goes on into
    the coroutine, as `await` does it, and comes out of here again unless the coroutine handles it.
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
