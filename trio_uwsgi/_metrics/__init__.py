"""Metrics: counters and gauges that applications define, uWSGI's `metric_*` calls.

    `rules.py`      what each operation makes of a number (pure)
    `numbers.py`    the numbers of all metrics, in this process or in shared memory, and the lock for changes
    `metrics.py`    the metrics of a runtime, as members and threads use them

A metric is defined by `Config.metrics`. The API is `uwsgi/_metrics.py`. What the runtime counts itself is elsewhere:
`_runtime/statistics.py`.
"""
