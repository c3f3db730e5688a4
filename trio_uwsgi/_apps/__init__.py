"""How an application is called for a request.

    `interface.py`       detects whether an application is ASGI or WSGI
    `asgi.py`            ASGI 3, in the tasks of `runners.py`
    `asgi_exchange.py`   one request of it, and `asgi_websocket.py`, one WebSocket
    `open_websocket.py`  a WebSocket after its handshake, for ASGI and for WSGI
    `mounts.py`          several applications under prefixes of the path, as one
    `root_path.py`       the prefix that a proxy in front removes, or leaves in the path
    `lifespan.py`        the lifespan of an ASGI application
    `wsgi_threads.py`    WSGI: each request in a thread of the member's pool
    `wsgi_inline.py`     WSGI: one request at a time on Trio's own thread, as in uWSGI's default mode
    `refusing.py`        answers requests beyond the limit of a worker with 503
    `static_driver.py`   answers requests for static files before an application is asked
    `async_cores.py`     uWSGI's async cores: waits that a generator registers and commits

Synchronous, beside these drivers:

    `runner_exchange.py`         an exchange in one of the tasks of `runners.py`
    `wsgi_body.py`               an exchange that reads its body as a file
    `wsgi_exchange.py`           PEP 3333: environ, `start_response`, `write`; `wsgi_inline_exchange.py`: inline
    `wsgi_websocket.py`          a WebSocket, in a thread or inline
    `app_files.py`               files that applications send
    `wsgi_streams.py`            `wsgi.input`, `wsgi.errors`, and what all environs have
    `loop_detection.py`          hides Trio from synchronous code on its thread

A driver takes exchanges (`_http/exchange.py`) from the service of its worker, runs the application, and enforces time
limits. Elsewhere: units of work, threads and journals are in `_units/`; importing an application is in
`_process/loader.py`.
"""
