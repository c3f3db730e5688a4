"""@muleloop: the program of a mule, which runs again and again."""

import time

from uwsgidecorators import muleloop

from tests.interop.apps.noting import answering, note, place

LINES = 3
runs = 0


@muleloop(2)
def program() -> None:
    global runs
    runs += 1
    if runs <= 3:
        note(place(), "run", runs)
    time.sleep(0.05)


application = answering(lambda: None)
