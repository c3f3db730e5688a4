"""The modules `uwsgi` and `uwsgidecorators`, for applications that were written for uWSGI.

    with entered(config):    # the server does that, in each process that imports the application
        import uwsgi         # the names, the types and the answers of uWSGI

They are importable while an application is imported or served, and nowhere else: libraries take an importable `uwsgi`
as proof that they run under uWSGI. `Config.compat=False` leaves them out.

A `uwsgidecorators` that is on the path is used as it is; ours is for where there is none. Both work.

`importing` makes them importable. `facts` has what is known before a member runs; `answers` the types of arguments and
answers; `calling` the way to the runtime. Each subject is a module: `signals`, `rpc`, `caches`, `counters`, `locks`,
`mules`, `queue`, `shared_areas`, `spooler`, `process`, `requests`, `cores`, `websockets`; `hooks` is what the
application assigns. `absent` is the table of what there is not. `module` makes the module of all that; `decorators` is
`uwsgidecorators`.
"""

from trio_uwsgi.compat.importing import entered as entered

__all__ = ["entered"]
