"""The `Runtime`: what an embedder holds of a running server, and calls.

It only forwards. The tree of nurseries that does the work, and makes its `Runtime`, is in `tree.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    """A running server. `await nursery.start(trio_uwsgi.serve, app, config)` returns it; it is never made by hand.

    `addresses` are those on which it serves HTTP, `https_addresses` HTTPS, and `uwsgi_addresses` uwsgi packets, as
    tuples of `Address`. Where the config says port 0, they have the port that the system chose.
    """

    def __init__(self, tree: NurseryTree) -> None:
        self._tree = tree
        listeners = tree.environment.listeners
        self.addresses = _addresses([listener for listener in listeners if listener.tls is None], "http")
        self.https_addresses = tuple(listener.address for listener in listeners if listener.tls is not None)
        self.uwsgi_addresses = _addresses(listeners, "uwsgi")

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
        """Whether `stop` was called."""
        return self._tree.stopping.is_set()

    def stop(self) -> None:
        """Stop gracefully: accept no more connections; running requests, handlers and waiting signals have the graceful
        shutdown timeout (`Config.mercy`) to end; then `serve` returns.

        May be called again. A cancellation of `serve` stops at once.
        Checkpoint: never.
        """
        self._tree.stopping.set()

    async def wait_stopping(self) -> None:
        """Wait until `stop` is called. Checkpoint: always."""
        await self._tree.stopping.wait()

    # ----- signals, messages and jobs from outside of the members

    def signal(self, signum: int) -> None:
        """Raise a uwsgi signal from outside of the members; see `trio_uwsgi.uwsgi.signal`.

        Raises:
            RegistrationError: `signum` is not 0 to 255.
            SignalQueueFull: the queue of one recipient is full; no recipient was given the signal.
        Checkpoint: never.
        """
        self._tree.master.raise_signal(signum, "the embedder")

    def mule_msg(self, message: bytes | str, mule: int | str | bytes = 0) -> None:
        """Queue a message for a mule from outside of the members; see `trio_uwsgi.uwsgi.mule_msg`.

        Raises:
            TypeError, MuleError, MessageQueueFull: as there.
        Checkpoint: never.
        """
        self._tree.master.post(as_message(message), as_recipient(mule), "the embedder")

    def farm_msg(self, name: str, message: bytes | str) -> None:
        """Queue a message for a farm from outside of the members; see `trio_uwsgi.uwsgi.farm_msg`.

        Raises:
            TypeError, MuleError, MessageQueueFull: as there.
        Checkpoint: never.
        """
        self._tree.master.post(as_message(message), as_farm(name), "the embedder")

    async def spool(self, vars: JobVars | None = None, /, **more: object) -> bytes:
        """Queue a job from outside of the members; see `trio_uwsgi.uwsgi.spool`.

        Raises:
            TypeError, SpoolError, JobTooLarge, NoSpooler: as there.
        Checkpoint: always.
        Cancellation: nothing was queued.
        """
        request = make_request(named_vars(vars, more))
        return await self._tree.member_factory.services.spools.get(request.spooler).submit(request)

    # ----- what it does

    def statistics(self) -> RuntimeStatistics:
        """Counters and states of all members, as they are now. Checkpoint: never."""
        master, factory, dispatcher = self._tree.master, self._tree.member_factory, self._tree.dispatcher
        return RuntimeStatistics(
            signals=master.statistics(),
            messages=master.message_statistics(),
            members=tuple(factory.statistics(slot) for slot in dispatcher.slots()),
            http=factory.http_statistics(dispatcher.slots("worker")),
            alarms=master.alarms.statistics(),
            spools=factory.spool_statistics(dispatcher.slots("spooler")),
        )

    async def dump_stacks(self) -> None:
        """Print the Trio tasks of all processes, and the Python stacks of their threads, to standard error, one process
        after the other.

        Checkpoint: always; it takes half a second for each process of a member.
        Cancellation: processes that were not printed yet are left out.
        uWSGI: `py-tracebacker`.
        """
        dump_here()
        if self._tree.environment.generations is not None:
            await self._tree.environment.generations.dump_stacks()

    # ----- workers and connections

    def take(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Give a connection over any Trio stream to the worker whose turn it is. The stream is closed at its end.

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

        Targets of signals count the configured workers: `workers` and `worker` reach an added worker, `worker5` does
        not, unless five were configured. During a reload this waits until the reload is over. If no more can be added,
        that is logged. Each worker that is a task has threads of its own for WSGI requests, so with two workers two
        requests may run at once.
        Raises:
            NotServing: the runtime is stopping.
        Checkpoint: never.
        uWSGI: `+` of the master's fifo, up to the workers that `cheaper` keeps in reserve.
        """
        self._refuse_when_stopping("Runtime.add_worker()")
        self._tree.workers.add()

    def remove_worker(self) -> None:
        """Stop the worker with the highest number, gracefully, within the graceful shutdown timeout. The last worker is
        never removed; that is logged.

        Its idle clients reconnect to the other workers, and its counts are no longer part of `statistics`. During a
        reload this waits until the reload is over.
        Raises:
            NotServing: the runtime is stopping.
        Checkpoint: never.
        uWSGI: `-` of the master's fifo.
        """
        self._refuse_when_stopping("Runtime.remove_worker()")
        self._tree.workers.remove()

    def _refuse_when_stopping(self, call: str) -> None:
        if self.stopping:
            raise NotServing(call, "workers are no longer added or removed", "while the runtime is stopping")

    @property
    def paused(self) -> bool:
        """Whether accepting connections is paused."""
        return self._tree.master.paused

    def pause(self) -> None:
        """Accept no connections until `resume`. New clients wait in the kernel's queue, which has room for
        `Config.listen` of them; connected clients are served, and signals, mules and spoolers keep running.

        May be called again. Checkpoint: never.
        uWSGI: `p` of the master's fifo, SIGTSTP; workers do nothing at all there.
        """
        self._tree.master.pause(True)

    def resume(self) -> None:
        """Accept connections again. May be called at any time.

        Checkpoint: never.
        """
        self._tree.master.pause(False)

    def reload(self, *, chain: bool = False) -> None:
        """Import the application anew and replace all members by new ones with that code, without downtime.

        Returns at once; the log says how the reload ended. If the new version cannot be imported, or one of its members
        does not start, the running version stays. A call during a reload causes one more reload afterwards.

        The certificates of `Config.https` are read again, too. Broken ones are logged, and those that were read before
        stay in force. Where members are tasks, this is all that a reload does.

        Args:
            chain: replace one worker at a time, as with `Config.chain_reload`.

        Raises:
            NotServing: members are tasks of this process, which imports the application only once, and there are no
                certificates.
        Checkpoint: never.
        """
        if self._tree.rolling_restart is None:
            if self._tree.renew_certificates():
                return
            raise NotServing("Runtime.reload()", *NO_RELOAD)
        self._tree.rolling_restart.reload(chain=chain)


def _addresses(listeners: Sequence[Listener], protocol: str) -> tuple[Address, ...]:
    return tuple(listener.address for listener in listeners if listener.protocol == protocol)
