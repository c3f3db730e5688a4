"""An application server on Trio for ASGI and WSGI, with uWSGI's API: signals, timers, mules, spooler, caches, RPC.

    trio.run(trio_uwsgi.serve, app)

Its packages are in layers, each of which imports only from those below it; docs/explanation/architecture.md draws them.

`trio_uwsgi.testing`, for tests of applications, is not imported by default.
"""

from trio_uwsgi import errors as errors
from trio_uwsgi import sync as sync
from trio_uwsgi import uwsgi as uwsgi
from trio_uwsgi._apps.mounts import mount as mount
from trio_uwsgi._runtime.registry import Registry as Registry
from trio_uwsgi._runtime.runtime import Runtime as Runtime
from trio_uwsgi._units.loggers import contain_failures
from trio_uwsgi.config import Address as Address
from trio_uwsgi.config import Config as Config
from trio_uwsgi.config.daemons import Daemon as Daemon
from trio_uwsgi.config.metrics import Metric as Metric
from trio_uwsgi.config.options import Cache as Cache
from trio_uwsgi.config.options import Mules as Mules
from trio_uwsgi.config.tls import Tls as Tls
from trio_uwsgi.serve import serve as serve

contain_failures()

__all__ = [
    "Address",
    "Cache",
    "Config",
    "Daemon",
    "Metric",
    "Mules",
    "Registry",
    "Runtime",
    "Tls",
    "errors",
    "mount",
    "serve",
    "sync",
    "uwsgi",
]
