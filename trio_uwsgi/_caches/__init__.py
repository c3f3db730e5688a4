"""Caches: uWSGI's `cache_*` calls, in one process or shared by all of a runtime.

    `rules.py`           expiry, capacity, arithmetic, errors (pure); the items themselves are elsewhere
    `caches.py`          the caches of a runtime, as members and threads use them
    `store.py`           the file behind a cache that one process has for itself

Caches that processes share are LMDB files in shared memory, and each call is one transaction:

    `shared_cache.py`    the rules, with transactions and statistics around them
    `shared_items.py`    items in such a file, as `rules.py` asks for them
    `records.py`         the format of the file (pure)
    `files.py`           opens the file of a cache, here and for `store.py`
    `shared_folder.py`   the folder in shared memory, made by the master

Members need not know which kind they have. Elsewhere: calls of other servers for our caches are in
`_nodes/cache_calls.py`; the API is `uwsgi/_caches.py`.
"""
