"""The shared queue: uWSGI's `queue_*` calls, in one process or shared by all of a runtime.

    `rules.py`    the slots of the ring, what a push overwrites, and who takes which message (pure)
    `queue.py`    the queue of a runtime, as members and threads use it
    `file.py`     the slots in a file, which processes share or which survives a restart; a call is one transaction

The API is `uwsgi/_queues.py`. Messages to mules have queues of their own, in `_runtime/dispatcher.py`.
"""
