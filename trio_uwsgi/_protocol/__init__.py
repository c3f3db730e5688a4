"""The uwsgi protocol: packets, and what servers ask each other in them. Bytes and values, nothing that waits.

    `packet.py`            header, vars and arrays: the format that clients' requests, calls and spool files share
    `remote_calls.py`      calls of other servers: RPC, caches, signals, jobs, pings
    `remote_answers.py`    what they are answered with

All of it is pure, so a client and a server share one description of the bytes. Recorded bytes of a real uWSGI are in
`tests/fixtures/`.

Elsewhere: clients' requests that a front server passes on as packets become HTTP requests in `_http/uwsgi_http.py` and
`_http/uwsgi_requests.py`; who asks and answers is in `_nodes/`; files of the spooler are in `_spool/file_format.py`.
"""
