"""Import an application by its name.

A name is `module:attribute` or `path/to/file.py:attribute`; the attribute may have dots. Importing runs the
application's own code, which may fail in any way: its exception becomes the cause of a `BootError` that says what was
imported. Its interface is detected elsewhere (`_apps/interface.py`).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import pkgutil
import signal
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType, TracebackType
from typing import Any

from trio_uwsgi._apps.mounts import mount
from trio_uwsgi._process.patched_modules import undo_import_changes
from trio_uwsgi._system.privileges import inaccessible_folder, user_name
from trio_uwsgi.errors import BootError

__all__ = ["PassingThrough", "import_failure", "import_took_too_long", "is_failure", "load_app"]

# uWSGI's default name, and the usual one of ASGI applications.
_APP_NAMES = ("application", "app")
_FACTORY_NAMES = ("create_app", "make_app")


class PassingThrough(BaseException):
    """Raised by this package to end an import, which then has not failed."""


def load_app(
    spec: str, *, factory: bool = False
) -> Any:  # an application is any callable: its interface is detected later
    """Import an application and return it.

    The directory of the application is put first on `sys.path`: the current one for a module, the file's own for a
    file.

    Args:
        spec: `module:attribute`, `module`, `path/to/file.py:attribute` or `path/to/file.py`. Without an attribute it is
            `application` or `app`; with `factory`, `create_app` or `make_app`.
        factory: the attribute is called, without arguments, and gives the application.
    Returns:
        The application: a callable.
    Raises:
        BootError: it was not found, its import or factory failed (see `__cause__`), or it is not callable.
    Checkpoint: never. It blocks while the application is imported, so it is called before Trio runs.
    uWSGI: `--module`, `--wsgi-file` and `--callable` in one name.
    """
    return load_beside(spec, factory=factory)[0]


def load_beside(
    spec: str, *, factory: bool = False
) -> tuple[Any, ModuleType]:  # as `load_app`, and the module where it was found
    """As `load_app`, and also return the module that was imported."""
    target, attribute = _split(spec)
    module = _import(target)
    if not attribute and not factory and (mounted := _assigned(module)):
        return mount(mounted), module
    name, found = _find(module, target, attribute, _FACTORY_NAMES if factory else _APP_NAMES)
    if factory:
        found = _make(found, f"{target}:{name}")
    undo_import_changes()
    if not callable(found):
        what = f"what {target}:{name} returned" if factory else f"{target}:{name}"
        raise BootError(f"{what} is not an application: it is of type {type(found).__name__}, which cannot be called")
    return found, module


def _assigned(module: ModuleType) -> dict[str, Any]:
    """The applications that the code has assigned to `uwsgi.applications`, by prefix; a str names one in the module."""
    assigned = getattr(sys.modules.get("uwsgi"), "applications", None)
    if not isinstance(assigned, dict):
        return {}
    found = {
        prefix.rstrip("/"): getattr(module, app, app) if isinstance(app, str) else app
        for prefix, app in assigned.items()
    }
    if refused := [app for app in found.values() if not callable(app)]:
        raise BootError(f"uwsgi.applications has {refused[0]!r}, which is not an application")
    return found


def import_module_of(spec: str) -> ModuleType:
    """Import the module of an application, without looking up the application.

    Raises:
        BootError: as `load_app`.
    """
    return _import(_split(spec)[0])


def find_module_of(spec: str) -> importlib.machinery.ModuleSpec | None:
    """The spec of an application's module; None if it is not found. Nothing is imported, not even a parent package."""
    target = spec if _is_file(spec.rpartition(":")[2]) else spec.rpartition(":")[0] or spec
    if _is_file(target):
        path = os.path.abspath(target)
        loader = importlib.machinery.SourceFileLoader("application", path)
        return (
            importlib.util.spec_from_file_location("application", path, loader=loader) if os.path.isfile(path) else None
        )
    path_of: Sequence[str] = [os.getcwd(), *sys.path]
    found = None
    for part in target.split("."):
        # Only the last part of the name: for a full name Python would import the parent.
        found = importlib.machinery.PathFinder.find_spec(part, path_of)
        if found is None:
            return None
        path_of = list(found.submodule_search_locations or ())
    return found


def _import(target: str) -> ModuleType:
    return _import_file(target) if _is_file(target) else _import_module(target)


def _split(spec: str) -> tuple[str, str]:
    target, colon, attribute = spec.rpartition(":")
    if not colon or _is_file(attribute):
        target, attribute = spec, ""
    if not target or (colon and target != spec and not attribute):
        raise BootError(f"{spec!r} does not name an application; write module:attribute or path/to/file.py:attribute")
    if attribute.endswith(")"):
        bare = attribute.partition("(")[0]
        raise BootError(
            f"{spec!r} contains a call; write {target}:{bare} with --factory, which calls it without arguments"
        )
    return target, attribute


def _is_file(target: str) -> bool:
    return target.endswith(".py") or "/" in target or os.sep in target


def _import_module(name: str) -> ModuleType:
    folder = os.getcwd()
    _put_first(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only a missing part of the name itself means "not found"; a missing dependency is an error of the application.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            _refuse_inaccessible(folder, listed=True)
            raise BootError(_not_found(name, error.name, folder)) from None
        raise import_failure(f"importing {name}", error) from error
    except BaseException as error:
        if not is_failure(error):
            raise
        raise import_failure(f"importing {name}", error) from error


def _not_found(name: str, missing: str, folder: str) -> str:
    parent = missing.rpartition(".")[0]
    if not parent:
        where = [folder]
    elif hasattr(sys.modules[parent], "__path__"):
        where = list(sys.modules[parent].__path__)
    else:
        attribute = name.removeprefix(parent + ".")
        return f"there is no module {name}: {parent} is a module, not a package; write {parent}:{attribute}"
    names = [f"{parent}.{found.name}" if parent else found.name for found in pkgutil.iter_modules(where)]
    return (
        f"there is no module {missing}: looked in {', '.join(where)} and along sys.path{_did_you_mean(missing, names)}"
    )


def _import_file(path: str) -> ModuleType:
    path = os.path.abspath(path)
    folder, base = os.path.split(path)
    _refuse_inaccessible(folder)
    if not os.path.isfile(path):
        can_list = os.path.isdir(folder) and os.access(folder, os.R_OK)
        names = [name for name in os.listdir(folder) if name.endswith(".py")] if can_list else []
        raise BootError(f"there is no file {path}{_did_you_mean(base, names)}")
    _put_first(folder)
    stem = base.removesuffix(".py")
    # Under its own name, so that modules beside it import the same module; but never under an existing module's name.
    name = stem if stem.isidentifier() and stem not in sys.modules else f"uwsgi_file_{stem}"
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException as error:
        if not is_failure(error):  # the module is still needed after a `PassingThrough`
            raise
        del sys.modules[name]
        raise import_failure(f"importing {path}", error) from error
    return module


def _refuse_inaccessible(folder: str, *, listed: bool = False) -> None:
    """Python's import does not distinguish a folder without access from an empty one.

    Raises:
        BootError: there is no access to this folder or one of its parents.
    """
    inaccessible = inaccessible_folder(folder, listed=listed)
    if inaccessible is not None:
        raise BootError(
            f"{user_name(os.geteuid())} has no access to {inaccessible}, where the application is looked for; "
            f"make it readable and searchable for that user, or move the application"
        )


def _put_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()


def _find(module: ModuleType, target: str, attribute: str, defaults: tuple[str, ...]) -> tuple[str, object]:
    if not attribute:
        for name in defaults:
            if hasattr(module, name):
                return name, getattr(module, name)
        names = [name for name in vars(module) if not name.startswith("_")]
        hint = _did_you_mean(defaults[0], names) or _did_you_mean(defaults[1], names)
        raise BootError(f"{target} has neither {defaults[0]!r} nor {defaults[1]!r}{hint}; name it, as in {target}:name")
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = f": looked for {part!r}" if part != attribute else ""
            hint = _did_you_mean(part, dir(found)) or _default_of(found, defaults)
            raise BootError(f"{target} has no {attribute!r}{where}{hint}") from None
    return attribute, found


def _make(factory: object, name: str) -> object:
    if not callable(factory):
        raise BootError(f"{name} is not a factory: it is of type {type(factory).__name__}, which cannot be called")
    try:
        app = factory()
    except BaseException as error:
        if not is_failure(error):
            raise
        raise import_failure(f"calling {name}", error) from error
    if inspect.iscoroutine(app):
        app.close()
        raise BootError(f"the factory {name} is async, but is called before Trio runs; make it a plain function")
    return app


def is_failure(error: BaseException) -> bool:
    """Whether this is a failure of the application's code. `asyncio.CancelledError` and SystemExit are; a
    KeyboardInterrupt is not if Python raises it for Ctrl-C.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_failure, error.exceptions))
    if isinstance(error, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    return not isinstance(error, PassingThrough)


def import_failure(what: str, error: BaseException) -> BootError:
    """A `BootError` for a failure of the application's code; only that code's frames are kept in the traceback."""
    tb = error.__traceback__
    while tb is not None and _is_machinery(tb):
        tb = tb.tb_next
    error.__traceback__ = tb
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name in ("uwsgi", "uwsgidecorators"):
        hint = "; start without --no-uwsgi-module (compat=False), or write `from trio_uwsgi import uwsgi`"
    return BootError(f"{what} failed: {type(error).__name__}: {error}{hint}")


def import_took_too_long(app: str, seconds: float) -> str:
    """The text of an error for an import that took too long."""
    return f"importing {app} took longer than the import_timeout of {seconds:g} s; its stack is on standard error"


def _is_machinery(tb: TracebackType) -> bool:
    file = tb.tb_frame.f_code.co_filename
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")


def _default_of(found: object, defaults: tuple[str, ...]) -> str:
    """The hint for a name that is like no other: the application that would have been found without a name."""
    usual = next((name for name in defaults if hasattr(found, name)), "")
    return f"; did you mean {usual!r}?" if usual else ""


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
