"""What a runtime can be told: `Config`, and everything that describes or refuses an option. Pure."""

from trio_uwsgi.config.addresses import Address as Address
from trio_uwsgi.config.config import Config as Config
from trio_uwsgi.config.options import Cache as Cache
from trio_uwsgi.config.options import Mules as Mules

__all__ = ["Address", "Cache", "Config", "Mules"]
