"""Members in processes of their own (Linux).

The master starts a zygote: a process that imports the application and then forks members, which share its memory. The
master itself imports nothing of the application.

    `app_name.py`            how an application object is found again in another process
    `loader.py`              import it by its name
    `patched_modules.py`     what its import may have changed, and the server stands on

The master's side:

    `generation.py`          one version of the application's code, and its members
    `launcher.py`            where zygotes come from; `zygote_start.py`: how one is started
    `zygote_control.py`      a zygote as a context, its children as objects; `child.py`: one of them
    `member_start.py`        what is known of a member's process until it serves
    `blocked.py`             when an event loop counts as blocked (pure)
    `watchdog.py`            kills members that are

Between the two: `zygote_frames.py` (pure) and `zygote_channel.py`.

In the other process:

    `zygote.py`              the zygote
    `child_main.py`          a child, from the fork to the end of its process
    `member_process.py`      the member in it: its link, its shared memory, its clock
    `heartbeat_loop.py`      shows that its loop runs, and asks for a replacement when a limit is reached
    `forced_exit.py`         ends a process that does not end by itself

Elsewhere: what a member does is in `_runtime/`, and is the same in a task.
"""
