"""The implementation of `trio_uwsgi.testing`. None of it runs in production."""
