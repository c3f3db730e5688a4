"""The zygote (a fork server): a process that has imported the application, and forks members.

Theory. The master never forks, because it runs Trio, with threads and state that a fork would copy only partly. It
starts one zygote per generation of code (`_process/zygote_control.py`): a new interpreter without a Trio run, without
threads of this package and without signal handlers that act. The zygote imports the application once, so its children
share that memory and start in milliseconds. Then it waits for two things:

    frames from the master     fork a child, retire, or the end of the stream, when the master has ended
    the end of a child         reap it and send its exact status to the master; adopted processes are only reaped

The zygote is the children's parent, so the kernel keeps a dead child's pid until the zygote reaps it. So the zygote
opens the child's pidfd before it reaps, and sends it to the master. With it the master can wait for and signal that
very process, even when the zygote is dead. The death of a zygote ends none of its children.

When the master has ended, the children see the end of their streams and end too. The zygote kills those that still run
after a grace. (When both have ended, the lifelines kill the children: see `_process/child_main.py`.)

With lazy applications the zygote does not import the application. Its children execute a new interpreter after the
fork, and import the application there, with `application()`. Everything else is the same.

This needs Linux: pidfds, the subreaper, F_SETSIG, memfd and /proc. Elsewhere members cannot be processes: with kqueue's
NOTE_EXIT there would be no exact status after a zygote's death, and no lifelines.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any, NamedTuple, NoReturn

from trio_uwsgi._link.frames import encode as encode_for_member
from trio_uwsgi._process.app_name import AppReference, mark_child_process
from trio_uwsgi._process.child_main import (
    ChildSpec,
    ignore_sigterm,
    run_child,
    set_posix_signals,
    wake_on_child_exit,
)
from trio_uwsgi._process.loader import import_failure
from trio_uwsgi._process.zygote_channel import ANCILLARY, READ_SIZE, close_all, descriptors_of
from trio_uwsgi._process.zygote_frames import (
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Hello,
    Imported,
    ImportFailed,
    Retire,
    Sent,
    ZygoteFrame,
    ZygoteFrameReader,
    encode,
)
from trio_uwsgi._system.forks import fork
from trio_uwsgi._system.interpreter_exit import end_process, flush_output
from trio_uwsgi._system.process_titles import set_title
from trio_uwsgi.errors import BootError

__all__ = ["application", "become_subreaper", "command", "run_zygote", "sys_path_line"]

_PR_SET_CHILD_SUBREAPER = 36
_IMPORT_FAILED = 3

# The first line is sys.path, so that this package is found where the master found it. It is read byte by byte, because
# what follows it is for `run_zygote` or `run_lazy_child`.
_BOOTSTRAP = (
    "import json, sys; fd = int(sys.argv[1]); "
    "sys.path[:] = json.loads(open(fd, 'rb', 0, closefd=False).readline()); "
    "from trio_uwsgi._process.zygote import {start}; {start}(fd)"
)


def command(start: str, descriptor: int) -> list[str]:
    """The command line of an interpreter like this one that calls `start`: `run_zygote` or `run_lazy_child`."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags, "-c", _BOOTSTRAP.format(start=start), str(descriptor)]


def sys_path_line() -> bytes:
    """The line that such an interpreter reads first."""
    return json.dumps([entry for entry in sys.path if isinstance(entry, str)]).encode() + b"\n"


def become_subreaper() -> None:
    """Adopt descendants whose own parent dies, instead of init. It cannot fail on a kernel that has it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


# ----- the application of this process


_hello: Hello | None = None
_application: Any = None


def application() -> Any:
    """The application, in a child: the one that the zygote imported, or, with lazy applications, imported now.

    Raises:
        BootError: it could not be imported.
    """
    global _application
    assert _hello is not None, "this process is neither a zygote nor a child of one"
    if _application is None:
        _application = _import(_hello)
    return _application


def _import(hello: Hello) -> Any:
    try:
        if hello.prepare:
            pkgutil.resolve_name(hello.prepare)(hello.setup)
        return AppReference(*hello.app).load()
    except BootError:
        raise
    except BaseException as error:
        raise import_failure("preparing", error) from error


def _apply_hello(hello: Hello) -> None:
    global _hello
    _hello = hello
    sys.argv[:] = hello.argv
    mark_child_process()
    set_posix_signals()


# ----- the process


def run_zygote(descriptor: int, app: object = None) -> NoReturn:
    """Run as a zygote, on this socket to the master, and in each fork as a child, to the end of the process. With `app`
    there is no import.
    """
    global _application
    _application = app
    zygote = _Zygote(socket.socket(fileno=descriptor))
    spec = zygote.serve() if zygote.import_application() else None
    if spec is not None:
        run_child(spec)
    # The application's atexit functions run in the members, not here.
    flush_output()
    os._exit(0 if _application is not None or (_hello is not None and _hello.lazy) else _IMPORT_FAILED)


class _ChildRecord(NamedTuple):
    """A running child. The zygote keeps its write end of the lifeline until it has reaped the child."""

    ident: int
    pid: int
    pidfd: int
    lifeline: int


class _Zygote:
    def __init__(self, master: socket.socket) -> None:
        master.set_inheritable(False)
        master.setblocking(True)  # also where the application has set a default timeout
        self._master = master
        self._reader = ZygoteFrameReader()
        self._frames: deque[tuple[ZygoteFrame, list[int]]] = deque()
        self._children: dict[int, _ChildRecord] = {}
        self._poll = select.poll()
        self._poll.register(master, select.POLLIN)
        self._sigchld_writer, self._sigchld_reader = socket.socketpair()  # because adopted processes have no pidfd here
        for sock in (self._sigchld_writer, self._sigchld_reader):
            sock.setblocking(False)
        self._retired = False

    # ----- frames

    def _receive(self) -> bool:
        """Read once, into `_frames`. False: the master has ended, or sent invalid data."""
        try:
            data, ancillary, _, _ = self._master.recvmsg(READ_SIZE, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            self._frames += self._reader.feed(data, descriptors_of(ancillary))
        except (OSError, ValueError):
            return False
        return bool(data)

    def _send(self, frame: ZygoteFrame, descriptors: tuple[int, ...] = ()) -> None:
        data = encode(frame)
        with contextlib.suppress(OSError):  # the master has ended; the next read returns that
            sent = socket.send_fds(self._master, [data], descriptors) if descriptors else 0
            self._master.sendall(data[sent:])

    # ----- importing

    def import_application(self) -> bool:
        """Import the application. False: that failed, or the master has ended, so this process is to end."""
        while not self._frames:
            if not self._receive():
                return False
        hello, descriptors = self._frames.popleft()
        assert isinstance(hello, Hello)
        _apply_hello(hello)
        set_title("zygote")
        become_subreaper()  # processes that members leave behind are reaped here, not in the master
        began = time.monotonic()
        described = b""
        try:
            if not hello.lazy:
                app = self._import(hello, descriptors)
                pkgutil.resolve_name(hello.main)  # so that its module is imported once, not in every child
                if hello.describe:
                    described = pkgutil.resolve_name(hello.describe)(app)
        except (Exception, SystemExit) as error:
            self._send(_import_failed(error))
            return False
        set_posix_signals()  # again, because the import may have set others
        ignore_sigterm()
        wake_on_child_exit(self._sigchld_writer.fileno())
        self._poll.register(self._sigchld_reader, select.POLLIN)
        codecs.lookup("idna")  # otherwise each child imports it for its first host name, as in a request to Flask
        gc.collect()
        gc.freeze()  # so that a collection in a child does not write to, and so copy, the shared memory
        threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        tasks = len(os.listdir("/proc/self/task"))
        self._send(Imported(os.getpid(), time.monotonic() - began, tasks, threads, described))
        return True

    def _import(self, hello: Hello, descriptors: list[int]) -> Any:
        if not hello.importing or _application is not None:
            close_all(descriptors)
            return application()
        with pkgutil.resolve_name(hello.importing)(descriptors, hello.setup) as phase:
            app = application()
        for frame in phase.sent:
            self._send(Sent(encode_for_member(frame)))
        return app

    # ----- forking and reaping

    def serve(self) -> ChildSpec | None:
        """Fork and reap. Returns a `ChildSpec` in a child; None in the zygote, at its end."""
        self._reap()  # processes that the import started
        while self._children or not self._retired:
            for fd, _ in self._poll.poll():
                if fd != self._master.fileno():
                    continue
                if not self._receive():
                    self._end_children()
                    return None
            self._reap()
            while self._frames:
                frame, descriptors = self._frames.popleft()
                if isinstance(frame, Fork):
                    spec = self._fork(frame, descriptors)
                    if spec is not None:
                        return spec
                self._retired = self._retired or isinstance(frame, Retire)
        return None

    def _fork(self, frame: Fork, descriptors: list[int]) -> ChildSpec | None:
        """Returns None in the zygote, and the `ChildSpec` in the child."""
        try:
            lifeline, held = os.pipe()
        except OSError as error:
            self._refuse(frame, descriptors, "pipe", error)
            return None
        descriptors.append(lifeline)
        flush_output()
        try:
            pid = fork()
        except OSError as error:
            self._refuse(frame, [*descriptors, held], "fork", error)
            return None
        if pid == 0:
            self._close_inherited()
            os.close(held)
            assert _hello is not None
            spec = ChildSpec(frame.name, _hello.main, descriptors[:-1], frame.setup, lifeline)
            return _exec_interpreter(_hello, spec) if _hello.lazy else spec
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # no file descriptor left: a child that cannot be watched is killed
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._refuse(frame, [*descriptors, held], "pidfd_open", error)
            return None
        # Copies of the child's descriptors here would hide from their other ends that the child has closed them.
        close_all(descriptors)
        self._children[pid] = _ChildRecord(frame.ident, pid, pidfd, held)
        self._poll.register(pidfd, select.POLLIN)
        self._send(Forked(frame.ident, pid), (pidfd, held))
        return None

    def _refuse(self, frame: Fork, descriptors: list[int], call: str, error: OSError) -> None:
        close_all(descriptors)
        self._send(ForkFailed(frame.ident, f"the system refused {call}: {error}"))

    def _close_inherited(self) -> None:
        """In a child: close the zygote's descriptors; copies of them would hide that the zygote has closed them."""
        signal.set_wakeup_fd(-1)
        for sock in (self._master, self._sigchld_writer, self._sigchld_reader):
            sock.close()
        for record in self._children.values():
            close_all([record.pidfd, record.lifeline])
        for _, descriptors in self._frames:
            close_all(descriptors)
        close_all(self._reader.unclaimed)

    def _reap(self) -> None:
        """Reap all processes that have ended. Of adopted ones the status is dropped."""
        with contextlib.suppress(BlockingIOError):
            while self._sigchld_reader.recv(READ_SIZE):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            record = self._children.pop(pid, None)
            if record is not None:
                self._poll.unregister(record.pidfd)
                close_all([record.pidfd, record.lifeline])
                self._send(Exited(record.ident, os.waitstatus_to_exitcode(status)))

    def _end_children(self) -> None:
        """The master has ended: give the children a grace, and kill those that still run."""
        self._poll.unregister(self._master)
        assert _hello is not None
        deadline = time.monotonic() + _hello.grace
        while self._children and (left := deadline - time.monotonic()) > 0:
            self._poll.poll(left * 1000)
            self._reap()
        for record in self._children.values():
            os.kill(record.pid, signal.SIGKILL)  # its pid cannot be reused before it is reaped, below
        while self._children:
            self._poll.poll()
            self._reap()


def _import_failed(error: BaseException) -> ImportFailed:
    """The frame for a failed import; the cause of a BootError is what the application's code raised."""
    cause = error.__cause__ if isinstance(error, BootError) else error
    text = "" if cause is None else "".join(traceback.format_exception(cause))
    reason = str(error) if isinstance(error, BootError) else f"preparing failed: {type(error).__name__}: {error}"
    return ImportFailed(reason, text)


# ----- lazy applications


def _exec_interpreter(hello: Hello, spec: ChildSpec) -> NoReturn:
    """In a child: execute a new interpreter, which reads the `ChildSpec` from a file in memory."""
    try:
        memory = os.memfd_create("child spec")
        fork = Fork(0, spec.name, [spec.setup, spec.descriptors, spec.lifeline], 0)
        with open(memory, "wb", closefd=False) as file:
            file.write(sys_path_line() + encode(hello) + encode(fork))
        os.lseek(memory, 0, os.SEEK_SET)
        for descriptor in (memory, spec.lifeline, *spec.descriptors):
            os.set_inheritable(descriptor, True)
        # Until this package's handlers are set, Python's own handler of SIGINT must not run.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.execv(sys.executable, command("run_lazy_child", memory))
    except OSError:
        traceback.print_exc()
    finally:
        end_process(1)


def run_lazy_child(memory: int) -> NoReturn:
    """Run as a child of a lazy zygote, in its new interpreter, to the end of the process."""
    with open(memory, "rb") as file:
        frames = list(ZygoteFrameReader().feed(file.read(), []))
    (hello, _), (fork, _) = frames
    assert isinstance(hello, Hello)
    assert isinstance(fork, Fork)
    setup, descriptors, lifeline = fork.setup
    for descriptor in (lifeline, *descriptors):
        os.set_inheritable(descriptor, False)
    _apply_hello(hello)
    run_child(ChildSpec(fork.name, hello.main, descriptors, setup, lifeline))
