"""Settings of the project. The database is in the working directory."""

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "bookshop.urls"
INSTALLED_APPS = ["bookshop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db", "OPTIONS": {"timeout": 60}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
