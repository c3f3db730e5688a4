"""The standalone server: what is done where trio_uwsgi is the main program of its process, and only there.

    `program.py`            `serve` as the main program: its log, its exit code, who may stop it
    `process_setup.py`      directory, umask, environment; then pidfile and user, when the sockets are open
    `pidfile.py`            a file with the pid, locked while the server runs
    `process_one.py`        as process 1 of a container
    `app_import.py`         the application imported in this process, where members are tasks

Orders from outside:

    `control.py`            posix signals and letters of the fifo; each is one call of `Runtime`
    `fifo.py`               the fifo itself
    `file_watcher.py`       files that are touched, and code that is changed
    `systemd.py`            sockets that systemd passes, and what it is told

The command line, which `__main__.py` begins:

    `command_options.py`    one row for each option
    `command_hints.py`      options of other servers, and errors in terms of the command line
    `module_config.py`      the `config` beside an application

Embedded in another program (`nursery.start(serve, ...)`) none of this happens. `trio-uwsgi spool` is in
`_spool/command.py`.
"""
