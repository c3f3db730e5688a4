"""Members in processes of their own (Linux).

The master starts a zygote: a process that imports the application and then forks members, which share its memory. The
master itself imports nothing of the application.

    `app_name.py`            names an application object, so that another process can import it
    `loader.py`              imports an application by its name
    `patched_modules.py`     undoes or refuses changes by the import that the server depends on

The master's side:

    `generation.py`          one version of the application's code, and its members
    `launcher.py`            where zygotes come from; `zygote_start.py`: how one is started
    `zygote_control.py`      a zygote as a context manager; `child.py`: one child process of it
    `member_plan.py`         what the members of a generation have in common
    `member_start.py`        the master's state of a member's process until it serves
    `import_line.py`         the locks of an import in another process
    `watchdog_rules.py`             when an event loop counts as blocked (pure)
    `watchdog.py`            kills members whose event loop is blocked

Between the two: `zygote_frames.py` (pure) and `zygote_channel.py`.

In the other process:

    `member_setup.py`        what the master tells it
    `zygote.py`              the zygote
    `child_main.py`          a child, from the fork to the end of its process
    `member_process.py`      the member in it: its link, its shared memory, its clock
    `heartbeat_loop.py`      writes the heartbeat and the statistics; asks for a replacement when a limit is reached
    `forced_exit.py`         ends the process when the Trio run does not end by itself

Elsewhere: what a member does is in `_runtime/`; it is the same as in a task.
"""
