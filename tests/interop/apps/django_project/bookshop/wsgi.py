"""What the server imports."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")

application = get_wsgi_application()

import bookshop.tasks  # noqa: E402, F401  # the tasks need the application
