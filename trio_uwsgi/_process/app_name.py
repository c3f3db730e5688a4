"""Name an application object, so that another process can import it.

The master is given an object, but members' processes have to import it. `reference_of` finds its name: that of a global
of a module, or of the script that is running. An object without such a name (it was made in a function) is refused, and
the error says what to do.

A script is run a second time to get its application, as `__mp_main__`, as in multiprocessing. Code below
`if __name__ == "__main__":` does not run then; in a script without that line `serve` ends the second run (`Served`),
because the application exists by then.
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

from trio_uwsgi._apps.mounts import mount
from trio_uwsgi._process.loader import PassingThrough, import_failure, import_module_of, is_failure, load_app
from trio_uwsgi._process.patched_modules import undo_import_changes
from trio_uwsgi.errors import BootError, ConfigError

__all__ = ["AppReference", "Served", "mark_child_process", "reference_of", "refuse_to_serve_twice"]

_REMEDY = "make it at the top level of a module, or pass its name: 'module:attribute'"


class Served(PassingThrough):
    """Ends the second run of a script at its call of `serve`, with the application as `app`. It is not an Exception, so
    that a script's own handlers do not catch it.
    """

    def __init__(self, app: object) -> None:
        super().__init__("this process only imports the application")
        self.app = app


_is_child_process = False


def mark_child_process() -> None:
    """Note that this process is a zygote or a member, so that a call of `serve` only ends the import here."""
    global _is_child_process
    _is_child_process = True


def refuse_to_serve_twice(app: object) -> None:
    """Called first by `serve`. Raises `Served` in a process that only imports the application."""
    if _is_child_process:
        raise Served(app)


@dataclasses.dataclass(frozen=True, slots=True)
class AppReference:
    """Where another process finds the application.

    `how` is one of
        name      `target` is a name as on the command line: `module:attribute` or `path/to/file.py:attribute`
        object    the global `attribute` of module `target`
        script    the global `attribute` of the script with path `target`
        module    the global `attribute` of module `target`, which was run with `python -m`

    `mounts` are further applications, as prefixes of the path and names; `imports` are modules to import before them.
    """

    how: Literal["name", "object", "script", "module"]
    target: str
    attribute: str = ""
    factory: bool = False
    mounts: tuple[tuple[str, str], ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def folder(self) -> str | None:
        """The folder of its file; None for a module, which is looked for in the current folder first."""
        target = self.target.rpartition(":")[0] or self.target
        return os.path.dirname(os.path.abspath(target)) if target.endswith(".py") else None

    def __str__(self) -> str:
        return f"{self.target}:{self.attribute}" if self.attribute else self.target

    def load(self) -> Any:  # an application is any callable
        """Import the application.

        Raises:
            BootError: as `load_app`, with the exception of the application's code as its cause; or the import has
                patched the standard library.
        """
        try:
            self.import_first()
            app = self._load()
        except Served as served:  # the module calls `serve` when it is imported
            app = served.app
        except BaseExceptionGroup as group:
            app = _served_in(group).app
        finally:
            undo_import_changes()
        return self.with_mounts(app)

    def import_first(self) -> None:
        """Import the modules that come before the application.

        Raises:
            BootError: one is not found, or its import failed.
        """
        for name in self.imports:
            import_module_of(name)

    def with_mounts(self, app: Any) -> Any:  # as before
        """The application, with the others that are mounted beside it.

        Raises:
            BootError: as `load_app`.
        """
        if not self.mounts:
            return app
        return mount({"": app, **{prefix: load_app(target) for prefix, target in self.mounts}})

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
            return f"{self.target} has no {part!r} when it is imported in a new process; {_REMEDY}"
        return (
            f"{self.target} has no {part!r} when it is imported rather than run; "
            f"make the application above `if __name__ == '__main__':`"
        )


def _served_in(group: BaseExceptionGroup[Any]) -> Served:
    """The `Served` in a group; a group without one is raised again."""
    parts: list[BaseException] = [group]
    for part in parts:
        if isinstance(part, Served):
            return part
        if isinstance(part, BaseExceptionGroup):
            parts.extend(part.exceptions)
    raise group


def _run_again(target: str, *, by_name: bool) -> ModuleType:
    """Run the main program a second time, as `__mp_main__`. It has its globals also when `serve` ended the run."""
    try:
        spec, code = _named_code(target) if by_name else _file_code(target)
    except Exception as error:
        raise import_failure(f"reading {target}", error) from error
    module = importlib.util.module_from_spec(spec)
    module.__name__ = "__mp_main__"
    # Both names, because the script may pickle its objects or look for them in `__main__`.
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
        _served_in(error)  # `Served` came through nurseries
    return module


def _named_code(name: str) -> tuple[importlib.machinery.ModuleSpec, CodeType]:
    spec = importlib.util.find_spec(name)
    if spec is None or not isinstance(spec.loader, importlib.abc.InspectLoader):
        raise ImportError(f"no module {name}")
    code = spec.loader.get_code(name)
    if code is None:
        raise ImportError(f"{name} contains no Python code")
    return spec, code


def _file_code(path: str) -> tuple[importlib.machinery.ModuleSpec, CodeType]:
    loader = importlib.machinery.SourceFileLoader("__mp_main__", path)
    spec = importlib.util.spec_from_file_location("__mp_main__", path, loader=loader)
    assert spec is not None
    # Not `get_code`: it would write a .pyc file beside the script.
    return spec, loader.source_to_code(loader.get_data(path), path)


# ----- finding the name


def reference_of(app: object) -> AppReference:
    """The name of an application object for other processes.

    A global of an imported module is preferred to one of the running script, which would have to run again. Of several
    modules the object's own `__module__` is preferred, and then the module that was imported first.

    Raises:
        ConfigError: it is not a global of a module or script, so other processes cannot import it.
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
    raise ConfigError(f"members' processes cannot import {app!r}: it is not a global of a module", _REMEDY)


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
        if known is None or known.origin != spec.origin:  # it was loaded from a file that is not on sys.path
            return AppReference("name", f"{os.path.abspath(spec.origin)}:{attribute}")
    return AppReference("object", name, attribute)


def _in_main(main: ModuleType, attribute: str) -> AppReference:
    if main.__spec__ is not None:
        return AppReference("module", main.__spec__.name, attribute)
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        problem = f"members' processes cannot import {attribute!r}: this Python does not run a file"
        raise ConfigError(problem, _REMEDY)
    return AppReference("script", os.path.abspath(path), attribute)
