"""What the server needs of the operating system and of the Python interpreter; independent of the rest.

All other packages may use it. Nothing here knows Trio's tasks, members or configuration, and each module can be read
alone. Descriptors and forks:

    `standard_streams.py`    makes sure that descriptors 0, 1 and 2 are open
    `close_on_fork.py`       closes the server's sockets in a child that the application forks
    `forks.py`               cleans up the server's other state in such a child
    `file_locks.py`          locks on whole files, as uWSGI takes them on spool files
    `byte_locks.py`          locks on single bytes, which the kernel releases with their process
    `process_locks.py`       locks between the processes of a runtime
    `inotify.py`             watches directories for changes
    `listen_queues.py`       how many clients wait to be accepted
    `path_watch.py`          watches files, also those that are replaced or do not exist yet
    `beneath.py`             opens files below a folder, and never one outside of it

Processes:

    `pidfds.py`              checks the system calls that members' processes need
    `subreaper.py`           reaps processes that the master has adopted
    `process_titles.py`      titles of processes in `ps`
    `privileges.py`          switches to another user, permanently
    `job_control.py`         SIGTTIN and SIGTTOU as commands, told apart from the kernel's job control
    `process_memory.py`      how much memory a process uses
    `interpreter_exit.py`    the interpreter's shutdown, with a time limit

And of itself: `build.py`, whether the package was compiled.

Elsewhere: the setup of a standalone server's process is in `_program/`; how the processes of members are started and
watched, in `_process/`.
"""
