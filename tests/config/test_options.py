"""The parts of the options, and how they look in `uwsgi.opt`."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from trio_uwsgi._nodes.rpc_functions import RpcFunction
from trio_uwsgi._runtime.opt import uwsgi_options, write_options
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.targets import Headcount
from trio_uwsgi.config import Address, Config, Metric
from trio_uwsgi.config.options import AccessRules, Alarm, Cache, LogAlarm, Mules
from trio_uwsgi.config.queues import QueueOptions
from trio_uwsgi.config.sources import can_match, read_sources
from trio_uwsgi.errors import ConfigError, RegistrationError

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("", {}, "is not the name of a cache"),
        ("a@b", {}, "is not the name of a cache"),
        ("a", {"items": 0}, "items=0 is not possible"),
        ("a", {"max_value": 7}, "max_value=7 is not possible"),
        ("a", {"max_key": True}, "max_key=True is not possible"),
        ("a", {"math_initial": 2**63}, "use a whole number that fits into 64 bits"),
        ("a", {"store_sync": math.inf}, "store_sync=inf is not possible"),
        ("a", {"lru": True, "clear_on_full": True}, "lru and clear_on_full are both set"),
        ("a", {"store": ""}, "store='' is not a path"),
        ("a", {"store": "a\0b"}, "is not a path"),
        ("a", {"store_sync": 1}, "store_sync is set without a store"),
    ],
)
def test_impossible_caches_are_refused(name: str, fields: dict[str, Any], message: str) -> None:
    """A cache that cannot be says so when it is made."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Cache(name, **{"items": 1, **fields})


def test_cache2_is_read_with_uwsgis_words() -> None:
    """Aliases, switches with and without a value, numbers."""
    text = "name=a, maxitems=5,blocksize=100,keysize=10,purge_lru,math_initial=-1,store=f,storesync=2.5"
    expected = Cache("a", items=5, max_value=100, max_key=10, lru=True, math_initial=-1, store="f", store_sync=2.5)
    assert expected == Cache.parse(text)
    assert Cache("a", items=5, clear_on_full=True) == Cache.parse("name=a,items=5,clear_on_full=1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=a,items=1,bitmap=1", "'bitmap' does not exist here; leave it out"),
        ("name=a,itmes=1", "did you mean 'items'?"),
        ("name=a,zzzz=1", "use name, items"),
        ("name=a,items=many", "items='many' is not possible"),
        ("items=1", "lacks a name or items"),
        ("name=a", "lacks a name or items"),
    ],
)
def test_wrong_cache2_says_what_is_right(text: str, message: str) -> None:
    """With the key that was probably meant, or why it is not there."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Cache.parse(text)


@pytest.mark.parametrize(
    ("action", "kind", "argument"),
    [("log:", "log", ""), ("cmd:cat >f", "cmd", "cat >f"), ("signal:17", "signal", "17"), ("mule:0", "mule", "0")],
)
def test_alarms_are_read(action: str, kind: str, argument: str) -> None:
    """The first colon ends the kind."""
    assert Alarm("a", kind, argument) == Alarm.parse("a", action)
    assert 17 == Alarm.parse("a", "signal:17").number
    assert "curl" == Alarm.parse("a", "curl:https://example.org/x").kind
    assert print is Alarm.parse("a", print).call


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("a b", "log:"),
        (3, "log:"),
        ("a", "log"),
        ("a", "shout:x"),
        ("a", 3),
        ("a", "signal:256"),
        ("a", "signal:x"),
        ("a", "mule:x"),
        ("a", "cmd: "),
        ("a", "curl:ftp://x"),
    ],
)
def test_impossible_alarms_are_refused(name: object, action: object) -> None:
    """A name or an action that makes no sense."""
    with pytest.raises(ConfigError, match=r"alarm|name"):
        Alarm.parse(name, action)


@pytest.mark.parametrize("rule", ["a", "a ", 3, "b x", "a,b x", "a ["])
def test_impossible_log_alarms_are_refused(rule: object) -> None:
    """No expression, an unknown alarm, an expression that is none."""
    with pytest.raises(ConfigError, match="alarm_log"):
        LogAlarm.parse(rule, ["a"])


@pytest.mark.parametrize(
    ("source", "client", "listener", "allowed"),
    [
        ("unix", None, "unix:/a", True),
        ("unix", "127.0.0.1", "127.0.0.1:1", False),
        ("loopback", "127.0.0.1", "", True),
        ("loopback", "::1", "", True),
        ("loopback", "::ffff:127.0.0.1", "", True),
        ("loopback", "10.0.0.1", "", False),
        ("loopback", None, "", False),
        ("any", "8.8.8.8", "", True),
        ("any", None, "", True),
        ("10.0.0.0/8", "10.1.2.3", "", True),
        ("10.0.0.0/8", "11.1.2.3", "", False),
        ("fe80::/10", "fe80::1%eth0", "", True),
        ("10.0.0.0/8", "::1", "", False),
        ("/a", None, "unix:/a", True),
        ("/a", None, "unix:/b", False),
        ("127.0.0.1:5", "8.8.8.8", "127.0.0.1:6", False),
    ],
)
def test_sources(source: str, client: str | None, listener: str, allowed: bool) -> None:
    """Who a source means, by the client's address and the listener it came to."""
    rules = AccessRules.parse({"rpc": source})
    assert allowed is rules.allow(173, client, listener)
    assert not rules.allow(18, client, listener)


@pytest.mark.parametrize(
    ("source", "listener", "possible"),
    [
        ("unix", "unix:/a", True),
        ("any", "unix:/a", True),
        ("/a", "unix:/a", True),
        ("/b", "unix:/a", False),
        ("loopback", "unix:/a", False),
        ("10.0.0.1", "unix:/a", False),
        ("unix", "0.0.0.0:1", False),
        ("any", "0.0.0.0:1", True),
        (":1", "0.0.0.0:1", True),
        (":2", "0.0.0.0:1", False),
        ("/a", "0.0.0.0:1", False),
        ("loopback", "0.0.0.0:1", True),
        ("10.0.0.0/8", "0.0.0.0:1", True),
        ("[0:0::1]:1", "[::1]:1", True),
    ],
)
def test_where_connections_can_come_from(source: str, listener: str, possible: bool) -> None:
    """Clients of a unix socket have no address, and those of TCP have one."""
    (read,) = read_sources("forwarded_allow", source)
    assert possible is can_match(read, Address.parse(listener))


def test_access_is_local_unless_said_otherwise() -> None:
    """What is not named keeps its default; several sources are alternatives."""
    rules = AccessRules.parse({"rpc": ["unix", "10.0.0.0/8"]})
    assert [True, False] == [rules.allow(110, client, "") for client in ("127.0.0.1", "10.0.0.1")]
    assert [False, True] == [rules.allow(173, client, "") for client in ("127.0.0.1", "10.0.0.1")]


@pytest.mark.parametrize("rules", [["rpc"], {"spoon": "any"}, {"rpc": 3}, {"rpc": [3]}, {"rpc": "nowhere"}])
def test_impossible_access_is_refused(rules: object) -> None:
    """A modifier or a source that does not exist."""
    with pytest.raises(ConfigError, match="modifiers"):
        AccessRules.parse(rules)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"caches": "a"}, "caches='a' is not a list"),
        ({"caches": [3]}, "caches has 3 in it"),
        ({"caches": [Cache("a", items=1)] * 2}, "two caches are called 'a'"),
        ({"caches": [Cache(n, items=1, store="s") for n in "ab"]}, "two caches have the store 's'"),
        ({"alarms": ["a"]}, "alarms=['a'] is not a mapping"),
        ({"alarm_log": "a x"}, "alarm_log='a x' is not a list"),
        ({"http": "127.0.0.1:1", "socket": "127.0.0.1:1"}, "http and socket both name 127.0.0.1:1"),
        ({"stats": "127.0.0.1:8000"}, "http and stats both name 127.0.0.1:8000"),
        ({"stats": ":9191", "stats_http": "yes"}, "stats_http='yes' is neither True nor False"),
        ({"locks": -1}, "locks=-1 is too small"),
        ({"metrics": "a"}, "metrics='a' is not a list"),
        ({"metrics": 5}, "metrics=5 is not a list"),
        ({"metrics": ["a"]}, "metrics has 'a' in it; write Metric('orders')"),
        ({"metrics": [Metric("a"), Metric("a", type="gauge")]}, "two metrics are called 'a'"),
        ({"queue": -1}, "queue=-1 is too small; use 0 for no shared queue"),
        ({"queue": 2.5}, "queue=2.5 is not a whole number"),
        ({"queue": 1, "queue_blocksize": 0}, "queue_blocksize=0 is too small"),
        ({"queue_store": "a"}, "queue_store is set, but there is no queue; set queue=100"),
        ({"queue": 1, "queue_store": ""}, "queue_store='' is not a path"),
        ({"queue": 1, "queue_store": "a\0b"}, "is not a path"),
        ({"queue": 1, "queue_store": 5}, "queue_store=5 is not a path"),
        ({"queue": 1, "queue_store_sync": 5}, "queue_store_sync is set without a store"),
        ({"queue": 1, "queue_store": "a", "queue_store_sync": math.inf}, "queue_store_sync=inf would never be reached"),
    ],
)
def test_impossible_configs_are_refused(fields: dict[str, Any], message: str) -> None:
    """What `Config` itself looks at."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**fields)


def test_the_options_of_the_queue_are_a_group() -> None:
    """Without a queue its size is 0."""
    config = Config(queue=5, queue_blocksize=10, queue_store="q", queue_store_sync=2)
    assert QueueOptions(size=5, blocksize=10, store="q", store_sync=2) == config.queue_options
    assert QueueOptions(size=0) == Config().queue_options


def test_options_look_as_in_uwsgi() -> None:
    """Bytes under uWSGI's names, True for switches, lists where there are several; defaults are left out."""
    config = Config(
        http=["127.0.0.1:1", "/a"],
        socket="/b",
        chmod_socket=0o660,
        caches=[Cache("a", items=5, lru=True)],
        queue=5,
        metrics=[Metric("m"), Metric("n", type="gauge", initial_value=3)],
        alarms={"x": "log:p", "y": print},
        modifiers={"rpc": ["unix", "any"]},
        harakiri=0.5,
        mules=2,
        disable_logging=True,
    )
    assert {
        "master": True,
        "enable-threads": True,
        "py-call-uwsgi-fork-hooks": True,
        "http": [b"127.0.0.1:1", b"unix:/a"],
        "socket": b"unix:/b",
        "chmod-socket": b"660",
        "cache2": b"name=a,items=5,purge_lru=1",
        "queue": b"5",
        "metric": [b"name=m", b"name=n,type=gauge,initial_value=3"],
        "alarm": [b"x log:p", b"y call:print"],
        "modifiers": [b"rpc unix,any"],
        "harakiri": b"0.5",
        "mules": b"2",
        "disable-logging": True,
    } == dict(uwsgi_options(config))
    assert [b"size=4096", b"size=7"] == uwsgi_options(Config(sharedarea=[4096, 7]))["sharedarea"]
    assert b"%(uri)" == uwsgi_options(Config(log_format="%(uri)"))["log-format"]


@pytest.mark.parametrize("sizes", [4096, "4096", [0], [-1], [1.5], [True], [2**41]])
def test_shared_areas_that_cannot_be(sizes: Any) -> None:
    """An area has at least a byte; it is a number, and the areas are a list."""
    with pytest.raises(ConfigError, match=r"shared ?area"):
        Config(sharedarea=sizes)


def test_pools_and_farms_look_as_in_uwsgi() -> None:
    """A pool is written as on our command line, farms as on uWSGI's."""
    config = Config(mules=Mules(max=4), farms={"images": [1, 2]})
    assert {"mules": b"1-4", "farm": b"images:1,2"}.items() <= dict(uwsgi_options(config)).items()
    config = Config(mules=2, farms={"images": [1, 2], "mail": [1]})
    assert [b"images:1,2", b"mail:1"] == uwsgi_options(config)["farm"]


def test_options_of_the_process_look_as_in_uwsgi() -> None:
    """The environment is written as it was given, and the umask in octal."""
    options = dict(uwsgi_options(Config(env={"A": "1", "B": "x=y"}, umask=0o027, uid=33, gid="www")))
    assert {"env": [b"A=1", b"B=x=y"], "umask": b"27", "uid": b"33", "gid": b"www"}.items() <= options.items()


def test_rpc_functions_are_registered() -> None:
    """Before serving a name is taken once, afterwards it is replaced."""
    registry = Registry()
    registry.rpc_handler("f", 2)(print)
    assert {"f": RpcFunction("f", print, 2)} == registry.rpc
    with pytest.raises(RegistrationError, match="registered already, as print"):
        registry.register_rpc("f", len)
    registry._open(Headcount(1, 0), lambda timer: None, lambda timer: None)
    registry.register_rpc("f", len)
    assert len is registry.rpc["f"].func


@pytest.mark.parametrize(
    ("name", "func", "argc"),
    [("", print, 0), ("x" * 256, print, 0), (b"f", print, 0), ("f", 3, 0), ("f", print, -1), ("f", print, 255)],
)
def test_impossible_rpc_functions_are_refused(name: Any, func: Any, argc: int) -> None:
    """A name, a function or a count that cannot be."""
    with pytest.raises(RegistrationError):
        Registry().register_rpc(name, func, argc)


def test_memory_is_shown_in_megabytes() -> None:
    """As uWSGI's option counts; other limits of workers are as they were given."""
    config = Config(placement="process", reload_on_rss=500 * 1024**2, max_requests=100)
    options = dict(uwsgi_options(config))
    assert (b"500", b"100") == (options["reload-on-rss"], options["max-requests"])


def test_scripts_have_mules_of_their_own() -> None:
    """They count beside the others, also in a pool, and one may be given twice."""
    assert (2, 2) == (Config(mule=["a.py", "a.py"]).mule_pool.min, Config(mule=["a.py", "a.py"]).mule_pool.max)
    pool = Config(mule="a.py", mules=Mules(min=1, max=3)).mule_pool
    assert (("a.py",), 2, 4) == (Config(mule="a.py").mule, pool.min, pool.max)
    assert b"a.py" == uwsgi_options(Config(mule="a.py"))["mule"]


def test_what_a_configuration_of_uwsgi_says_is_in_opt() -> None:
    """It is there as it is written, and wins over the option that it became; the next one replaces it."""
    try:
        write_options({"harakiri": b"07", "my-name": b"x"})
        assert {"harakiri": b"07", "my-name": b"x"}.items() <= dict(uwsgi_options(Config(harakiri=7))).items()
    finally:
        write_options({})
    assert b"7" == uwsgi_options(Config(harakiri=7))["harakiri"]
    assert "my-name" not in uwsgi_options(Config())
