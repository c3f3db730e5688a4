"""HTTP and uwsgi connections: from bytes to requests, and from responses to bytes.

Pure, in the order of a request: bytes in, values out.

    `http1.py`            HTTP/1.1 requests, with `heads.py` (target and headers), `bodies.py` and `chunked.py`
    `uwsgi_requests.py`   the same of uwsgi packets, with `uwsgi_http.py` (requests as CGI vars)
    `request.py`          one request, as applications get it
    `origin.py`           where a request comes from, as `forwarded.py` reads it from headers of trusted proxies
    `proxy_header.py`     the header of load balancers before the first request (PROXY protocol)
    `response.py`         status, headers and pieces of body, as bytes
    `response_headers.py` its headers, checked
    `websocket.py`        WebSocket frames and messages, with `websocket_handshake.py` before them, and `deflate.py`
    `file_paths.py`       which files a path may mean
    `file_answers.py`     conditions and headers of a file, with `file_ranges.py`
    `client_hello.py`     the name that a TLS client asks for
    `tls_facts.py`        what applications learn of a connection's TLS
    `packet_size.py`      how many variables a request has for uWSGI
    `fair_share.py`       how long a worker delays accept(), so that others get their share

Values: `limits.py`, `options.py`, `peer.py` (the two ends of a connection), `phases.py` (of a session),
`statistics.py`, `access_record.py` (a line of the access log). `interfaces.py`: what a service needs of others.

Synchronous, one object for each connection, request or worker:

    `session.py`          a connection from its first byte to its end, in phases
    `transport.py`        how a session's bytes are read and written; `lingering.py`: closing in stages
    `exchange.py`         one request and its response, as applications' drivers see them
    `early_hints.py`      103 Early Hints, before the response
    `service.py`          what all connections of a worker share: driver, limits, deadlines, counters
    `static_files.py`     looks up the file that a request is for, with its encodings
    `open_file.py`        an open file, and which of its bytes are in memory
    `deadlines.py`        a table of entries with the same time limit
    `access_log.py`       makes one line for each response, the usual one by `access_line.py`
    `log_format.py`       that line in a format of the user's or uWSGI's; `worker_facts.py`: what it has of the worker
    `socket_session.py`   a session on a socket of the reactor, with `nonblocking.py` (how it is read and written)
    `certificates.py`     reads certificates, and makes contexts of them
    `tls_codec.py`        TLS of one connection: bytes in, bytes out
    `tls_session.py`      a session on a socket of the reactor, with TLS
    `accept_share.py`     a worker's share of new connections, from the scoreboard
    `accepting.py`        what `reactor.py` and `connection.py` share when they accept

Asynchronous, around them:

    `file_sending.py`     sends a part of a file
    `listeners.py`        opens the listening sockets
    `log_turns.py`        writes the lines of a turn of the event loop
    `reactor.py`          all sockets of a worker, in one task with an epoll set: the fast path
    `fair_reactor.py`     the same where processes share listeners
    `connection.py`       one client on any other Trio stream: tests, systems without epoll; `tls_stream.py`: with TLS

In C, for compiled builds: `plain_heads.c`, most of what `heads.py` reads; `socket_calls.c`, for `nonblocking.py`.

Elsewhere: how an application is called is in `_apps/`; uwsgi packets that are no requests go to `_nodes/server.py`.
"""
