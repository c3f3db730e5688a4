"""User locks: uWSGI's `lock`, `unlock` and `is_locked`, fair and never left behind.

    `rules.py`     who holds a lock, who waits for it, and who is next (pure)
    `locks.py`     where members are tasks: tasks and threads that hold locks or wait
    `remote.py`    where members are processes: a member asks the master, which keeps the table

A lock ends with the unit of work that took it, or with its process. The API is `uwsgi/_locks.py`.
"""
