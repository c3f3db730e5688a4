"""What `trio_uwsgi.testing` is made of: a whole runtime in a test, on the test's clock.

    `memory_client.py`        an httpx transport over memory streams
    `websocket_client.py`     a WebSocket client over such streams
    `clock_hold.py`           the mock clock stands still while threads work
    `tasks.py`                members are tasks: connections to them, and killing them
    `notes.py`                a list that a test's handlers append to, from any process

Where members are processes, one mock time moves all of them:

    `processes.py`            a test whose members are processes
    `forked_zygote.py`        a zygote that is forked from the test, because its application is a closure
    `members.py`              entry points of zygotes and members that are forked from a test
    `process_table.py`        the members' processes, and a channel to each
    `virtual_clock.py`        a time in shared memory
    `clock_coordinator.py`    in the test: lets time jump when every process is idle
    `clock_agent.py`          beside each member: reports when it is idle, and until when
    `event_buffer.py`         events, log records, failures and notes of all of them, in order

docs/explanation/architecture.md explains how the coordinator knows that nothing is on its way.
"""
