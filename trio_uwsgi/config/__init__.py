"""The options of a runtime: `Config`, and everything that describes or refuses an option. Pure.

To add an option, add a field with its comment to `config.py`, its refusals to `checks.py`, and a row to
`_program/command_options.py`.

    `config.py`       `Config`: every option, with its unit, its default and its reason; made once, never changed
    `addresses.py`    the addresses on which a runtime listens
    `options.py`      options with fields or a grammar of their own: caches, alarms, access rules, limits
    `connections.py`  groups of options that sockets and connections need
    `tls.py`          addresses that serve HTTPS, with their certificates
    `sources.py`      where a connection may come from
    `mules.py`        pools of mules, and farms
    `log_format.py`   the format of the access log
    `metrics.py`      counters and gauges that applications define
    `queues.py`       the shared queue
    `static.py`       where static files are
    `daemons.py`      programs that run beside the server
    `clock.py`        commands and signals that are due by the clock
    `cron.py`         when a cron fires, also when a time zone changes its offset
    `hooks.py`        what is done at points of the start and the end
    `process.py`      what a standalone server does to its process: user, directory, pidfile
    `values.py`       options with several forms, read and checked one by one
    `checks.py`       wrong types, impossible values, contradictions

A wrong value is refused when the `Config` is made, before anything has started. What only the operating system can
judge is refused elsewhere: a port in use in `_http/listeners.py`, a broken certificate in `_http/certificates.py`, a
user that does not exist in `_program/`. The command line is read in `_program/command_line.py`. No package below
`serve.py` gets the whole `Config`: properties at its end make the small groups that are passed down.
"""

from trio_uwsgi.config.addresses import Address as Address
from trio_uwsgi.config.config import Config as Config
from trio_uwsgi.config.daemons import Daemon as Daemon
from trio_uwsgi.config.metrics import Metric as Metric
from trio_uwsgi.config.options import Cache as Cache
from trio_uwsgi.config.options import Mules as Mules
from trio_uwsgi.config.tls import Tls as Tls

__all__ = ["Address", "Cache", "Config", "Daemon", "Metric", "Mules", "Tls"]
