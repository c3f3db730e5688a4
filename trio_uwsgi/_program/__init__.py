"""The standalone server: what is done where trio_uwsgi is the main program of its process, and only there.

    `program.py`            `serve` as the main program: its log, its exit code, its posix signals
    `process_setup.py`      directory, umask, environment; then pidfile and user, when the sockets are open
    `pidfile.py`            a file with the pid, locked while the server runs
    `process_one.py`        as process 1 of a container
    `shell_command.py`      a shell command as a child of the server, which never outlives it
    `daemons.py`            other programs that run beside the server
    `hooks.py`              what is done at points of the start and the end
    `crons.py`              commands that run at given times
    `app_import.py`         the application imported in this process, where members are tasks

Commands from outside:

    `control.py`            posix signals and letters of the fifo; each is one call of `Runtime`
    `fifo.py`               the fifo from which letters are read
    `file_watcher.py`       notices touched files and changed code
    `systemd.py`            sockets that systemd passes, and notifications to it

The command line, which starts in `__main__.py`:

    `command_line.py`       words become fields of `Config`, with all errors at once
    `command_options.py`    one row for each option; `companion_options.py` has those of programs beside the server
    `option_row.py`         what a row says
    `option_values.py`      their values
    `command_hints.py`      options of other servers, and errors in terms of the command line
    `config_sources.py`     a TOML file and `TRIO_UWSGI_...` variables
    `python_setup.py`       folders of modules, an environment of packages, `sys.argv`
    `uwsgi_files.py`        uWSGI's configuration files and command line on this machine
    `check_command.py`      `trio-uwsgi check`
    `pidfile_command.py`    `trio-uwsgi --stop PIDFILE`, `--reload PIDFILE`
    `module_config.py`      the `config` beside an application

Embedded in another program (`nursery.start(serve, ...)`) none of this happens. `trio-uwsgi spool` is in
`_spool/command.py`.
"""
