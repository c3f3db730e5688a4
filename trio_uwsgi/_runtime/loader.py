"""Find an application by its name. Floor 3.

A name is `module:attribute` or `path/to/file.py:attribute`; the attribute may have dots. Importing runs the
application's own code, which may fail in any way: whatever it raises becomes the cause of a `BootError` that says what
was looked for. What kind of application it is, and whether it works, is not found out here.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType, TracebackType
from typing import Any

from trio_uwsgi._runtime.patches import look_after_import
from trio_uwsgi.errors import BootError

# uWSGI's default, and what the ASGI world calls it.
_APP_NAMES = ("application", "app")
_FACTORY_NAMES = ("create_app", "make_app")


def load_app(
    spec: str, *, factory: bool = False
) -> Any:  # an application is any callable: its interface is detected later
    """Import an application and give it back.

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
    target, attribute = _split(spec)
    module = _import_file(target) if _is_file(target) else _import_module(target)
    name, found = _find(module, target, attribute, _FACTORY_NAMES if factory else _APP_NAMES)
    if factory:
        found = _make(found, f"{target}:{name}")
    if not callable(found):
        what = f"what {target}:{name} returned" if factory else f"{target}:{name}"
        raise BootError(f"{what} is not an application: it is of type {type(found).__name__}, which cannot be called")
    look_after_import()
    return found


def _split(spec: str) -> tuple[str, str]:
    target, colon, attribute = spec.rpartition(":")
    if not colon or _is_file(attribute):
        target, attribute = spec, ""
    if not target or (colon and target != spec and not attribute):
        raise BootError(f"{spec!r} does not name an application; write module:attribute or path/to/file.py:attribute")
    if attribute.endswith(")"):
        bare = attribute.partition("(")[0]
        raise BootError(
            f"{spec!r} has a call in it; write {target}:{bare} with --factory, which calls it without arguments"
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
        # Only a missing part of the name itself is "not found": a missing dependency is the application's own failure.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise BootError(_not_found(name, error.name, folder)) from None
        raise import_failure(f"importing {name}", error) from error
    except (Exception, SystemExit) as error:
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
    if not os.path.isfile(path):
        names = [name for name in os.listdir(folder) if name.endswith(".py")] if os.path.isdir(folder) else []
        raise BootError(f"there is no file {path}{_did_you_mean(base, names)}")
    _put_first(folder)
    stem = base.removesuffix(".py")
    # Its own name, so that its neighbours may import it and get this module; but never that of a module that exists.
    name = stem if stem.isidentifier() and stem not in sys.modules else f"uwsgi_file_{stem}"
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise import_failure(f"importing {path}", error) from error
    return module


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
            raise BootError(
                f"{target} has no {attribute!r}: looked for {part!r}{_did_you_mean(part, dir(found))}"
            ) from None
    return attribute, found


def _make(factory: object, name: str) -> object:
    if not callable(factory):
        raise BootError(f"{name} is not a factory: it is of type {type(factory).__name__}, which cannot be called")
    try:
        app = factory()
    except (Exception, SystemExit) as error:
        raise import_failure(f"calling {name}", error) from error
    if inspect.iscoroutine(app):
        app.close()
        raise BootError(f"the factory {name} is async, and is called before Trio runs; make it a plain function")
    return app


def import_failure(what: str, error: BaseException) -> BootError:
    """Put the failure of the application's own code in one sentence, and leave only its own frames in the traceback."""
    tb = error.__traceback__
    while tb is not None and _is_machinery(tb):
        tb = tb.tb_next
    error.__traceback__ = tb
    return BootError(f"{what} failed: {type(error).__name__}: {error}")


def _is_machinery(tb: TracebackType) -> bool:
    file = tb.tb_frame.f_code.co_filename
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
