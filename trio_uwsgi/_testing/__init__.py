"""What `trio_uwsgi.testing` is made of; nothing of it runs in production."""
