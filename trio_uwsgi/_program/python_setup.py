"""Set up Python for the application: where modules are found, an environment of packages, its arguments.

Members' processes get `sys.path` and `sys.argv` from this one, so it is done once.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import site
import sys

from trio_uwsgi.errors import ConfigError

__all__ = ["PythonSetup", "set_up_python"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PythonSetup:
    """What the options of Python say: folders of modules, the folder of an environment, and the application's arguments
    (None leaves those of the process).
    """

    pythonpath: tuple[str, ...] = ()
    virtualenv: str | None = None
    pyargv: str | None = None


def set_up_python(setup: PythonSetup) -> None:
    """Change `sys.path` and `sys.argv`. The current directory is the server's by then.

    Raises:
        ConfigError: the environment does not fit this Python, or the arguments cannot be split.
    """
    folders = [os.path.abspath(folder) for folder in setup.pythonpath]
    if setup.virtualenv is not None:
        packages = _packages_of(os.path.abspath(setup.virtualenv))
        if packages not in sys.path:
            before = len(sys.path)
            site.addsitedir(packages)  # which obeys the .pth files there
            folders += sys.path[before:]
            del sys.path[before:]
    sys.path[:] = folders + [entry for entry in sys.path if entry not in folders]
    if setup.pyargv is not None:
        try:
            sys.argv[1:] = shlex.split(setup.pyargv)
        except ValueError as error:
            raise ConfigError(f"pyargv={setup.pyargv!r} cannot be split: {error}", "close the quotes") from None


def _packages_of(environment: str) -> str:
    """The folder of an environment's packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = os.path.join(environment, "lib", version, "site-packages")
    if os.path.isdir(packages):
        return packages
    try:
        others = [
            name for name in os.listdir(os.path.join(environment, "lib")) if re.fullmatch(r"python[\d.]+t?", name)
        ]
    except OSError:
        others = []
    if not others:
        raise ConfigError(f"{environment} is not a virtual environment", "name a folder that python -m venv has made")
    raise ConfigError(
        f"{environment} is an environment of {others[0]}, and this is {version}",
        f"install trio-uwsgi there, and run {environment}/bin/trio-uwsgi",
    )
