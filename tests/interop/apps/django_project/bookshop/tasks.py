"""Tasks of uWSGI."""

import uwsgi
from uwsgidecorators import cron, spool, timer

from bookshop.models import Note


def note(task: str, text: object) -> None:
    """Write down that a task has run."""
    place = "spooler" if uwsgi.i_am_the_spooler() else f"worker {uwsgi.worker_id()} mule {uwsgi.mule_id()}"
    Note.objects.create(task=task, text=str(text), place=place)


@timer(1, target="mule")
def tick(signum: int) -> None:
    """Every second, in a mule."""
    note("timer", signum)


@cron(-1, -1, -1, -1, -1)
def minute(signum: int) -> None:
    """Every minute, in a worker."""
    note("cron", signum)


@spool
def send_mail(job: dict[str, str]) -> None:
    """In the spooler, with a dict."""
    note("spool", job["to"])


@spool(pass_arguments=True)
def send_all(*names: str, copies: int) -> None:
    """In the spooler, with arguments."""
    note("spool_arguments", (*names, copies))
