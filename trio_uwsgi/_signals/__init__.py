"""uwsgi signals, timers, crons, file monitors and messages of mules, between the declaration and the handler.

    `targets.py`           what a target such as `workers` or `mule1` means (pure)
    `handlers.py`          a registered signal; types of the decorators (pure)
    `mule_functions.py`    mules' programs, message handlers and farms, as declared (pure)

Timers and crons, all pure but the ticker:

    `timer.py`             the rules of due times, and a timer's entry; `timer_specs.py`: the rules in frames
    `schedule.py`          the order of all that is due; late and overlapping ticks are decided here
    `ticker.py`            the task that sleeps until the first of them is due; the time of day

File monitors:

    `file_monitor.py`      a path, its signal, and what happens to changes during a run (pure)
    `file_monitors.py`     the task that raises the signals of files that changed

In a member:

    `inbox.py`             runs what the master delivered, in order
    `messages.py`          in a mule: which handler, function of a farm, or program gets a message

Elsewhere: when a cron fires is in `config/cron.py`; which member is given a signal is decided in
`_runtime/dispatcher.py`, and sent by `_runtime/master.py`.
"""
