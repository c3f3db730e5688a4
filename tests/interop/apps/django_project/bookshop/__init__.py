"""A project of Django, as it was written for uWSGI."""
