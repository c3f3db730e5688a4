"""The spooler: jobs that are files, written now and run later, at least once.

Pure: what is decided, and bytes.

    `rules.py`           names of jobs, their order, when a failed one is tried again
    `functions.py`       functions for jobs, as declared, and a job as its function sees it
    `request.py`         what is asked to be queued
    `file_format.py`     a job as bytes, in uWSGI's format

The directory on the disk, which other processes and a real uWSGI may share:

    `paths.py`           where things are, and how they get to the disk safely
    `files.py`           jobs are written and found
    `scan.py`            the directory is read, in a thread
    `claim.py`           a job that is being run: its file, locked, and the ways in which that ends
    `running_jobs.py`    what runs, written down, so that a job that kills its process counts as failed

In a running server:

    `directory.py`       one directory: notices jobs, gives each to a spooler when it is due; `settings.py`: its options
    `directories.py`     all directories of a runtime, for `uwsgi.spool`

For people: `command.py` is `trio-uwsgi spool`, with what it does in `tools.py`. Elsewhere: the member that runs jobs
is `_runtime/spooler.py`; the API is `uwsgi/_spool.py`.
"""
