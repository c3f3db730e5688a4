"""Running user code: one unit of work at a time, in a task or in a thread, within its time limit (harakiri).

A unit of work is one request, one call of a handler, one message, one job, one run of a mule's program. Whatever user
code raises ends its unit and nothing else.

    `member.py`         the member that runs code, and what members share
    `unit.py`           one unit of work: its cancel scope, its two deadlines
    `calls.py`          calls all user code but requests and lifespans
    `failures.py`       what user code raised: its own failure, or a cancellation that passes through
    `leftovers.py`      cancel scopes and nurseries that a unit left open
    `journal.py`        where a runtime reports events and failures
    `log_handler.py`    the server's own log, for lines of the access log too
    `loggers.py`        the loggers of this package: they stay enabled, and an application's handlers may fail

How it runs:

    `asynchrony.py`     whether a function is `async` (pure)
    `first_step.py`     starts a coroutine without a new task, and awaits only the rest of it
    `thread_pool.py`    the threads of a member, with `pool_thread.py` (one of them and its jobs)
    `app_threads.py`    threads that the application starts itself; `import_threads.py`: those of its import
    `trio_threads.py`   inspects and detaches threads of `trio.to_thread.run_sync`

When it does not end:

    `stuck.py`          the line at which code was when its time was up
    `stack_dumps.py`    all tasks and threads of a process, printed
    `heartbeat.py`      what a member process shows to the watchdog, which is in `_process/`

Elsewhere: how an application is called for a request is in `_apps/`.
"""
