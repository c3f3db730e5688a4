"""Options and addresses: what is accepted, what is refused, and with which remedy."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from trio_uwsgi.config import Address, Config
from trio_uwsgi.config.connections import (
    HttpLimits,
    HttpTimeouts,
    LoadLimits,
    SocketOptions,
    StreamEnds,
    WebSocketOptions,
)
from trio_uwsgi.config.options import Mules, ProcessOptions, RecyclingLimits, SpoolerOptions
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure

ADDRESSES = [
    ("127.0.0.1:8000", Address(kind="tcp", host="127.0.0.1", port=8000), "127.0.0.1:8000"),
    ("localhost:0", Address(kind="tcp", host="localhost", port=0), "localhost:0"),
    ("[::1]:8000", Address(kind="tcp", host="::1", port=8000), "[::1]:8000"),
    ("[fe80::1%eth0]:80", Address(kind="tcp", host="fe80::1%eth0", port=80), "[fe80::1%eth0]:80"),
    (":8000", Address(kind="tcp", host="", port=8000), ":8000"),
    ("/run/app.sock", Address(kind="unix", path="/run/app.sock"), "unix:/run/app.sock"),
    ("./app.sock", Address(kind="unix", path="./app.sock"), "unix:./app.sock"),
    ("unix:app.sock", Address(kind="unix", path="app.sock"), "unix:app.sock"),
    ("@app", Address(kind="unix", path="@app"), "@app"),
    ("unix:@app", Address(kind="unix", path="@app"), "@app"),
    ("fd://3", Address(kind="fd", fd=3), "fd://3"),
]

BAD_ADDRESSES = [
    ("", "has no port"),
    ("8000", "write 127.0.0.1:8000 for this machine, :8000 for all interfaces"),
    ("localhost", "write localhost:8000 for TCP, unix:localhost for a unix socket"),
    ("localhost:", "no port number"),
    ("localhost:http", "no port number"),
    ("localhost:-1", "no port number"),
    ("localhost:65536", "port 65536 does not exist"),
    ("localhost:123456", "no port number"),
    ("::1:8000", "write [::1]:8000"),
    ("[localhost]:8000", "brackets around what is not an IPv6 address"),
    ("[::1:8000", "IPv6 address without brackets"),
    ("my host:8000", "is not a host name"),
    ("http://127.0.0.1:8000/x", "write '127.0.0.1:8000'"),
    ("unix:", "not a path"),
    ("@", "not a path"),
    ("/a\0b", "not a path"),
    ("/" + "a" * 107, "has 108 bytes, and the kernel takes 107"),
    ("/" + "é" * 54, "has 109 bytes"),
    ("fd://", "not a file descriptor"),
    ("fd://-1", "not a file descriptor"),
    ("fd://stdin", "not a file descriptor"),
    ("/a/\ud800", "cannot be the path of a file"),
    (b"127.0.0.1:80", "is not an address but bytes; use a str"),
]

BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"workers": True}, "workers=True is not a whole number"),
    ({"threads": 1.5}, "threads=1.5 is not a whole number"),
    ({"mules": "2"}, "mules='2' is not a whole number"),
    ({"harakiri": "30"}, "harakiri='30' is not a number of seconds"),
    ({"mercy": math.nan}, "mercy=nan is not a number of seconds"),
    ({"mercy": None}, "mercy=None is not a number of seconds"),
    ({"cancel_on_disconnect": 1}, "cancel_on_disconnect=1 is neither True nor False"),
    ({"lazy_apps": 1}, "lazy_apps=1 is neither True nor False"),
    ({"reload": "yes"}, "reload='yes' is neither True nor False"),
    ({"master_fifo": 7}, "master_fifo=7 is not a path"),
    ({"mule": 7}, "mule=7 is not a script"),
    ({"mule": ["brain.py", ""]}, "mule=['brain.py', ''] is not a script"),
    ({"python": ""}, "python='' is not a script"),
    ({"python": 7}, "python=7 is not a script"),
    ({"mule": "2"}, "mule='2' is a number, not a script; write mules=2"),
    ({"master_fifo": ""}, "master_fifo='' is not a path"),
    ({"touch_reload": [""]}, "touch_reload has '' in it"),
    ({"attach_daemon": ["x", " "]}, "attach_daemon=' ' is not a command; write attach_daemon='celery"),
    ({"attach_daemon": 3}, "attach_daemon=3 is not a command"),
    ({"disable_logging": "yes"}, "disable_logging='yes' is neither True nor False"),
    ({"interface": "wsgy"}, "use 'auto' or 'wsgi' or 'asgi'"),
    ({"lifespan": True}, "lifespan=True does not exist"),
    ({"placement": "thread"}, "use 'task' or 'memory' or 'process'"),
    ({"workers": 0}, "workers=0 is too small; use 1 or more"),
    ({"threads": 0}, "threads=0 is too small"),
    ({"mules": -1}, "mules=-1 is too small"),
    ({"mules": True}, "mules=True is not a whole number; write mules=1 or mules=Mules(min=1, max=4)"),
    ({"farms": ["a"]}, "farms=['a'] is not a mapping; write farms={'images': [1, 2]}"),
    ({"farms": {"": [1]}}, "farms: '' is not the name of a farm; use letters, digits, '_', '-' and '.'"),
    ({"farms": {"a b": [1]}}, "farms: 'a b' is not the name of a farm"),
    ({"farms": {1: [1]}}, "farms: 1 is not the name of a farm"),
    ({"farms": {"a": 1}}, "farm 'a' has 1, which is not a list of mules; write farms={'a': [1, 2]}"),
    ({"farms": {"a": "1"}}, "farm 'a' has '1', which is not a list of mules"),
    ({"farms": {"a": [1]}}, "farm 'a' has mule 1, which does not exist; set mules=1"),
    ({"farms": {"a": [1, 3]}, "mules": 2}, "farm 'a' has mule 3, which does not exist; use 1 to 2"),
    ({"farms": {"a": [True]}, "mules": 2}, "farm 'a' has mule True, which does not exist"),
    ({"farms": {"a": []}, "mules": 2}, "farm 'a' has the mules []; name one or more, each once"),
    ({"farms": {"a": [1, 1]}, "mules": 2}, "farm 'a' has the mules [1, 1]; name one or more, each once"),
    ({"listen": 0}, "listen=0 is too small"),
    ({"signal_queue": 0}, "signal_queue=0 is too small"),
    ({"message_queue": 0}, "message_queue=0 is too small"),
    ({"max_header_size": 255}, "max_header_size=255 is too small"),
    ({"max_headers": 0}, "max_headers=0 is too small"),
    ({"max_body": -1}, "max_body=-1 is too small; use 0 for no limit"),
    ({"harakiri": -0.1}, "harakiri=-0.1 is too small; use 0 for no limit"),
    ({"mule_harakiri": -1}, "mule_harakiri=-1 is too small"),
    ({"mercy": -1}, "mercy=-1 is too small"),
    ({"header_timeout": 0}, "header_timeout=0 leaves the peer no time"),
    ({"keep_alive_timeout": 0.0}, "keep_alive_timeout=0.0 leaves the peer no time"),
    ({"socket_timeout": -5}, "socket_timeout=-5 leaves the peer no time"),
    ({"harakiri": math.inf}, "harakiri=inf would never be reached; use 0 for no limit"),
    ({"mule_harakiri": math.inf}, "mule_harakiri=inf would never be reached"),
    ({"http": "/run/a.sock", "chmod_socket": 660}, "660 is 0o1224 in octal"),
    ({"http": "/run/a.sock", "chmod_socket": -1}, "-1 is not the mode of a socket"),
    ({"http": "/run/a.sock", "chmod_socket": "660"}, "'660' is not the mode of a socket"),
    ({"timezone": "Europe/Rom"}, "did you mean 'Europe/Rome'?"),
    ({"timezone": "Nowhere at all"}, "write a name as in 'Europe/Rome'"),
    ({"timezone": "../etc/passwd"}, "does not exist on this machine"),
    ({"timezone": 3600}, "timezone=3600 does not exist on this machine"),
    ({"http": 8000}, "http=8000 is not an address"),
    ({"http": b"127.0.0.1:8000"}, "is not an address"),
    ({"http": [8000]}, "http has 8000 in it, which is not an address"),
    ({"http": "localhost"}, "'localhost' has no port"),
    ({"http": [":80", ":80"]}, "http names :80 twice"),
    ({"http": ["/run/a.sock", "unix:/run/a.sock"]}, "http names unix:/run/a.sock twice"),
    ({"stats_http": True}, "stats_http is set without the address of a stats server"),
    ({"chmod_socket": 0o660}, "neither http nor socket names a unix socket file"),
    ({"http": "@name", "chmod_socket": 0o660}, "neither http nor socket names a unix socket file"),
    ({"interface": "wsgi", "lifespan": "on"}, "interface='wsgi' contradicts lifespan='on'"),
    ({"spooler": 7}, "spooler=7 is not a path; write spooler='jobs'"),
    ({"spooler": ["jobs", ""]}, "spooler has '' in it, which is not a path"),
    ({"spooler": ["jobs", "jobs"]}, "spooler names jobs twice; name each path once"),
    ({"spooler_processes": 0}, "spooler_processes=0 is too small; use 1 or more"),
    ({"lazy_apps": True}, "lazy_apps is set, but members are tasks of one process"),
    ({"spooler_cheap": True}, "spooler_cheap is set, but there is no spooler"),
    ({"spooler_processes": 2}, "spooler_processes is set, but there is no spooler; add spooler='jobs'"),
    ({"alarms": {"a": "mule:0"}}, "alarm 'a' goes to a mule that does not exist: there are no mules; set mules=1"),
    (
        {"alarms": {"a": "mule:2"}, "mules": 1},
        "alarm 'a' goes to a mule that does not exist: there is 1 mule; set mules=2",
    ),
    (
        {"alarms": {"a": "mule:4"}, "mules": Mules(max=3)},
        "does not exist: there are 3 mules; set mules=4, or use another",
    ),
    ({"farms": {"a": [2]}, "mules": 1}, "farm 'a' has mule 2, which does not exist; use 1, or set mules higher"),
    ({"spooler_frequency": 0}, "spooler_frequency=0 is out of range; use 0.001 seconds to a year"),
    (
        {"spooler_retry": 10, "spooler_retry_longest": 9},
        "is less than spooler_retry; set spooler_retry_longest to 10 or more",
    ),
    ({"spooler_harakiri": math.inf}, "spooler_harakiri=inf would never be reached"),
    ({"uid": ""}, "uid='' is neither a name nor a number; write uid='www-data' or uid=33"),
    ({"uid": -1}, "uid=-1 is neither a name nor a number"),
    ({"gid": 2**32 - 1}, "gid=4294967295 is neither a name nor a number"),
    ({"gid": True}, "gid=True is neither a name nor a number"),
    ({"chdir": ""}, "chdir='' is not a path; write chdir='/srv/app'"),
    ({"pidfile": 7}, "pidfile=7 is not a path"),
    ({"pidfile": "a\0b"}, "is not a path"),
    ({"umask": "022"}, "umask='022' is not a umask; write it in octal, as in umask=0o027"),
    ({"umask": 0o1000}, "umask=512 is not a umask"),
    ({"env": ["A=1"]}, "env=['A=1'] is not a mapping; write env={'NAME': 'value'}"),
    ({"env": {"A=": "1"}}, "env: 'A=' is not the name of a variable; write a text without '='"),
    ({"env": {1: "1"}}, "env: 1 is not the name of a variable"),
    ({"env": {"A": 1}}, "env: A is given 1, which is not a text; write env={'A': 'value'}"),
]


@pytest.mark.parametrize(("text", "address", "written"), ADDRESSES)
def test_address_forms(text: str, address: Address, written: str) -> None:
    """Every documented form of an address is read, and its string is read back as the same address."""
    assert address == Address.parse(text)
    assert written == str(address)
    assert address == Address.parse(str(address))


@pytest.mark.parametrize(("text", "message"), BAD_ADDRESSES)
def test_bad_addresses_say_what_to_write(text: str, message: str) -> None:
    """What is no address is refused, and the error says what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        Address.parse(text)
    assert message in str(caught.value)


def test_addresses_are_made_in_code() -> None:
    """The constructors by kind check as `parse` does, negative descriptors included."""
    assert Address.parse("[::1]:80") == Address.tcp("::1", 80)
    assert Address.parse("unix:a") == Address.unix("a")
    assert Address.parse("fd://4") == Address.inherited(4)
    with pytest.raises(ConfigError, match="-1 is not a file descriptor"):
        Address.inherited(-1)
    with pytest.raises(ConfigError, match="port -1 does not exist"):
        Address.tcp("localhost", -1)


def test_the_longest_socket_path_is_accepted() -> None:
    """A path of 107 bytes is the longest a unix socket can have."""
    path = "/" + "a" * 106
    assert path == Address.unix(path).path


def test_defaults_serve_this_machine_only() -> None:
    """A Config without options listens on port 8000 of the loopback interface, with no limit on time and no mules."""
    config = Config()
    assert (Address.tcp("127.0.0.1", 8000),) == config.addresses
    assert (1, None, 0) == (config.workers, config.threads, config.mules)
    assert (0, 0) == (config.harakiri, config.mule_harakiri)


def test_http_takes_one_address_or_several() -> None:
    """`http` may be a string, an Address, a sequence of both, or empty; two free ports are not one address."""
    several = (Address.tcp("::1", 80), Address.unix("/run/a.sock"))
    assert several == Config(http=["[::1]:80", Address.unix("/run/a.sock")]).addresses
    assert several[1:] == Config(http=several[1]).addresses
    assert () == Config(http=()).addresses
    assert () == Config(socket=":3031").addresses
    assert 2 == len(Config(http=["127.0.0.1:0", "127.0.0.1:0"]).addresses)


def test_boundaries_are_accepted() -> None:
    """The smallest values that make sense are valid, and so are timeouts without an end."""
    config = Config(
        http="/run/a.sock",
        chmod_socket=0,
        max_header_size=256,
        max_headers=1,
        mercy=0,
        header_timeout=math.inf,
        keep_alive_timeout=0.001,
        timezone="Europe/Rome",
        interface="asgi",
        lifespan="on",
        cancel_on_disconnect=True,
        root_path="/a",
    )
    assert (0, "/a") == (config.chmod_socket, config.root_path)
    assert "Europe/Rome" == config.timezone
    assert 0o777 == Config(http="/run/a.sock", chmod_socket=0o777).chmod_socket


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_connections": -1}, "max_connections=-1 is too small; use 0 for no limit"),
        ({"max_connections": 1.5}, "max_connections=1.5 is not a whole number"),
        ({"max_concurrent_requests": -1}, "max_concurrent_requests=-1 is too small; use 0 for no limit"),
        ({"max_concurrent_requests": True}, "max_concurrent_requests=True is not a whole number"),
        ({"drain_delay": -1}, "drain_delay=-1 is too small; use 0 to begin the stop at once"),
        ({"drain_delay": "5"}, "drain_delay='5' is not a number of seconds"),
        ({"drain_delay": math.inf}, "drain_delay=inf would never end"),
        ({"root_path": "shop"}, "root_path='shop' is not a prefix of a path; write '/shop'"),
        ({"root_path": "/shop/"}, "root_path='/shop/' is not a prefix of a path"),
        ({"root_path": "/"}, "root_path='/' is not a prefix of a path"),
        ({"root_path": None}, "root_path=None is not a prefix of a path"),
        ({"manage_script_name": "yes"}, "manage_script_name='yes' is neither True nor False"),
        ({"stop_streams": -0.5}, "stop_streams=-0.5 is too small; use 0 to tell them at once"),
        ({"stop_streams": "now"}, "stop_streams='now' is not a number of seconds"),
        ({"stop_streams": 31}, "stop_streams=31 is more than mercy=30, which ends streams before that"),
        ({"stop_streams": 1, "mercy": 0}, "stop_streams=1 is more than mercy=0"),
    ],
)
def test_limits_and_ends_that_cannot_be(options: dict[str, Any], message: str) -> None:
    """Numbers of the wrong type, out of range, or after the mercy."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**options)


def test_when_streams_are_told() -> None:
    """WebSockets at once and others after half the mercy, or both when the option says."""
    assert StreamEnds(websockets=0, responses=15) == Config().stream_ends
    assert StreamEnds(websockets=0, responses=5) == Config(mercy=10).stream_ends
    assert StreamEnds(websockets=0, responses=2, idle=1) == Config(mercy=4).stream_ends
    assert StreamEnds(websockets=0, responses=0) == Config(stop_streams=0).stream_ends
    assert StreamEnds(websockets=7, responses=7) == Config(stop_streams=7).stream_ends
    assert LoadLimits(connections=5, requests=6) == Config(max_connections=5, max_concurrent_requests=6).load_limits


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_impossible_options_are_refused_with_a_remedy(options: dict[str, Any], message: str) -> None:
    """Wrong types, values out of range and contradictions are refused when the Config is made."""
    with pytest.raises(ConfigError) as caught:
        Config(**options)
    assert message in str(caught.value)
    assert caught.value.remedy


def test_all_errors_are_reported_at_once() -> None:
    """Impossible values first, each with its remedy; contradictions when there are none of them."""
    with pytest.raises(ConfigError) as caught:
        Config(threads=0, workers="2", http="localhost", umask=-1, lazy_apps=True)  # type: ignore[arg-type]
    assert ["workers='2'", "threads=0", "'localhost'", "umask=-1"] == [
        line.split(" ")[0] for line in str(caught.value).splitlines()
    ]
    assert (3, "workers='2' is not a whole number") == (len(caught.value.also), caught.value.problem)
    with pytest.raises(ConfigError) as caught:
        Config(lazy_apps=True, max_requests_delta=2, spooler_cheap=True)
    assert 3 == len(str(caught.value).splitlines())


def test_a_config_never_changes() -> None:
    """A Config is frozen; `dataclasses.replace` makes another one and checks it again."""
    config = Config(http="127.0.0.1:0", mules=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.mules = 2  # type: ignore[misc]
    assert 2 == dataclasses.replace(config, mules=2).mules
    assert config.addresses == dataclasses.replace(config, mules=2).addresses
    with pytest.raises(ConfigError):
        dataclasses.replace(config, mules=-1)


def test_parts_get_their_own_small_groups() -> None:
    """The groups handed to the parts below have the values of the fields they are made of."""
    config = Config(
        http="/run/a.sock",
        chmod_socket=0o600,
        listen=7,
        max_header_size=1000,
        max_headers=10,
        max_body=5,
        header_timeout=1,
        keep_alive_timeout=2,
        socket_timeout=3,
    )
    assert HttpLimits(max_header_size=1000, max_headers=10, max_body=5) == config.http_limits
    assert HttpTimeouts(header=1, keep_alive=2, socket=3) == config.http_timeouts
    assert SocketOptions(backlog=7, mode=0o600) == config.socket_options


# ----- mules


def test_a_number_of_mules_is_a_pool_that_does_not_change() -> None:
    """Whoever needs a pool gets one, however it was written."""
    assert Mules(min=2, max=2) == Config(mules=2).mule_pool
    assert Mules(min=0, max=0) == Config().mule_pool
    pool = Mules(max=4, idle=5)
    assert (pool, 1, 4, 5) == (Config(mules=pool).mule_pool, pool.min, pool.max, pool.idle)
    assert "1-4" == str(pool)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"min": 2, "max": 1}, "mules: min=2 and max=1 make no pool; use 0 or more for min, and min or more for max"),
        ({"min": -1, "max": 1}, "mules: min=-1 and max=1 make no pool"),
        ({"max": 1.5}, "mules: max=1.5 is not a whole number; write max=1"),
        ({"min": True, "max": 1}, "mules: min=True is not a whole number"),
        (
            {"max": 2, "idle": 0},
            "mules: idle=0 is not possible; use more than 0 seconds, or math.inf to keep idle mules",
        ),
        ({"max": 2, "idle": math.nan}, "mules: idle=nan is not possible"),
        ({"max": 2, "idle": "5"}, "mules: idle='5' is not possible"),
    ],
)
def test_impossible_pools_are_refused(fields: dict[str, Any], problem: str) -> None:
    """A pool has a min that is not above its max, and a time that passes."""
    with pytest.raises(ConfigError, match=re.escape(problem)):
        Mules(**fields)


@pytest.mark.parametrize(
    ("text", "expected"), [("2", 2), ("0", 0), ("1-4", Mules(max=4)), ("0-1", Mules(min=0, max=1))]
)
def test_mules_of_the_command_line(text: str, expected: int | Mules) -> None:
    """A number, or a range for a pool."""
    assert expected == Mules.parse(text)


@pytest.mark.parametrize("text", ["", "two", "-1", "1-", "1-2-3", "1 - 2"])
def test_what_are_no_mules(text: str) -> None:
    """Anything else is refused with both forms."""
    with pytest.raises(ConfigError, match="is neither a number nor a range of numbers; write 2, or 1-4"):
        Mules.parse(text)


def test_farms_are_kept_in_order() -> None:
    """Farms name mules of the pool, also those that come and go; a list that was given may change later."""
    numbers = [2, 1]
    config = Config(mules=Mules(max=3), farms={"b": numbers, "a": (3,)})
    numbers.append(3)
    assert [("b", (2, 1)), ("a", (3,))] == list(config.farms.items())
    assert {} == Config().farms


def test_spooler_options() -> None:
    """The options of the spooler, and how many there are in all directories."""
    config = Config(spooler=["a", "b"], spooler_processes=3, spooler_frequency=5, spooler_cheap=True)
    expected = SpoolerOptions(
        directories=("a", "b"),
        processes=3,
        frequency=5,
        max_tries=10,
        retry=5,
        retry_longest=3600,
        fsync=True,
        cheap=True,
        harakiri=0,
    )
    assert expected == config.spooler_options
    assert 6 == config.spooler_options.count
    assert 0 == Config().spooler_options.count


def test_alarm_names_for_member_processes() -> None:
    """The names, and nothing that has them do what the master does."""
    config = Config(alarms={"page": "cmd:mail root"}, alarm_log=["page ^disk"], alarm_freq=7)
    told = config.alarm_options.names_only()
    assert (("page", "log", ""),) == tuple((alarm.name, alarm.kind, alarm.argument) for alarm in told.alarms.values())
    assert ((), 7) == (told.rules, told.freq)


# ----- who follows whom


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_requests": 10}, "max_requests is set, but members are tasks"),
        ({"max_worker_lifetime": 10}, "max_worker_lifetime is set, but members are tasks"),
        ({"reload_on_rss": 10}, "reload_on_rss is set, but members are tasks"),
        ({"chain_reload": True}, "chain_reload is set, but members are tasks"),
        ({"touch_reload": "x"}, "touch_reload is set, but members are tasks"),
        ({"reload": True}, "reload is set, but members are tasks"),
        ({"max_requests_delta": 10}, "max_requests_delta is set, but max_requests is not"),
        ({"max_requests": -1, "placement": "process"}, "max_requests=-1 is not a limit"),
        ({"max_worker_lifetime": math.inf, "placement": "process"}, "max_worker_lifetime=inf is not a limit"),
    ],
)
def test_options_that_need_replaceable_members(options: dict[str, Any], message: str) -> None:
    """Limits of workers are for processes, and are numbers."""
    with pytest.raises(ConfigError, match=message):
        Config(**options)


def test_limits_of_workers() -> None:
    """They are handed down together."""
    config = Config(
        placement="process", max_requests=5, max_requests_delta=2, max_worker_lifetime=60, reload_on_rss=1024**2
    )
    assert RecyclingLimits(requests=5, requests_delta=2, lifetime=60, rss=1024**2) == config.recycling_limits


def test_what_a_process_becomes() -> None:
    """The options of the process are handed down together, and know which of them say something."""
    options: dict[str, Any] = {"uid": 0, "gid": "www", "chdir": "/srv", "umask": 0, "env": {"A": ""}, "pidfile": "p"}
    assert ProcessOptions(**options) == Config(**options).process_options
    assert list(options) == Config(**options).process_options.given
    assert [] == Config().process_options.given


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"forwarded_allow": "proxy"}, "forwarded_allow is given 'proxy', which is not a source"),
        ({"forwarded_allow": 7}, "forwarded_allow is given 7"),
        (
            {"forwarded_allow": "localhost:8000"},
            "given 'localhost:8000', but listeners are known by their IP",
        ),
        (
            {"modifiers": {"rpc": "my-host:8000"}},
            "write an IP address, as in '127.0.0.1:8000', or ':8000' for",
        ),
        (
            {"proxy_protocol": "fd://3"},
            "given 'fd://3', but what listens there is known by its address",
        ),
        ({"forwarded_allow": "10.0.0.0/33"}, "is given '10.0.0.0/33', which is not a network; write the address and"),
        ({"forwarded_allow": "10.0/8"}, "forwarded_allow is given '10.0/8', which is not a network"),
        ({"forwarded_allow": "10/8"}, "forwarded_allow is given '10/8', which is not a network"),
        ({"proxy_protocol": "2001:db8::/200"}, "proxy_protocol is given '2001:db8::/200', which is not a network"),
        ({"forwarded_allow": "10.0.0.1/"}, "forwarded_allow is given '10.0.0.1/', which is not a network"),
        ({"forwarded_allow": "10.0.0.1/8"}, "write '10.0.0.0/8' for the network, or '10.0.0.1' for this address alone"),
        ({"modifiers": {"rpc": "10.0.0.0/33"}}, "modifiers: 'rpc' is given '10.0.0.0/33', which is not a network"),
        ({"forwarded_headers": "x-real-ip"}, "forwarded_headers has 'x-real-ip' in it, which is not read"),
        ({"forwarded_headers": 7}, "forwarded_headers=7 is not a list of headers"),
        ({"forwarded_headers": [7]}, "forwarded_headers has 7 in it, which is not read"),
        ({"forwarded_headers": ["forwarded", "x-forwarded-for"]}, "has 'forwarded' and others in it"),
    ],
)
def test_proxies_that_cannot_be_believed(options: dict[str, Any], error: str) -> None:
    """Sources and headers that are not known."""
    with pytest.raises(ConfigError, match=re.escape(error)):
        Config(**options)


def test_proxies() -> None:
    """One source or several; nobody by default."""
    assert () == Config().forwarded_allow
    assert ("unix",) == Config(forwarded_allow="unix").forwarded_allow
    assert ("10.0.0.1/32",) == Config(forwarded_allow="10.0.0.1").forwarded_allow
    paths = ["/run/10.0.0.0/3", "unix:10.0.0.0/33", "run/app.sock", "./3"]
    assert tuple(str(Address.parse(path)) for path in paths) == Config(forwarded_allow=paths).forwarded_allow
    config = Config(forwarded_allow=["10.0.0.0/8", ":80"], forwarded_headers="Forwarded")
    assert (("10.0.0.0/8", ":80"), ("forwarded",)) == (config.forwarded_allow, config.forwarded_headers)


def test_websockets() -> None:
    """What they need, under shorter names."""
    config = Config(
        websocket_ping_interval=1, websocket_ping_timeout=2, max_websocket_message=3, websocket_deflate=False
    )
    expected = WebSocketOptions(ping_interval=1, ping_timeout=2, max_message=3, deflate=False)
    assert expected == config.websocket_options
