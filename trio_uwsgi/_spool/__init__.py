"""The spooler: jobs that are files, written now and run later, at least once.

Pure: what is decided, and bytes.

    `rules.py`           names of jobs, their order, when a failed one is retried
    `functions.py`       functions for jobs, as declared, and a job as its function sees it
    `request.py`         a request to queue a job
    `file_format.py`     a job as bytes, in uWSGI's format

The directory on the disk, which other processes and a real uWSGI may share:

    `paths.py`           the paths of files, and how they are written to the disk
    `files.py`           writes and finds jobs
    `scan.py`            reads the directory, in a thread
    `claim.py`           a job that is being run: its file, locked, and the ways in which that ends
    `running_jobs.py`    records of running jobs, so that a job that kills its process counts as failed

In a running server:

    `directory.py`       one directory: notices jobs, gives each to a spooler when it is due; `settings.py`: its options
    `directories.py`     all directories of a runtime, for `uwsgi.spool`

The command `trio-uwsgi spool` is `command.py`, with its operations in `tools.py`. Elsewhere: the member that runs jobs
is `_runtime/spooler.py`; the API is `uwsgi/_spool.py`.
"""
