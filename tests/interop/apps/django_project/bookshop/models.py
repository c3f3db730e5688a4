"""What the tasks write."""

from django.db import models


class Note(models.Model):  # type: ignore[misc]  # Django has no types
    """One run of a task: which, with what, and in what process of the server."""

    task = models.CharField(max_length=40)
    text = models.CharField(max_length=200)
    place = models.CharField(max_length=40)
