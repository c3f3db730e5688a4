"""What `trio_uwsgi.testing` is made of: a whole runtime in a test, on the test's clock.

    `memory_client.py`        an httpx transport over memory streams
    `clock_hold.py`           the mock clock stands still while threads work
    `notes.py`                what a test's handlers write down, wherever they run

Where members are processes, one mock time moves all of them:

    `processes.py`            a test whose members are processes
    `forked_zygote.py`        a zygote that is forked from the test, because its application is a closure
    `members.py`              what members of a test stand on
    `process_table.py`        which processes there are, and a channel to each
    `virtual_clock.py`        a time in shared memory
    `clock_coordinator.py`    in the test: lets time jump when every process is idle
    `clock_agent.py`          beside each member: says when it is idle, and until when
    `event_buffer.py`         what all of them report, in one order

docs/architecture.md explains how the coordinator knows that nothing is on its way.
"""
