"""How the package is built: where there is a C compiler, its hot path is compiled, by mypyc or from C.

pip imports this file as the build backend, which says what a build needs, so mypyc is fetched only for a wheel that
will be compiled. setuptools runs the same file as its script. `[tool.trio-uwsgi]` in pyproject.toml lists what is
compiled. An editable install is never compiled: nobody should debug a stale binary.

TRIO_UWSGI_PURE=1 in the environment leaves the compiling out.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension, build_meta, setup
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

MYPYC = "mypy>=2.4,<3"
# Speed of the installation: what these functions do is mostly to call others.
OPTIMIZATION = "1"
WITHOUT = "Set TRIO_UWSGI_PURE=1 to install trio_uwsgi without compiling it."
FAILURES = (BaseError, CompileError, LinkError, OSError)

# The settings of a build_meta hook: whatever the front end was given.
Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What a wheel needs for its build, beside setuptools."""
    reason = why_pure()
    if reason:
        print(f"trio_uwsgi will not be compiled: {reason}.", file=sys.stderr)
    return [*build_meta.get_requires_for_build_wheel(config_settings), *([] if reason else [MYPYC])]


@cache
def why_pure() -> str:
    """Why this build is not compiled; "" if it is."""
    if os.environ.get("TRIO_UWSGI_PURE", "0") not in ("", "0"):
        return "TRIO_UWSGI_PURE is set"
    if sys.implementation.name != "cpython" or sys.platform not in ("linux", "darwin"):
        return f"mypyc is used with CPython on Linux and macOS, and this is {sys.implementation.name} on {sys.platform}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python has no GIL"
    return "" if can_compile() else "there is no C compiler, or Python's headers are missing"


def can_compile() -> bool:
    """Does a C compiler find Python's headers?"""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n")
        command = build_ext(Distribution({"name": "probe", "ext_modules": [Extension("probe", [str(source)])]}))
        command.build_temp = command.build_lib = folder
        command.ensure_finalized()
        try:
            with _silence():
                command.run()
        except FAILURES:
            return False
    return True


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard what compilers print: their complaint is an answer here."""
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(1), os.dup(2)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def listed(kind: str) -> list[str]:
    """The paths of the modules that are `compiled`, or `written-in-c`."""
    with open("pyproject.toml", "rb") as file:
        paths: list[str] = tomllib.load(file)["tool"]["trio-uwsgi"][kind]
    return paths


def extensions(folder: str) -> list[Extension]:
    """Let mypyc translate the modules to C, in this folder."""
    from mypyc.build import mypycify

    # The types of other projects are not needed: what comes from them is an object here in any case.
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={os.devnull}"]
    try:
        made = mypycify(
            [*options, *listed("compiled")],
            opt_level=OPTIMIZATION,
            debug_level="0",
            multi_file=True,
            target_dir=folder,
            group_name="trio_uwsgi._compiled",  # the library of all of them is in the package
        )
    except SystemExit as failure:
        raise SystemExit(f"mypyc cannot compile trio_uwsgi: {failure}. {WITHOUT}") from failure
    for extension in made:
        extension.include_dirs.append(os.path.join(folder, "trio_uwsgi"))  # where mypyc writes headers of that library
    return [*made, *extensions_in_c()]


def extensions_in_c() -> list[Extension]:
    """The modules that are written in C."""
    sources = listed("written-in-c")
    return [Extension(path[:-2].replace("/", "."), [path], extra_compile_args=["-O2"]) for path in sources]


class BuildExtensions(build_ext):
    """Compiles several C files at a time."""

    def build_extensions(self) -> None:
        compile_some = self.compiler.compile

        def compile_all(sources: Sequence[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: compile_some([source], **options), sources)
                return [path for paths in made for path in paths]

        self.compiler.compile = compile_all
        try:
            super().build_extensions()
        except FAILURES as error:
            raise SystemExit(f"trio_uwsgi cannot be compiled: {error}. {WITHOUT}") from error


if __name__ == "__main__":
    # An editable install, and commands that only ask for metadata, have another name. A folder of its own for each
    # build: what an earlier one has compiled, and is not compiled now, must not get into the wheel.
    with tempfile.TemporaryDirectory() as build_folder:
        builds = "bdist_wheel" in sys.argv and not why_pure()
        # An archive of the sources has those in C because it lists these modules.
        written = extensions_in_c() if "sdist" in sys.argv else []
        setup(
            ext_modules=extensions(build_folder) if builds else written,
            cmdclass={"build_ext": BuildExtensions},
            options={"build": {"build_base": build_folder}},
        )
