"""The `config` in an application's module, which the command line uses for fields that no option sets.

Where members are tasks, this process imports the application anyway. Where members are processes, or the server
switches to another user first, it does not: then a separate short-lived process imports the module, and sends what its
`config` says. That process may run as the other user, so its answer is read as data (`from_plain`), not as code. A
module's source shows whether it has such a global; without one it is not imported for this.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import dataclasses
import importlib.abc
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NoReturn

from trio_uwsgi._process.app_name import Served, mark_child_process
from trio_uwsgi._process.loader import find_module_of, import_module_of
from trio_uwsgi._process.zygote_control import RemoteTraceback
from trio_uwsgi._system.interpreter_exit import flush_output
from trio_uwsgi._system.privileges import become, identity_of
from trio_uwsgi.config import Address, Cache, Config, Daemon, Metric, Mules, Tls
from trio_uwsgi.errors import BootError, ConfigError

__all__ = [
    "answer",
    "config_in",
    "config_read_elsewhere",
    "from_plain",
    "may_have_config",
    "plain",
    "values_from_plain",
]

_NAME = "config"
_DEFAULT = Config()
_PR_SET_PDEATHSIG = 1
_BOOTSTRAP = (
    "import json, sys; request = json.loads(sys.stdin.buffer.readline()); sys.path[:] = request['path']; "
    "from trio_uwsgi._program.module_config import answer; answer(request)"
)


def config_in(module: ModuleType) -> Config | None:
    """The `config` of this module, if it is a `Config`."""
    found = vars(module).get(_NAME)
    return found if isinstance(found, Config) else None


def may_have_config(spec: str) -> bool:
    """Whether the source of an application's module binds the name. Nothing is imported."""
    found = find_module_of(spec)
    if found is None or not isinstance(found.loader, importlib.abc.InspectLoader):
        return False
    try:
        source = found.loader.get_source(found.name)
        return source is None or _NAME in _bound(ast.parse(source))
    except (ImportError, OSError, SyntaxError, ValueError):  # the import will report that
        return False


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a module's top level binds; an import of * counts as binding `config`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif isinstance(child, ast.alias):
            yield _NAME if child.name == "*" else child.asname or child.name
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _bound(child)


# ----- as data


def plain(config: Config) -> dict[str, Any]:  # Any: JSON values
    """The fields that differ from the defaults, as JSON values.

    Raises:
        ConfigError: an alarm is a function, or HTTPS has a context, which another process cannot get.
    """
    if any(tls.context is not None for tls in config.tls):
        raise ConfigError(
            f"{_NAME}: https has a context= of its own, which the command line cannot use",
            "name files, as in certificate='cert.pem', or serve from a script: trio.run(trio_uwsgi.serve, app, config)",
        )
    for name, action in config.alarms.items():
        if callable(action):
            raise ConfigError(
                f"{_NAME}: alarm {name!r} is a function, which the command line cannot use",
                "use a text, as in 'signal:17', or serve from a script: trio.run(trio_uwsgi.serve, app, config)",
            )
    fields = [field.name for field in dataclasses.fields(Config)]
    return {name: _plain(getattr(config, name)) for name in fields if getattr(config, name) != getattr(_DEFAULT, name)}


def _plain(value: object) -> object:
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, Tls):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(Tls)}
    if isinstance(value, Cache | Daemon | Metric | Mules):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def from_plain(fields: Mapping[str, Any]) -> Config:
    """The reverse of `plain`.

    Raises:
        ConfigError: the values are invalid.
    """
    return Config(**values_from_plain(fields))


def values_from_plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values of fields; caches, metrics, certificates, daemons and mules may be mappings, as tables of JSON and of
    TOML are. Caches and metrics may also be texts, as on the command line.

    Raises:
        ConfigError: the values are invalid.
        TypeError: a mapping has a key too many.
    """
    found = dict(fields)
    if "caches" in found:
        found["caches"] = [
            Cache.parse(cache) if isinstance(cache, str) else Cache(**cache) for cache in found["caches"]
        ]
    if "metrics" in found:
        found["metrics"] = [
            Metric.parse(metric) if isinstance(metric, str) else Metric(**metric) for metric in found["metrics"]
        ]
    if isinstance(given := found.get("attach_daemon"), list | dict):
        items = [given] if isinstance(given, dict) else given
        found["attach_daemon"] = [Daemon(**item) if isinstance(item, dict) else item for item in items]
    if isinstance(found.get("https"), list):
        found["https"] = [Tls(**tls) if isinstance(tls, dict) else tls for tls in found["https"]]
    if isinstance(found.get("mules"), dict):
        found["mules"] = Mules(**found["mules"])
    return found


# ----- in a separate process


def config_read_elsewhere(
    spec: str,
    uid: str | int | None,
    gid: str | int | None,
    prepare: str,
    setup: Mapping[str, object],
    rehearsing: str,
    known: Config,
) -> Config | None:
    """Start a process that imports the module of an application, as that user, and return its `config`. What the code
    of the module calls meanwhile has no effect elsewhere: `rehearsing` gives the context manager for that, from the
    options that are `known`.

    Raises:
        BootError: it cannot be imported.
        ConfigError: there is no such user, or the config cannot be passed to another process.
    """
    root = logging.getLogger()
    request: dict[str, object] = {
        "path": [entry for entry in sys.path if isinstance(entry, str)],
        "argv": sys.argv,
        "spec": spec,
        "user": [uid, gid],
        "prepare": prepare,
        "rehearsing": rehearsing,
        "known": plain(known),
        "setup": {
            **setup,
            "level": root.level,
            "format": getattr(root.handlers[0].formatter, "_fmt", None) if root.handlers else None,
        },
    }
    received, code = _answer_of_process(request)
    if not received:
        raise BootError(f"the process that reads the {_NAME} of {spec} ended before it was done: exit code {code}")
    kind, *values = json.loads(received)
    if kind == "failed":
        error = BootError(values[0])
        raise error from (RemoteTraceback(values[1]) if values[1] else None)
    if kind == "refused":
        raise ConfigError(*values)
    found = None if values[0] is None else from_plain(values[0])
    if found is not None and (uid, gid) != (None, None) and (own := found.process_options.given):
        raise ConfigError(
            f"the {_NAME} of {spec} sets {' and '.join(own)}, which code that runs as another user may not set",
            "set it on the command line, beside --uid and --gid",
        )
    return found


def _answer_of_process(request: dict[str, object]) -> tuple[bytes, int]:
    """Start a process that answers this request (`answer`). Gives the answer, b"" for none, and the exit code."""
    reader, writer = os.pipe()
    with open(reader, "rb") as answers:
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        command = [sys.executable, *flags, "-c", _BOOTSTRAP]
        with contextlib.closing(os.fdopen(writer, "wb")):
            request["answer"] = writer
            process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(writer,))
        with process:
            try:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                    process.stdin.close()
                received = answers.readline()  # not to its end: processes that the module started may keep it open
            except BaseException:
                process.kill()
                raise
    return received, process.returncode


def answer(request: Mapping[str, Any]) -> NoReturn:
    """Run as that process, to its end."""
    reply: list[object]
    try:
        uid, gid = request["user"]
        if (identity := identity_of(uid, gid)) is not None and (uid, gid) != (None, None):
            become(identity)
        if sys.platform == "linux":  # when the parent is killed, nothing reads the answer
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        sys.argv[:] = request["argv"]
        mark_child_process()
        pkgutil.resolve_name(request["prepare"])(request["setup"])
        with pkgutil.resolve_name(request["rehearsing"])(from_plain(request["known"])):
            found = _read(request["spec"])
        reply = ["config", None if found is None else plain(found)]
    except ConfigError as error:
        reply = ["refused", error.problem, error.remedy]
    except BootError as error:
        reply = ["failed", str(error), "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""]
    os.write(request["answer"], json.dumps(reply).encode() + b"\n")
    flush_output()
    os._exit(0)  # also if the module has started threads


def _read(spec: str) -> Config | None:
    try:
        return config_in(import_module_of(spec))
    except Served:  # the module calls `serve` when it is imported; its globals exist by then
        where = find_module_of(spec)
        modules = [module for module in sys.modules.values() if where and _file(module) == where.origin]
        return config_in(modules[-1]) if modules else None


def _file(module: object) -> object:
    return getattr(module, "__file__", None)
