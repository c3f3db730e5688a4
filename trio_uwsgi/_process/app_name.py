"""How an application object is found again in another process.

The master serves an object; the processes of its members have to import it themselves. `reference_of` finds the name
under which they can: that of a module's global, or of a global of the script that is running. What has no such name (it
was made inside of a function) is refused with the remedy.

A script is run a second time to get its application, as `__mp_main__`, like multiprocessing does. What is below
`if __name__ == "__main__":` does not run; in a script without that line `serve` ends the run (`Served`), because by
then the application is there.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from types import CodeType, ModuleType
from typing import Any, Literal

from trio_uwsgi._process.loader import PassingThrough, import_failure, is_failure, load_app
from trio_uwsgi._process.patched_modules import undo_import_changes
from trio_uwsgi.errors import BootError, ConfigError

__all__ = ["AppReference", "Served", "mark_child_process", "reference_of", "refuse_to_serve_twice"]

_REMEDY = "make it at the top of a module, or give its name: 'module:attribute'"


class Served(PassingThrough):
    """Ends the second run of a script at its `serve`: the application is `app`. Not an Exception, so that scripts which
    handle errors let it pass.
    """

    def __init__(self, app: object) -> None:
        super().__init__("this process only imports the application")
        self.app = app


_is_child_process = False


def mark_child_process() -> None:
    """From now on this process is a zygote or a member: `serve` means another process, and ends the run here."""
    global _is_child_process
    _is_child_process = True


def refuse_to_serve_twice(app: object) -> None:
    """What `serve` calls first. Raises `Served` in a process that only wanted to import the application."""
    if _is_child_process:
        raise Served(app)


@dataclasses.dataclass(frozen=True, slots=True)
class AppReference:
    """Where another process finds the application.

    `how` is one of
        name      `target` is what the command line takes: `module:attribute` or `path/to/file.py:attribute`
        object    the global `attribute` of module `target`
        script    the global `attribute` of the script with path `target`
        program   likewise of the module `target`, which was run by `python -m`
    """

    how: Literal["name", "object", "script", "module"]
    target: str
    attribute: str = ""
    factory: bool = False

    @property
    def folder(self) -> str | None:
        """Where its file is; None where it has a module's name, which is looked for in the current folder first."""
        target = self.target.rpartition(":")[0] or self.target
        return os.path.dirname(os.path.abspath(target)) if target.endswith(".py") else None

    def __str__(self) -> str:
        return f"{self.target}:{self.attribute}" if self.attribute else self.target

    def load(self) -> Any:  # an application is any callable
        """Import the application.

        Raises:
            BootError: as `load_app`; the cause is what the application's code raised. Or it has patched what the server
                stands on.
        """
        try:
            return self._load()
        except Served as served:  # a module that serves when it is imported
            return served.app
        except BaseExceptionGroup as group:
            return _served_in(group).app
        finally:
            undo_import_changes()

    def _load(self) -> Any:
        if self.how == "name":
            return load_app(self.target, factory=self.factory)
        if self.how == "object":
            try:
                module = importlib.import_module(self.target)
            except BaseException as error:
                if not is_failure(error):
                    raise
                raise import_failure(f"importing {self.target}", error) from error
        else:
            module = _run_again(self.target, by_name=self.how == "module")
        found: object = module
        for part in self.attribute.split("."):
            if not hasattr(found, part):
                raise BootError(self._missing(part))
            found = getattr(found, part)
        return found

    def _missing(self, part: str) -> str:
        if self.how == "object":
            return f"{self.target} has no {part!r} in a new process; {_REMEDY}"
        return (
            f"{self.target} has no {part!r} when it is imported rather than run; "
            f"make the application above `if __name__ == '__main__':`"
        )


def _served_in(group: BaseExceptionGroup[Any]) -> Served:
    """The `Served` in a group, whatever else ended with it; without one the group goes on."""
    parts: list[BaseException] = [group]
    for part in parts:
        if isinstance(part, Served):
            return part
        if isinstance(part, BaseExceptionGroup):
            parts.extend(part.exceptions)
    raise group


def _run_again(target: str, *, by_name: bool) -> ModuleType:
    """Run the program a second time, not as `__main__`. Its globals are there also when `serve` ended the run."""
    try:
        spec, code = _named_code(target) if by_name else _file_code(target)
    except Exception as error:
        raise import_failure(f"reading {target}", error) from error
    module = importlib.util.module_from_spec(spec)
    module.__name__ = "__mp_main__"
    # Both names, so that what the script pickles, or looks for in `__main__`, is found here too.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    try:
        exec(code, module.__dict__)
    except Served:
        pass
    except BaseException as error:
        if is_failure(error):
            raise import_failure(f"running {target}", error) from error
        if not isinstance(error, BaseExceptionGroup):
            raise
        _served_in(error)  # it came through nurseries
    return module


def _named_code(name: str) -> tuple[importlib.machinery.ModuleSpec, CodeType]:
    spec = importlib.util.find_spec(name)
    if spec is None or not isinstance(spec.loader, importlib.abc.InspectLoader):
        raise ImportError(f"there is no module {name}")
    code = spec.loader.get_code(name)
    if code is None:
        raise ImportError(f"{name} has no Python code")
    return spec, code


def _file_code(path: str) -> tuple[importlib.machinery.ModuleSpec, CodeType]:
    loader = importlib.machinery.SourceFileLoader("__mp_main__", path)
    spec = importlib.util.spec_from_file_location("__mp_main__", path, loader=loader)
    assert spec is not None
    # Not `get_code`: it would leave a .pyc beside a script.
    return spec, loader.source_to_code(loader.get_data(path), path)


# ----- finding the name


def reference_of(app: object) -> AppReference:
    """The name of an application object for other processes.

    A global of an imported module is preferred to one of the running script, which would have to run again. Of several
    modules it is the one that the object says it comes from, and then the one that was imported first.

    Raises:
        ConfigError: it is no global of anything; processes cannot find it.
    """
    main = sys.modules["__main__"]
    home = sys.modules.get(getattr(app, "__module__", None) or "")
    qualname = getattr(app, "__qualname__", "")
    if home is not None and home is not main and qualname and _reach(home, qualname) is app:
        return _in_module(home, qualname)
    for name, module in list(sys.modules.items()):
        if module is main or not isinstance(module, ModuleType) or name == "__mp_main__":
            continue
        if (attribute := _global_name(module, app)) is not None:
            return _in_module(module, attribute)
    attribute = qualname if qualname and _reach(main, qualname) is app else _global_name(main, app)
    if attribute is not None:
        return _in_main(main, attribute)
    raise ConfigError(f"members in processes of their own cannot find {app!r}: it is no global of any module", _REMEDY)


def _reach(module: ModuleType, qualname: str) -> object:
    found: object = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _global_name(module: ModuleType, app: object) -> str | None:
    return next((name for name, value in list(vars(module).items()) if value is app), None)


def _in_module(module: ModuleType, attribute: str) -> AppReference:
    spec = module.__spec__
    name = module.__name__ if spec is None else spec.name
    top_level = "." not in name
    if spec is not None and spec.origin and spec.origin.endswith(".py") and top_level:
        known = importlib.machinery.PathFinder.find_spec(name)
        if known is None or known.origin != spec.origin:  # it was loaded from a file, by that file's name
            return AppReference("name", f"{os.path.abspath(spec.origin)}:{attribute}")
    return AppReference("object", name, attribute)


def _in_main(main: ModuleType, attribute: str) -> AppReference:
    if main.__spec__ is not None:
        return AppReference("module", main.__spec__.name, attribute)
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        problem = f"members in processes of their own cannot find {attribute!r}: this Python is not running a file"
        raise ConfigError(problem, _REMEDY)
    return AppReference("script", os.path.abspath(path), attribute)
