"""uWSGI's configuration: its files and its command line, read and translated into words of ours. Pure, all of it.

    `settings.py`          one option with its value, and where it was written
    `formats.py`           ini, yaml, json and xml
    `expansion.py`         magic variables, `$(ENV)`, `%(opt)`, `@(file)`
    `reading.py`           files within files, conditions and loops: everything becomes one list
    `known_options.py`     the names of uWSGI's options, and which take a value
    `command_words.py`     uWSGI's command line and `UWSGI_...` variables
    `rows.py`              the ways to say what becomes of an option
    `table_sockets.py`     sockets, HTTP, static files, requests
    `table_processes.py`   processes, reloads, limits, the process of the server
    `table_python.py`      applications, background work, caches, the log
    `table.py`             the whole table
    `translation.py`       settings become explained lines, and words of our command line

Whoever asks the machine is in `_program/uwsgi_files.py`; the command `check` is in `_program/check_command.py`.
"""
