"""Shared areas: bytes that all members read and write, by position.

    `rules.py`    one area in a piece of memory: its bounds, its numbers, its count of changes (pure)
    `areas.py`    all areas of a runtime: one change at a time in all processes and threads, and tasks that wait for it

Where members are processes, the memory is a part of the scoreboard's (`_link/scoreboard.py`), which they inherit.
"""
