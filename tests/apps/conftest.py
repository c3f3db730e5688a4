"""The service of `tests/services.py`, for applications."""

from tests.services import open_http as open_http
