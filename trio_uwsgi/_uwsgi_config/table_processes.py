"""uWSGI's options of processes, reloads, limits and the process of the server. Pure."""

from __future__ import annotations

from trio_uwsgi._uwsgi_config.rows import Outcome, Row, ignored, judged, mapped, refused, supported

__all__ = ["ROWS"]

_SYSTEMD = "let systemd do it, in the unit of the server"

# uWSGI's points, and ours.
_HOOK_POINTS = {
    "asap": ("asap", ""),
    "pre-jail": ("as-root", "there is no jail"),
    "in-jail": ("as-root", "there is no jail"),
    "post-jail": ("as-root", "there is no jail"),
    "as-root": ("as-root", ""),
    "as-user": ("as-user", ""),
    "pre-app": ("pre-app", ""),
    "post-app": ("post-app", "when the members serve"),
    "as-user-atexit": ("as-user-atexit", "not in a reload"),
}
_ONLY_HOOKS = {
    "master-start": ("master-start", ""),
    "accepting1": ("master-start", "once, when the members serve"),
    "accepting1-once": ("master-start", "when the members serve"),
}


def _hook(name: str, action: str, point: str, note: str) -> Row:
    def judge(value: str) -> Outcome:
        return Outcome("mapped", ("--hook", f"{point} {action}{value}"), note)

    return judged(name, f"--hook '{point} {action or 'ACTION'}{'COMMAND' if action else ''}'", note, judge)


def _hook_rows() -> list[Row]:
    rows = [_hook(f"hook-{name}", "", *ours) for name, ours in {**_HOOK_POINTS, **_ONLY_HOOKS}.items()]
    return rows + [_hook(f"exec-{name}", "exec:", *ours) for name, ours in _HOOK_POINTS.items()]


ROWS: tuple[Row, ...] = (
    mapped("processes workers", "--processes N", "one process each"),
    supported("threads", "N"),
    ignored("master", "there is always a master"),
    ignored("enable-threads", "threads are always enabled"),
    ignored("thread-stacksize threads-stacksize thread-stack-size threads-stack-size", "Python chooses"),
    ignored("no-threads-wait", "threads have the mercy"),
    mapped("lazy-apps lazy", "--lazy-apps"),
    ignored("need-app", "nothing is served without an application"),
    ignored("strict", "unknown options are always refused"),
    ignored("vacuum", "socket files, the pidfile and the fifo are always removed at the end"),
    ignored("die-on-term exit-on-reload", "SIGTERM always stops, and SIGHUP reloads"),
    ignored("no-orphans", "members never outlive the master"),
    ignored("single-interpreter", "there is one interpreter in each process"),
    ignored("honour-stdin skip-zero", "the standard input is nobody's"),
    ignored("skip-atexit skip-atexit-teardown", "members end within the mercy"),
    ignored("use-abort", "a fault of the interpreter ends with a traceback anyway"),
    ignored(
        "cheaper cheaper-initial cheaper-algo cheaper-step cheaper-overload cheaper-rss-limit-soft "
        "cheaper-rss-limit-hard cheaper-busyness-max cheaper-busyness-min cheaper-busyness-multiplier "
        "cheaper-busyness-penalty cheaper-busyness-verbose cheaper-busyness-backlog-alert "
        "cheaper-busyness-backlog-multiplier cheaper-busyness-backlog-step cheaper-busyness-backlog-nonzero cheap "
        "idle",
        "all workers always run; SIGTTIN and SIGTTOU add and remove one, --mules 1-4 autoscales mules",
    ),
    refused("die-on-idle", "use socket activation of systemd, and let it stop the server"),
    refused("async ugreen greenlet", "write threads = N; ASGI applications serve many requests at a time on Trio"),
    refused(
        "gevent gevent-monkey-patch gevent-early-monkey-patch gevent-wait-for-hub asyncio loop",
        "write threads = N, and remove the patching; ASGI applications run on Trio",
    ),
    # time limits
    supported("harakiri", "SEC"),
    ignored("harakiri-verbose", "the log always names the line of code"),
    ignored(
        "harakiri-graceful-timeout harakiri-graceful-signal harakiri-queue-threshold harakiri-no-arh no-harakiri-arh "
        "no-harakiri-after-req-hook",
        "a time limit cancels one request first, and kills a process only if its code blocks",
    ),
    supported("mule-harakiri", "SEC"),
    mapped("worker-reload-mercy reload-mercy mule-reload-mercy", "--mercy SEC", "for all members"),
    # recycling
    supported("max-requests", "N"),
    supported("max-requests-delta", "N"),
    supported("max-worker-lifetime", "SEC"),
    ignored("max-worker-lifetime-delta", "workers are replaced one at a time"),
    ignored("min-worker-lifetime", "a worker that ends soon is replaced with growing pauses"),
    mapped("reload-on-rss evil-reload-on-rss", "--reload-on-rss MB"),
    refused("reload-on-as evil-reload-on-as", "write reload-on-rss, with the resident memory"),
    refused("reload-on-fd brutal-reload-on-fd", "repair the leak, or write max-requests"),
    ignored("mem-collector-freq memory-report", "memory is measured four times a second"),
    refused("reload-on-exception reload-on-exception-type reload-on-exception-value", "let the application end"),
    ignored("exception-handler", "exceptions are logged with their traceback"),
    # reloads and commands
    supported("touch-reload", "FILE"),
    mapped("touch-workers-reload", "--touch-reload FILE", "the whole application is imported again"),
    mapped("touch-mules-reload touch-spoolers-reload", "--touch-reload FILE", "all members are replaced"),
    mapped("touch-chain-reload", "--chain-reload --touch-reload FILE"),
    refused("fs-reload fs-brutal-reload", "write touch-reload with a file, or --reload for development"),
    refused("touch-exec touch-signal fs-signal hook-touch", "watch the file in a mule"),
    ignored("propagate-touch", "a reload is for all members"),
    supported("master-fifo", "FILE"),
    # hooks
    *_hook_rows(),
    refused("hook-post-fork hook-as-mule hook-accepting hook-accepting-once", "write a function with @uwsgi.post_fork"),
    refused("hook-as-gateway", "there are no gateways"),
    # the process of the server
    supported("uid", "USER"),
    supported("gid", "GROUP"),
    ignored("no-initgroups add-gid", "the server has the groups of its user"),
    refused("immediate-uid immediate-gid", "write uid and gid"),
    supported("chdir chdir2 force-cwd", "DIR"),
    supported("umask", "MODE"),
    supported("env", "NAME=VALUE"),
    refused("unenv envdir early-envdir", "write env, or EnvironmentFile= in the unit of systemd"),
    supported("pidfile pidfile2 safe-pidfile safe-pidfile2", "FILE"),
    refused("daemonize daemonize2", "write logto, and let systemd or another supervisor run the server"),
    refused("chroot pivot-root pivot_root", "write RootDirectory= in the unit of systemd"),
    refused("cap drop-capabilities jailed refork re-fork unshare unshare2 setns cgroup cgroup-opt", _SYSTEMD),
    refused("namespace ns namespace-net ns-net namespace-keep-mount", _SYSTEMD),
    refused("limit-as limit-nproc", "write LimitAS= and LimitNPROC= in the unit of systemd"),
    ignored("max-fd", "set the limit with `ulimit -n` or systemd's LimitNOFILE="),
    ignored("cpu-affinity prio", "write CPUAffinity= and Nice= in the unit of systemd"),
    ignored("ksm never-swap pcre-jit", "it makes no difference for Python"),
    ignored(
        "auto-procname procname procname-prefix procname-prefix-spaced procname-append procname-master",
        "pip install 'trio-uwsgi[procname]' names the processes",
    ),
    ignored("binary-path py-sys-executable py-executable py-programname py-program-name", "it is Python's own"),
    refused("flock flock-wait flock2 flock-wait2", "a pidfile of a running server is refused"),
    refused("master-as-root drop-after-init drop-after-apps", "write uid and gid, for all processes"),
    refused("emperor", "run one server for each file, as units of systemd: trio-uwsgi check has the template"),
    ignored("heartbeat vassal-sos vassal-sos-backlog emperor-required-heartbeat", "the supervisor watches the server"),
    refused("stop reload pause suspend resume", "write it alone, with the pidfile of the server: it is a command"),
    ignored("no-server", "trio-uwsgi check reads the file only"),
    ignored("show-config dump-options", "trio-uwsgi check shows every option"),
    ignored("print iprint", "a message of the configuration itself"),
    ignored("autoload plugins-dir plugin-dir plugins-list plugin-list", "there are no plugins to load"),
    ignored("forkbomb-delay check-interval", "a member that ends soon is replaced with growing pauses"),
)
