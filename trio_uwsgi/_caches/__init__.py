"""Caches: uWSGI's `cache_*` calls, in one process or shared by all of a runtime.

    `rules.py`           what expires, what makes room, arithmetic, errors (pure); it asks others where the items are
    `caches.py`          the caches of a runtime, as members and threads use them
    `store.py`           the file behind a cache that one process has for itself

Caches that processes share are LMDB files in shared memory, and each call is one transaction:

    `shared_cache.py`    the rules, with transactions and statistics around them
    `shared_items.py`    items in such a file, as `rules.py` asks for them
    `records.py`         how an item is written (pure)
    `files.py`           opening the file, wherever it is
    `shared_folder.py`   the folder in shared memory, made by the master

Members do not know which kind they have. Elsewhere: calls of other servers for our caches are in
`_nodes/cache_calls.py`; the API is `uwsgi/_caches.py`.
"""
