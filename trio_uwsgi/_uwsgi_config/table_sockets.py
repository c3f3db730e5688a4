"""uWSGI's options of sockets, HTTP, static files and requests. Pure."""

from __future__ import annotations

import re

from trio_uwsgi._uwsgi_config.rows import Outcome, Row, ignored, judged, mapped, refused, supported

__all__ = ["ROWS"]

_SHARED = "the address of =0, =1, ...: all sockets are opened before the user changes"
_NO_SHARED = "there is no such shared-socket; name the address"
_NGINX = "let nginx do it, or the application"
_ROUTER = "workers serve HTTP themselves, there is no router process"


def address(value: str) -> str:
    """An address in our form: `*` is every interface, and a bare word is the file of a unix socket."""
    if value.startswith("*:"):
        return value[1:]
    return f"unix:{value}" if re.fullmatch(r"[^:/@=]+", value) else value


def _socket(flag: str, note: str = "") -> Row:
    def judge(value: str) -> Outcome:
        if re.fullmatch("=[0-9]+", value):
            return Outcome("refused", (), _NO_SHARED)
        return Outcome("supported" if flag == "--socket" else "mapped", (flag, address(value)), note)

    names = {"--socket": "socket uwsgi-socket", "--http": "http-socket http11-socket http"}[flag]
    row = judged(names, f"{flag} ADDR", note, judge)
    return row._replace(verdict="supported") if flag == "--socket" else row


def _https(value: str) -> Outcome:
    if value.startswith("="):
        return Outcome("refused", (), _NO_SHARED)
    place, comma, rest = value.partition(",")
    return Outcome("mapped", ("--https", address(place) + comma + rest), "workers serve HTTPS themselves")


def _mode(value: str) -> str:
    return "666" if value in ("", "true") else value


def _kilobytes(value: str) -> str:
    return str(int(value) * 1024) if value.isdecimal() else value


def _protocol(value: str) -> Outcome:
    if value in ("uwsgi", "http"):
        return Outcome("mapped", (), "it is the protocol of `socket`")
    return Outcome("refused", (), "serve the uwsgi protocol or HTTP")


ROWS: tuple[Row, ...] = (
    # sockets
    _socket("--socket"),
    _socket("--http", _ROUTER),
    judged("https https-socket", "--https ADDR,CERT,KEY", "workers serve HTTPS themselves", _https),
    judged("protocol socket-protocol", "--http ADDR", "with `http`, each `socket` becomes --http", _protocol),
    supported("listen", "N"),
    mapped("chmod-socket chmod", "--chmod-socket MODE", convert=_mode),
    ignored("chown-socket", "socket files are given to --uid and --gid"),
    judged("shared-socket undeferred-shared-socket", "ADDR", _SHARED, lambda value: Outcome("mapped", (), _SHARED)),
    ignored("map-socket", "all workers serve all sockets"),
    refused("fastcgi-socket fastcgi-nph-socket scgi-socket scgi-nph-socket raw-socket puwsgi-socket", "write socket"),
    refused("zerg zerg-server zerg-fallback zergpool zerg-pool", "reload: no request is lost"),
    refused("legion legion-mcast legion-node legion-lord legion-unlord legion-setup", "let a cluster manager decide"),
    refused("https2", "write https = ADDR,CERT,KEY[,CIPHERS[,CLIENT_CA]]"),
    refused(
        "ssl-sessions-use-cache sni sni-dir", "write Tls(..., sni={'example.org': ('cert.pem', 'key.pem')}) in a Config"
    ),
    refused("abstract-socket", "write socket = @name"),
    ignored(
        "reuse-port freebind tcp-nodelay no-defer-accept so-keepalive tcp-fast-open tcp-fastopen socket-sndbuf "
        "socket-rcvbuf so-send-timeout socket-send-timeout so-write-timeout socket-write-timeout shutdown-sockets "
        "close-on-exec close-on-exec2 thunder-lock",
        "sockets are set up for the workers as they need it",
    ),
    refused("enable-proxy-protocol http-enable-proxy-protocol", "write --proxy-protocol SOURCE for the balancer"),
    mapped("socket-timeout http-timeout", "--socket-timeout SEC"),
    mapped("http-headers-timeout", "--header-timeout SEC"),
    ignored(
        "http-keepalive http-auto-chunked http-chunked-input http-raw-body http-websockets websockets "
        "http-manage-expect http-connect-timeout",
        "it is always so, with --keep-alive-timeout",
    ),
    ignored("http-processes http-workers http-events http-to http-modifier1 http-uid http-gid http-cheap", _ROUTER),
    refused("http-to-https", "redirect in nginx, or in the application"),
    ignored("https-export-cert", "HTTPS_CC is always set"),
    refused("http-auto-gzip", "let nginx compress, or a middleware"),
    refused("allowed-modifiers", "write --modifier NAME=SOURCE; local clients are allowed everything"),
    # limits of requests
    mapped("buffer-size", "--max-header-size BYTES", "the default here is 32768"),
    mapped("max-vars", "--max-headers N"),
    mapped("limit-post", "--max-body BYTES"),
    ignored("post-buffering post-buffering-bufsize body-read-warning", "bodies are streamed"),
    ignored("chunked-input-limit chunked-input-timeout wsgi-accept-buffer wsgi-accept-buffers", "bodies are streamed"),
    mapped("websocket-max-size websockets-max-size", "--max-websocket-message BYTES", "KB there", convert=_kilobytes),
    mapped("websocket-ping-freq websockets-ping-freq", "--websocket-ping-interval SEC"),
    mapped("websocket-pong-tolerance websockets-pong-tolerance", "--websocket-ping-timeout SEC"),
    ignored(
        "ignore-sigpipe ignore-write-errors disable-write-exception write-errors-tolerance write-errors-exception-only",
        "a client that leaves is no error here",
    ),
    # static files
    supported("static-map", "/PREFIX=DIR"),
    judged(
        "static-map2",
        "--check-static DIR",
        "for the whole path, prefix included",
        lambda value: Outcome("mapped", ("--check-static", value.partition("=")[2]), "for the whole path"),
    ),
    supported("check-static static-check", "DIR"),
    refused("check-static-docroot static-check-docroot", "write check-static with the folder"),
    supported("static-index", "NAME"),
    mapped("static-expires static-expires-mtime", "--static-expires EXPIRY", "counted from the answer"),
    refused(
        "static-expires-uri static-expires-uri-mtime static-expires-path-info static-expires-path-info-mtime "
        "static-expires-type static-expires-type-mtime",
        "write static-expires, which matches the path of the file",
    ),
    supported("static-safe", "DIR"),
    ignored(
        "static-gzip-all static-gzip static-gzip-dir static-gzip-prefix static-gzip-ext static-gzip-suffix",
        "a file that ends with .gz or .br beside the file is always used",
    ),
    ignored("static-cache-paths static-cache-paths-name", "paths are not cached, the system is fast enough"),
    refused("static-skip-ext", "keep such files out of the folder"),
    ignored("mimefile mime-file", "types are those of Python's mimetypes; mimetypes.add_type adds one"),
    ignored("offload-threads offload-thread file-serve-mode fileserve-mode disable-sendfile", "files need no thread"),
    ignored("honour-range", "ranges are always answered"),
    # what nginx does
    refused("add-header rem-header del-header collect-header pull-header response-header-collect", _NGINX),
    refused("error-page-403 error-page-404 error-page-500", "write error_page in nginx, or let the application answer"),
    refused("route", _NGINX),
    refused("check-cache", "let the application ask its cache"),
)
