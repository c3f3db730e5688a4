"""@spool: jobs of a dict and of keywords, with a body and a time; and with arguments."""

from uwsgidecorators import spool

from tests.interop.apps.noting import answering, note, place

LINES = 7


@spool
def job(variables: dict[str, str]) -> None:
    note(place(), sorted(variables), variables["a"], variables.get("body"), variables["ud_spool_ret"])


@spool(pass_arguments=True)
def with_arguments(*args: object, **kwargs: object) -> None:
    note(place(), args, kwargs)


def begin() -> None:
    note(type(job({"a": "dict"})).__name__)
    job.spool(a="keyword")
    job({"a": "both"}, b="c")
    job({"a": "body", "body": "text", "at": "1"})
    with_arguments(1, None, x=[2])
    with_arguments.spool("again", body=b"of a job")


application = answering(begin)
