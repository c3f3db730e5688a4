"""Hints for uWSGI's options that do not exist here."""

from __future__ import annotations

__all__ = ["UWSGI_OPTIONS"]

# uWSGI's options that do not exist here, each with a hint, or "" where nothing replaces it.
UWSGI_OPTIONS = {
    "http-socket": "write --http, which serves HTTP from the workers",
    "http11-socket": "write --http, which serves HTTP from the workers",
    "https-socket": "write --https, which serves HTTPS from the workers",
    "https-export-cert": "leave it out, HTTPS_CC is always set",
    "module": "name the application as the first argument",
    "wsgi": "name the application as the first argument",
    "wsgi-file": "name the file as the first argument",
    "file": "name the file as the first argument",
    "callable": "name it after the application's module or file, as in module:callable",
    "lazy": "write --lazy-apps",
    "master": "leave it out, there is always a master",
    "enable-threads": "leave it out, threads are always enabled",
    "vacuum": "leave it out, socket files, the pidfile and the fifo are always removed at the end",
    "safe-pidfile": "write --pidfile",
    "pidfile2": "write --pidfile, which is written when the sockets are open",
    "chown-socket": "leave it out, socket files are given to --uid and --gid",
    "daemonize": "leave it out, and let systemd or another supervisor run it",
    "chdir2": "write --chdir",
    "die-on-term": "leave it out, SIGTERM always stops",
    "need-app": "leave it out, nothing is served without an application",
    "limit-post": "write --max-body",
    "buffer-size": "write --max-header-size",
    "max-vars": "write --max-headers",
    "reload-mercy": "write --mercy",
    "worker-reload-mercy": "write --mercy",
    "cache": "write --cache2 name=default,items=N",
    "py-autoreload": "write --reload",
    "python-autoreload": "write --reload",
    "touch-chain-reload": "write --touch-reload FILE --chain-reload",
    "touch-workers-reload": "write --touch-reload",
    "allowed-modifiers": "write --modifier",
    "http-timeout": "write --socket-timeout",
    "http-keepalive": "leave it out, connections are kept alive; see --keep-alive-timeout",
    "max-fd": "leave it out; set the limit with `ulimit -n` or systemd's LimitNOFILE=",
    "cheaper": "SIGTTIN and SIGTTOU add and remove a worker; --mules 1-4 autoscales mules",
    "threads-stacksize": "leave it out",
    "enable-metrics": "leave it out, metrics that are defined are always enabled",
    "mule": "write --mules N, and declare mule functions with @uwsgi.mule(1)",
    "cron": "declare it with @uwsgi.cron",
    "timer": "declare it with @uwsgi.timer",
    "import": "import it in the application",
    "external-spooler": "write --spooler; directories may be shared with other servers",
    "spooler-ordered": "leave it out, jobs with a priority always come first",
    "log-x-forwarded-for": "over --socket the access log shows the client address that the proxy passes",
    "py-auto-reload": "write --reload",
    "harakiri-verbose": "leave it out, the log always names the line of code",
    "reload-on-as": "write --reload-on-rss",
    "min-worker-lifetime": "leave it out",
    "wsgi-disable-file-wrapper": "leave it out",
    **dict.fromkeys(("virtualenv", "venv", "home", "H"), "leave it out, and run the trio-uwsgi of that environment"),
    **dict.fromkeys(
        ("pythonpath", "python-path", "pp"), "leave it out for the application's own folder, or set PYTHONPATH"
    ),
    **dict.fromkeys(
        ("auto-procname", "procname", "procname-prefix"), "leave it out; install the extra trio-uwsgi[procname]"
    ),
    **dict.fromkeys(("ini", "yaml", "json", "xml"), "write its options here, or as a Config beside the application"),
    **dict.fromkeys(
        ("logto", "logto2", "logger", "req-logger"), "redirect standard error, or configure Python's logging"
    ),
    **dict.fromkeys(("log-date", "log-master"), "leave it out, and configure Python's logging"),
    "static-map2": "write --check-static, which looks for the whole path below the folder",
    **dict.fromkeys(
        ("static-gzip-all", "static-gzip", "static-gzip-dir", "static-gzip-prefix", "static-gzip-ext"),
        "leave it out, files that end with .gz or .br beside the file are always used",
    ),
    **dict.fromkeys(
        ("static-expires-type", "static-expires-uri", "static-expires-path-info"),
        "write --static-expires 'REGEX SEC', for the path below the folder",
    ),
    "static-check": "write --check-static",
    "fileserve-mode": "leave it out, files are sent by sendfile() where that is possible",
    "https2": "write --https ADDR,CERT,KEY[,CIPHERS[,CLIENT_CA]], or Tls(...) in a Config",
    **dict.fromkeys(("sni", "sni-dir"), "write Tls(..., sni={'example.org': ('cert.pem', 'key.pem')}) in a Config"),
    "http-enable-proxy-protocol": "write --proxy-protocol SOURCE for the load balancers that speak it",
    **dict.fromkeys(
        ("http-websockets", "http-chunked-input", "http-auto-chunked", "http-raw-body", "http-manage-expect"),
        "leave it out, --http does that",
    ),
    **dict.fromkeys(("websocket-ping-freq", "websockets-ping-freq"), "write --websocket-ping-interval SEC"),
    **dict.fromkeys(("websocket-pong-tolerance", "websockets-pong-tolerance"), "write --websocket-ping-timeout SEC"),
    **dict.fromkeys(
        ("websocket-max-size", "websockets-max-size"), "write --max-websocket-message BYTES; there it is in KB"
    ),
    "mimefile": "leave it out, types are those of Python's mimetypes; add one with mimetypes.add_type",
    **dict.fromkeys(
        (  # noqa: SIM905 - a list of quoted names is harder to read
            "thunder-lock single-interpreter post-buffering strict ignore-sigpipe ignore-write-errors "
            "disable-write-exception memory-report close-on-exec no-orphans offload-threads reuse-port "
            "stats-minified stats-no-cores stats-no-metrics"
        ).split(),
        "leave it out",
    ),
    "websockets": "leave it out, ASGI applications get them",
    **dict.fromkeys(
        (  # noqa: SIM905
            "async gevent asyncio daemonize2 attach-daemon smart-attach-daemon emperor plugin plugins route"
        ).split(),
        "",
    ),
}
