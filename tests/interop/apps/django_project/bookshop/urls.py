"""The pages."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from bookshop import tasks
from bookshop.models import Note


def order(request: HttpRequest) -> HttpResponse:
    """Queue two jobs."""
    tasks.send_mail.spool({"to": "a@example.org"})
    tasks.send_all("b", "c", copies=2)
    return HttpResponse("queued")


def notes(request: HttpRequest) -> HttpResponse:
    """What has run so far: each task once."""
    return JsonResponse({note.task: [note.text, note.place] for note in Note.objects.order_by("-id")})


urlpatterns = [path("order", order), path("notes", notes)]
