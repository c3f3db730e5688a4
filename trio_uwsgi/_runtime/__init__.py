"""The master, the members, and the tree of nurseries that owns them.

Values and decisions, pure:

    `registry.py`            what an application declared
    `declarations.py`        the same, for a master that has not imported the application
    `slots.py`               the place of one member, and what waits there
    `dispatcher.py`          which member gets the next signal or message
    `backoff.py`             how long to wait before a member is started again
    `recycling.py`           when a worker has reached a limit and is replaced
    `opt.py`                 `uwsgi.opt`

The runtime:

    `runtime.py`             `Runtime`: what an embedder holds and calls
    `tree.py`                the tree of nurseries
    `settings.py`            a runtime's settings and its environment, as values; `configured.py`: those of a `Config`
    `stores.py`              what members store, opened before the application is imported
    `import_phase.py`        the import of the application, as code of a member
    `master.py`              routes signals and messages
    `declarations_in_force.py`    the declarations of the code that members run
    `stats_server.py`        sends statistics as uWSGI's JSON, which `stats_page.py` makes
    `message_arguments.py`          checks messages and recipients that callers pass
    `statistics.py`          counters, as values; `worker_statistics.py`: those of workers, as uWSGI shows them

Starting and replacing members:

    `supervisor.py`          keeps one slot filled: starts, replaces and drains instances
    `member_instance.py`     one run of a member in a slot
    `placement.py`           where an instance runs: as a task here, or in a process
    `scaling.py`             the members of one kind; adds and removes workers
    `rolling_restart.py`     replaces single members, and all of them in a reload
    `slow_start_log.py`      logs what a slow start waits for
    `stuck_shutdown.py`             notices a graceful stop that neither ends nor can be cancelled

What a member does:

    `member_factory.py`      makes members, and counts what they did
    `worker.py`              requests and signals
    `mule.py`                its program, signals, messages; `scripts.py`: a program that is a script
    `spooler.py`             jobs; `spoolers.py`: starts cheap ones when there is work
    `hooks.py`               `post_fork` and `atexit`
    `member_threads.py`      its threads

Elsewhere: members in processes of their own are in `_process/`.
"""
