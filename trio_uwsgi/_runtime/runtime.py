"""The `Runtime`: what an embedder holds of a running server, and calls.

It only forwards. The tree of nurseries that does the work, and makes its `Runtime`, is in `tree.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trio_uwsgi._link.frames import Pause
from trio_uwsgi._runtime.message_arguments import as_farm, as_message, as_recipient
from trio_uwsgi._runtime.rolling_restart import NO_RELOAD
from trio_uwsgi._runtime.statistics import RuntimeStatistics
from trio_uwsgi._spool.request import JobVars, make_request, named_vars
from trio_uwsgi._units.stack_dumps import dump_here
from trio_uwsgi.errors import NotServing

if TYPE_CHECKING:
    import trio

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi.config import Address

__all__ = ["Runtime"]


class Runtime:
    """A running server that is embedded in another Trio program.

    `await nursery.start(trio_uwsgi.serve, app, config)` returns it. Any task of the program may call its methods.

    Attributes:
        addresses: the addresses of HTTP, as a tuple of `Address`. Where the config has port 0, this has the port that
            the system chose.
        https_addresses: the addresses of HTTPS, in the same form.
        uwsgi_addresses: the addresses of the uwsgi protocol, in the same form.
        stats_addresses: the addresses of the stats server, in the same form.
    """

    def __init__(self, tree: NurseryTree) -> None:
        self._tree = tree
        listeners = tree.environment.listeners
        self.addresses = _addresses([listener for listener in listeners if listener.tls is None], "http")
        self.https_addresses = tuple(listener.address for listener in listeners if listener.tls is not None)
        self.uwsgi_addresses = _addresses(listeners, "uwsgi")
        self.stats_addresses = tuple(listener.address for listener in tree.environment.stats)

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self._all_addresses()) or "no address"
        stopping = ", stopping" if self.stopping else ""
        slots = ", ".join(str(slot) for slot in self._tree.dispatcher.slots())
        return f"<Runtime on {where}{stopping}: {slots}>"

    def _all_addresses(self) -> tuple[Address, ...]:
        return self.addresses + self.https_addresses + self.uwsgi_addresses

    # ----- stopping

    @property
    def stopping(self) -> bool:
        """Whether the runtime is stopping, because `stop` was called. Code in members asks `uwsgi.stopping`."""
        return self._tree.stopping.is_set()

    def stop(self) -> None:
        """Stop gracefully.

        The runtime accepts no more connections. Running requests and handlers, and signals that wait, have the graceful
        shutdown timeout (`Config.mercy`) to finish. Then `serve` returns. A second call has no effect; to stop
        immediately, cancel `serve`.

        All of that begins `Config.drain_delay` seconds after the call.

        Checkpoint: never.
        uWSGI: SIGQUIT stops gracefully there, or `q` in the master's fifo.
        """
        self._tree.stopping.set()

    async def wait_stopping(self) -> None:
        """Wait until `stop` is called.

        Checkpoint: always.
        Cancellation: nothing has changed.
        """
        await self._tree.stopping.wait()

    # ----- signals, messages and jobs from outside of the members

    def signal(self, signum: int) -> None:
        """Raise a uwsgi signal from outside of the members; otherwise as `uwsgi.signal`.

        Args:
            signum: 0 to 255.
        Raises:
            RegistrationError: `signum` is not 0 to 255.
            SignalQueueFull: the queue of a recipient is full; no recipient gets the signal.
        Checkpoint: never.
        """
        self._tree.master.raise_signal(signum, "the embedder")

    def mule_msg(self, message: bytes | str, mule: int | str | bytes = 0) -> None:
        """Queue a message for a mule from outside of the members; otherwise as `uwsgi.mule_msg`.

        Args:
            message: as in `uwsgi.mule_msg`.
            mule: as in `uwsgi.mule_msg`.
        Raises:
            TypeError, MuleError, MessageQueueFull: as `uwsgi.mule_msg`.
        Checkpoint: never.
        """
        self._tree.master.post(as_message(message), as_recipient(mule), "the embedder")

    def farm_msg(self, name: str, message: bytes | str) -> None:
        """Queue a message for a farm from outside of the members; otherwise as `uwsgi.farm_msg`.

        Args:
            name: as in `uwsgi.farm_msg`.
            message: as in `uwsgi.farm_msg`.
        Raises:
            TypeError, MuleError, MessageQueueFull: as `uwsgi.farm_msg`.
        Checkpoint: never.
        """
        self._tree.master.post(as_message(message), as_farm(name), "the embedder")

    async def spool(self, vars: JobVars | None = None, /, **more: object) -> bytes:
        """Queue a job from outside of the members; otherwise as `uwsgi.spool`.

        Args:
            vars: as in `uwsgi.spool`.
            more: as in `uwsgi.spool`.
        Returns:
            The path of the job's file, as bytes.
        Raises:
            TypeError, SpoolError, JobTooLarge, NoSpooler: as `uwsgi.spool`.
        Checkpoint: always.
        Cancellation: nothing was queued.
        """
        request = make_request(named_vars(vars, more))
        return await self._tree.member_factory.services.spools.get(request.spooler).submit(request)

    # ----- what it does

    def statistics(self) -> RuntimeStatistics:
        """Take a snapshot of the counters and states of all members.

        Checkpoint: never.
        uWSGI: its stats server.
        """
        master, factory, dispatcher = self._tree.master, self._tree.member_factory, self._tree.dispatcher
        return RuntimeStatistics(
            signals=master.statistics(),
            messages=master.message_statistics(),
            members=tuple(factory.statistics(slot) for slot in dispatcher.slots()),
            http=factory.http_statistics(dispatcher.slots("worker")),
            workers=factory.worker_statistics(),
            alarms=master.alarms.statistics(),
            spools=factory.spool_statistics(dispatcher.slots("spooler")),
            queue=factory.services.queue.statistics(),
            metrics=factory.services.metrics.statistics(),
        )

    async def dump_stacks(self) -> None:
        """Print the Trio tasks and the Python stacks of all threads to standard error, for one process after the other.

        Checkpoint: always. It takes half a second for each process of a member.
        Cancellation: processes that were not printed yet are left out.
        uWSGI: its option `py-tracebacker`.
        """
        dump_here()
        if self._tree.environment.generations is not None:
            await self._tree.environment.generations.dump_stacks()

    # ----- workers and connections

    def take(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Serve one connection over a Trio stream that the embedding program has accepted. A worker closes the stream.

        Workers get connections round-robin.

        Args:
            stream: the connection, ready to be read.
            peer: its two ends, scheme and protocol.
        Raises:
            LookupError: no worker is ready.
            NotServing: workers are processes.
        Checkpoint: never.
        """
        if self._tree.environment.shared is not None:
            raise NotServing(
                "Runtime.take()", "they accept connections from their listeners only", "where workers are processes"
            )
        self._tree.member_factory.workers[self._tree.lend_worker()].take(stream, peer)

    def add_worker(self) -> None:
        """Start one more worker; up to 16 more than were configured. It serves as soon as it is ready.

        This returns at once. During a reload the worker is added when the reload is over. If no more can be added, the
        log says so. The signal targets `"workers"` and `"worker"` include an added worker; its number, as in
        `"worker5"`, is no target. Each worker that is a task has its own threads for WSGI requests, so with two workers
        two requests may run at once.

        Raises:
            NotServing: the runtime is stopping.
        Checkpoint: never.
        uWSGI: `+` in the master's fifo, up to the workers that the option `cheaper` keeps in reserve.
        """
        self._refuse_when_stopping("Runtime.add_worker()")
        self._tree.workers.add()

    def remove_worker(self) -> None:
        """Stop the worker with the highest number gracefully, within the graceful shutdown timeout (`Config.mercy`).

        This returns at once. During a reload the worker is removed when the reload is over. The last worker is never
        removed; the log says so. Idle clients of the worker reconnect to the other workers, and `statistics` no longer
        counts it.

        Raises:
            NotServing: the runtime is stopping.
        Checkpoint: never.
        uWSGI: `-` in the master's fifo.
        """
        self._refuse_when_stopping("Runtime.remove_worker()")
        self._tree.workers.remove()

    def _refuse_when_stopping(self, call: str) -> None:
        if self.stopping:
            raise NotServing(call, "workers are no longer added or removed", "while the runtime is stopping")

    @property
    def paused(self) -> bool:
        """Whether accepting connections is paused, by `pause`."""
        return self._tree.master.told.get(Pause) == Pause(True)

    def pause(self) -> None:
        """Pause accepting connections until `resume` is called.

        New clients wait in the kernel's queue, which has room for `Config.listen` of them. Connected clients are still
        served, and signals, mules and spoolers keep running. A second call has no effect.

        Checkpoint: never.
        uWSGI: `p` in the master's fifo, or SIGTSTP; there workers do nothing at all while they are paused.
        """
        self._tree.master.tell_all(Pause(True))

    def resume(self) -> None:
        """Resume accepting connections. Without a `pause` before, this has no effect.

        Checkpoint: never.
        """
        self._tree.master.tell_all(Pause(False))

    def reload(self, *, chain: bool = False) -> None:
        """Reload without downtime: import the application anew, and replace all members by members with the new code.

        This returns at once; the log says how the reload ended. If the new version cannot be imported, or one of its
        members does not start, the running version stays. A call during a reload starts another reload afterwards.

        The certificates of `Config.https` are read again, too. Broken ones are logged, and those that were read before
        stay in force. Where members are tasks, this is all that a reload does.

        Args:
            chain: replace one worker at a time, as with `Config.chain_reload`.
        Raises:
            NotServing: members are tasks of this process, which imports the application only once, and there are no
                certificates.
        Checkpoint: never.
        uWSGI: `r` in the master's fifo, or SIGHUP; `c` for one worker at a time.
        """
        if self._tree.rolling_restart is None:
            if self._tree.renew_certificates():
                return
            raise NotServing("Runtime.reload()", *NO_RELOAD)
        self._tree.rolling_restart.reload(chain=chain)


def _addresses(listeners: Sequence[Listener], protocol: str) -> tuple[Address, ...]:
    return tuple(listener.address for listener in listeners if listener.protocol == protocol)
