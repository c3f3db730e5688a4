"""Alarms: what is done when an application, or a line of the log, raises one.

    `rules.py`     which alarms a log line raises, and when a repeated one is dropped (pure)
    `alarms.py`    runs commands, posts to addresses, raises signals, queues messages, in a task of the master

The options are `AlarmOptions` in `config/options.py`; the API is `uwsgi/_alarms.py`.
"""
