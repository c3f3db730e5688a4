"""Other servers that speak the uwsgi protocol: asking them, and answering them.

    `client.py`           one call of another node, over a connection that is kept
    `server.py`           answers packets that are no requests: RPC, signals, caches, jobs, pings; asks the access rules
    `rpc_functions.py`    a function for RPC, and what it may be called (pure)
    `rpc.py`              calls such a function, for members and for other nodes
    `cache_calls.py`      does with our caches what another node asks for

The bytes are in `_protocol/`. The API is `uwsgi/_rpc.py` and the `remote` arguments of `uwsgi/_caches.py`.
"""
