"""Who runs what: the master, the members, and the tree of nurseries that owns them.

Values and decisions, pure:

    `registry.py`            what an application declared
    `declarations.py`        the same, described for a master that does not import the application
    `slots.py`               the place of one member, and what waits there
    `dispatcher.py`          which member gets the next signal or message
    `backoff.py`             how long to wait before a member is started again
    `recycling.py`           when a worker has reached a limit and is replaced
    `opt.py`                 `uwsgi.opt`

The runtime:

    `runtime.py`             `Runtime`, which people hold
    `tree.py`                the tree of nurseries
    `settings.py`            what a runtime is told and what it stands on
    `master.py`              routes signals and messages
    `declarations_in_force.py`    whose declarations count
    `recipients.py`          messages and recipients as people write them
    `statistics.py`          what is counted

Keeping members there:

    `supervisor.py`          keeps one slot filled: starts, replaces and drains instances
    `member_instance.py`     one run of a member in a slot
    `placement.py`           in a task, or elsewhere
    `scaling.py`             the members of one kind; one more, or one less
    `rolling_restart.py`     replaces members one after the other, or all at a reload
    `slow_start_log.py`      says in the log what a start waits for
    `overdue.py`             notices what neither ends nor lets itself be cancelled

What a member does:

    `member_factory.py`      makes members, and counts what they did
    `worker.py`              requests and signals
    `mule.py`                its program, signals, messages
    `spooler.py`             jobs; `spoolers.py`: how many spoolers there are
    `hooks.py`               `post_fork` and `atexit`

Elsewhere: members in processes of their own are in `_process/`.
"""
