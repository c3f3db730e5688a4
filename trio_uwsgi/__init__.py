"""A structured-concurrency application runtime on Trio that gives an application everything uWSGI gave it, and serves
it.

    trio.run(trio_uwsgi.serve, app)

The floors, each importing only from those below it:

    4  serve, uwsgi, testing, __main__      what people call
    3  _runtime   who runs where: master, workers, mules, placements
    2  _tasks     Trio starts here: links, calls of user code, HTTP, timers
    1  _core      what the runtime knows and how it decides (no I/O)      _wire   bytes <-> values (no I/O)
    0  errors, config, options, addresses

`trio_uwsgi.testing` is not imported by default.
"""

from trio_uwsgi import errors as errors
from trio_uwsgi import uwsgi as uwsgi
from trio_uwsgi._core.registry import Registry as Registry
from trio_uwsgi._runtime.runtime import Runtime as Runtime
from trio_uwsgi._tasks.logs import contain_failures
from trio_uwsgi.config import Address as Address
from trio_uwsgi.config import Config as Config
from trio_uwsgi.options import Cache as Cache
from trio_uwsgi.options import Mules as Mules
from trio_uwsgi.serve import serve as serve

contain_failures()

__all__ = ["Address", "Cache", "Config", "Mules", "Registry", "Runtime", "errors", "serve", "uwsgi"]
