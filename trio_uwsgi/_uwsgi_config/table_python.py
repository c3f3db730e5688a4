"""uWSGI's options of Python applications, background work, caches, statistics and the log. Pure."""

from __future__ import annotations

import re

from trio_uwsgi._uwsgi_config.rows import Outcome, Row, ignored, judged, mapped, refused, supported

__all__ = ["ROWS"]

_APP = "the application is the first argument"
_LOGGING = "configure Python's logging in the application"
_LOG_FILE = "the log goes to standard error, or to the file of logto"
# Keys of `cache2` without which nothing is lost.
_CACHE_UNNEEDED = re.compile(
    "blocks|bitmap|hash|hashsize|hash_size|lazy|lazy_expire|sweep_on_full|ignore_full|lastmod|store_delete"
)
_BUILT_IN = re.compile(
    r"python\w*|http|corerouter|cache|logfile|logsocket|rsyslog|syslog|rpc|signal|spooler|ping|router_\w+|cheaper_busyness"
    r"|carbon|stats_pusher_\w+|transformation_\w+|alarm_curl|zergpool|symcall"
)


def _plugins(value: str) -> Outcome:
    others = [name for name in re.split(r"[,\s]+", value) if name and not _BUILT_IN.fullmatch(name.lower())]
    if others:
        return Outcome("refused", (), f"there is no {' and no '.join(others)} here, Python only")
    return Outcome("ignored", (), "Python, HTTP and the cache are built in")


def _cache2(value: str) -> Outcome:
    pairs = [pair.strip() for pair in value.split(",")]
    kept = [pair for pair in pairs if not _CACHE_UNNEEDED.fullmatch(pair.partition("=")[0].strip())]
    left = [pair.partition("=")[0] for pair in pairs if pair not in kept]
    note = f"without {', '.join(left)}, which memory and expiry here do not need" if left else ""
    return Outcome("supported", ("--cache2", ",".join(kept)), note)


def _mule(value: str) -> Outcome:
    if value in ("", "true"):
        return Outcome("mapped", (), "it counts as one more of --mules")
    return Outcome("supported", ("--mule", value), "it runs in the first mules, in this order")


def _autoreload(value: str) -> Outcome:
    if value in ("0", "false"):
        return Outcome("ignored", (), "it is switched off")
    return Outcome("mapped", ("--reload",), "changes are noticed at once; it needs the extra trio-uwsgi[reload]")


def _control_daemon(command: str) -> str:
    written = re.sub(r"([\\,])", r"\\\1", command)
    return f"cmd={written},control=1"


def _smart_daemon(value: str) -> Outcome:
    return Outcome("supported", ("--smart-attach-daemon", value))


def _unique_cron(value: str) -> str:
    """In keys, as uWSGI's `cron2`. A wrong value stays as it is, and is told where it is read."""
    minute, hour, day, month, week, command = [*value.split(None, 5), *[""] * 6][:6]
    keys = f"minute={minute},hour={hour},day={day},month={month},week={week},unique=1"
    return f"{keys} {command}" if command else value


def _farm(value: str) -> Outcome:
    return Outcome("supported", ("--farm", value))


ROWS: tuple[Row, ...] = (
    # the application
    judged("module wsgi", "APP", _APP, lambda value: Outcome("mapped", (), _APP)),
    judged("wsgi-file file", "APP", _APP, lambda value: Outcome("mapped", (), _APP)),
    judged("callable", "APP", "after the module: module:callable", lambda value: Outcome("mapped", (), _APP)),
    judged("mount", "--mount /PREFIX=APP", "", lambda value: Outcome("mapped", (), "")),
    ignored("manage-script-name", "--mount always does so"),
    ignored("ignore-script-name no-default-app", "a path below no prefix gets the first application"),
    supported("pythonpath python-path pp", "DIR"),
    mapped("home virtualenv venv pyhome", "--virtualenv DIR", "its Python has the same version"),
    supported("pyargv", "ARGUMENTS"),
    mapped("import pyimport py-import python-import", "--import MODULE"),
    mapped(
        "shared-import shared-pyimport shared-py-import shared-python-import spooler-import spooler-pyimport "
        "spooler-py-import spooler-python-import",
        "--import MODULE",
        "in all members",
    ),
    judged("py-autoreload py-auto-reload python-autoreload python-auto-reload", "--reload", "", _autoreload),
    ignored("py-auto-reload-ignore", "files of the standard library and of environments are not watched"),
    judged("plugins plugin need-plugins need-plugin", "", "Python is built in; others are refused", _plugins),
    mapped("python py pyrun", "--python SCRIPT"),
    refused("pyshell pyshell-oneshot eval", "run it with python"),
    refused("paste ini-paste ini-paste-logged pecan web3 pump wsgi-lite", "name a module that makes the application"),
    refused("pymodule-alias post-pymodule-alias", "set sys.modules in the application"),
    ignored("reload-os-env no-site optimize py-call-osafterfork py-call-uwsgi-fork-hooks", "Python is a process here"),
    ignored("py-tracebacker", "SIGUSR2 prints the stacks of all members"),
    ignored(
        "wsgi-env-behaviour wsgi-env-behavior wsgi-strict wsgi-disable-file-wrapper start_response-nodelay python-raw",
        "WSGI is PEP 3333",
    ),
    refused("vhost vhost-host", "run one server for each host, or mount applications"),
    refused("python-worker-override worker-exec worker-exec2", "run that program as a service of its own"),
    supported("catch-exceptions"),
    # mules, spooler, signals
    supported("mules", "N"),
    judged("mule", "--mule SCRIPT", "without a value, it counts as one more of --mules", _mule),
    judged("farm", "--farm NAME:N,...", "", _farm),
    ignored("mule-msg-size signal-bufsize signals-bufsize", "queues are counted in messages: --message-queue"),
    judged("cron cron2", "--cron 'M H D MO W COMMAND'", "", lambda value: Outcome("supported", ("--cron", value))),
    mapped("unique-cron", "--cron KEY=VALUE,...", "with unique=1", convert=_unique_cron),
    supported("cron-harakiri", "SEC"),
    refused(
        "legion-cron cron-legion unique-legion-cron unique-cron-legion legion-attach-daemon legion-smart-attach-daemon "
        "legion-smart-attach-daemon2",
        "there are no legions; write cron or attach-daemon on one machine",
    ),
    judged("timer signal-timer", "--timer 'SIGNUM SEC'", "", lambda value: Outcome("supported", ("--timer", value))),
    mapped("rbtimer signal-rbtimer", "--timer VALUE", "it does not drift"),
    refused("signal", "call uwsgi.remote_signal in an application"),
    supported("spooler external-spooler", "DIR"),
    refused("spooler-external", "write spooler: directories may be shared, each job is run once"),
    supported("spooler-processes", "N"),
    supported("spooler-frequency spooler-freq", "SEC"),
    supported("spooler-harakiri", "SEC"),
    supported("spooler-cheap"),
    ignored("spooler-ordered", "jobs with a priority always come first"),
    ignored("spooler-quiet spooler-max-tasks spooler-chdir", "spoolers live as long as the server, in its directory"),
    supported("queue", "N"),
    supported("queue-blocksize", "BYTES"),
    supported("queue-store", "FILE"),
    supported("queue-store-sync", "SEC"),
    supported("sharedarea", "PAGES"),
    supported("locks", "N"),
    ignored("lock-engine ftok persistent-ipcsem", "locks are the master's"),
    ignored("rpc-max", "there is no limit"),
    supported("attach-daemon", "COMMAND"),
    supported("attach-daemon2", "KEY=VALUE,..."),
    judged("smart-attach-daemon smart-attach-daemon2", "--smart-attach-daemon 'PIDFILE COMMAND'", "", _smart_daemon),
    mapped("attach-control-daemon", "--attach-daemon2 KEY=VALUE,...", convert=_control_daemon),
    # caches
    judged("cache2", "--cache2 KEY=VALUE,...", "", _cache2),
    mapped("cache", "--cache2 CACHE", "the cache is called default", convert=lambda n: f"name=default,items={n}"),
    ignored("cache-no-expire cache-expire-freq cache-report-freed-items", "expired items are never returned"),
    refused("cache-blocksize cache-store cache-store-sync", "write cache2 = name=default,items=N,..."),
    refused("cache-udp-server cache-udp-node cache-sync", "caches are not replicated; call the other node's"),
    refused("add-cache-item load-file-in-cache load-file-in-cache-gzip", "let the application fill the cache"),
    # alarms
    supported("alarm", "ALARM"),
    supported("alarm-log log-alarm", "ALARM"),
    supported("alarm-freq", "SEC"),
    ignored("alarm-cheap alarm-msg-size", "the master raises alarms"),
    refused("alarm-backlog backlog-alarm lq-alarm alarm-lq alarm-listen-queue", "watch the statistics"),
    refused("not-log-alarm not-alarm-log alarm-fd alarm-segfault segfault-alarm", "write a narrower alarm-log"),
    # statistics
    supported("stats stats-server", "ADDR"),
    supported("stats-http"),
    ignored("stats-minified stats-min stats-no-cores stats-no-metrics", "the stats server always sends all"),
    supported("metric", "METRIC"),
    refused("stats-push carbon snmp rrdtool", "read Runtime.statistics() in the application"),
    ignored("enable-metrics", "metrics that are defined are always enabled"),
    # the log
    supported("disable-logging"),
    supported("logto logto2", "FILE"),
    ignored("log-master log-master-stream log-master-req-stream threaded-logger log-master-bufsize", _LOG_FILE),
    ignored("log-reopen touch-logreopen", "the file of logto stays open: write copytruncate for it in logrotate"),
    ignored("log-truncate log-maxsize log-backupname touch-logrotate", "use logrotate, with copytruncate"),
    ignored("logger req-logger logger-req log-syslog log-socket log-route log-req-route", _LOG_FILE),
    supported("log-format logformat", "FORMAT"),
    ignored("logformat-strftime log-format-strftime log-date logdate log-prefix log-micros", "lines have the time"),
    ignored("log-encoder log-req-encoder log-filter log-drain", _LOGGING),
    ignored("log-zero log-slow log-4xx log-5xx log-big log-sendfile log-ioerror", "the access log has every request"),
    ignored("log-x-forwarded-for", "over --socket the access log has the client's address already"),
    ignored("logfile-chown logfile-chmod", "the log file is the server's"),
)
