"""Other servers that speak the uwsgi protocol: calls to them, and answers to their calls.

    `client.py`           calls to other nodes, over connections that are kept
    `server.py`           answers packets that are not requests: RPC, signals, caches, jobs, pings; checks access
    `rpc_functions.py`    a function for RPC, and the rules for its name and arguments (pure)
    `rpc.py`              calls such a function, for members and for other nodes
    `cache_calls.py`      runs cache commands of other nodes

The bytes are in `_protocol/`. The API is `uwsgi/_rpc.py` and the `remote` arguments of `uwsgi/_caches.py`.
"""
