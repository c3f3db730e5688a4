"""What the server needs of the operating system and of the Python interpreter, and nothing of itself.

Everything above may use it. Nothing here knows Trio's tasks, members or configuration, and each module can be read
alone. Descriptors and forks:

    `standard_streams.py`    descriptors 0, 1 and 2 are open, whatever the process was started with
    `close_on_fork.py`       sockets of the server that a forked child of the application must not keep open
    `forks.py`               what a fork copies and a child must not have
    `file_locks.py`          locks on whole files, as uWSGI takes them on spool files
    `inotify.py`             a directory has changed, as soon as it has

Processes:

    `pidfds.py`              whether this system has what members in processes need, tried before there is one
    `subreaper.py`           processes that the master adopts are reaped
    `process_titles.py`      names in `ps`
    `privileges.py`          become another user, for good
    `job_control.py`         SIGTTIN and SIGTTOU: an order, or a word of the kernel about a terminal
    `interpreter_exit.py`    Python's own end, with a limit of time

Elsewhere: what the process of a standalone server becomes, and in which order, is in `_program/`; how the processes of
members are started and watched, in `_process/`.
"""
