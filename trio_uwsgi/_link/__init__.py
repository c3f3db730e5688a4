"""What the master and its members say to each other, wherever the members run.

    `frames.py`        every frame, as a value (pure); its docstring says who sends it
    `encoding.py`      frames as bytes (pure)
    `link.py`          the pipe between the master and one member: plain calls in one process, bytes between two
    `scoreboard.py`    numbers in shared memory: each process writes its own row, and all processes read all rows

A frame is for what needs an answer, or a place in the order of events. The scoreboard is for what is only read:
counters, heartbeats, how many connections each worker has. It can be read while a member is blocked.

Elsewhere: what the master does with a frame is in `_runtime/master.py`, what a member does, in `_signals/inbox.py`;
the channel between the master and a zygote, with frames of its own, is in `_process/`.
"""
