"""Packets of the uwsgi protocol, from the bytes of a client to what a worker does and responds."""

from __future__ import annotations

import dataclasses
import logging
import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Cache, Config, Registry
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi._protocol.remote_calls import CacheCall, HelloCall, PingCall, RpcCall, SignalCall
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

REQUEST = encode_packet(
    0, 0, encode_vars([(b"REQUEST_METHOD", b"POST"), (b"PATH_INFO", b"/a"), (b"CONTENT_LENGTH", b"4")])
)
PACKETS = {
    0: REQUEST + b"body",
    17: encode_packet(17, 0, encode_vars([(b"a", b"b")])),
    100: PingCall().encode(),
    110: SignalCall(signum=7).encode(),
    111: CacheCall(command="set", key=b"k", value=b"value", expires=5).encode(),
    173: RpcCall(name=b"echo", args=(b"a", b"b")).encode(),
    174: HelloCall().encode() + RpcCall(name=b"echo", args=(b"x",)).encode() + CacheCall(command="keys").encode(),
}


async def app(scope: Any, receive: Any, send: Any) -> None:  # whatever the specification says
    """Echoes the body."""
    if scope["type"] != "http":
        raise NotImplementedError
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body + message.get("body", b"")})


@pytest.fixture
def registry(uwsgi_registry: Registry) -> Registry:
    """A function and a signal."""

    @uwsgi_registry.rpc_handler("echo")
    async def echo(*args: bytes) -> bytes:
        return b"".join(args)

    uwsgi_registry.register_signal(7, "", lambda signum: None)
    return uwsgi_registry


async def exchange(runtime: RuntimeUnderTest, data: bytes) -> bytes:
    """What is answered until the connection ends."""
    answer = b""
    async with runtime.connect("uwsgi") as stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
            while piece := await stream.receive_some():
                answer += bytes(piece)
        except trio.BrokenResourceError:
            pass
    return answer


CONFIG = Config(caches=[Cache("c", items=10, max_value=1000)], signal_queue=100_000)


@all_placements
async def test_every_modifier_is_answered(
    placement: Placement, registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    """The application, a job, a ping, a signal, a cache, a function, and a conversation after a hello."""
    async with open_runtime(app, dataclasses.replace(CONFIG, placement=placement), registry=registry) as runtime:
        answers = {modifier: await exchange(runtime, data) for modifier, data in PACKETS.items()}
        assert await exchange(runtime, encode_packet(48, 0, b"")) == b""
    assert {
        0: b"HTTP/1.0 200 OK\r\n\r\nbody",
        17: b"\xff\0\0\0",
        100: b"\x64\0\0\1",
        110: b"\xff\0\0\1",
        111: b"\x6f\x0c\0\x11\x06\0status\x02\0ok",
        173: b"\xad\x02\0\0ab",
        174: b"\xae\0\0\1\xad\x01\0\0x\x6f\x15\0\x11\x06\0status\x02\0ok\x04\0size\x01\x003\x01\0k",
    } == answers


@pytest.mark.parametrize("modifier", [pytest.param(key, marks=() if key == 0 else pytest.mark.long) for key in PACKETS])
async def test_damaged_packets_do_no_harm(
    registry: Registry, autojump_clock: trio.testing.MockClock, modifier: int
) -> None:
    """2,000 of each kind: changed, cut off, with bytes inserted; the runtime keeps serving, nothing is left open."""
    luck = random.Random(modifier)
    packet = PACKETS[modifier]
    async with open_runtime(app, CONFIG, registry=registry) as runtime:
        for _ in range(2000):
            data = bytearray(packet)
            for _ in range(luck.randint(1, 4)):
                place = luck.randrange(len(data) + 1)
                match luck.randrange(3):
                    case 0 if place < len(data):
                        data[place] = luck.randrange(256)
                    case 1:
                        del data[place:]
                    case _:
                        data[place:place] = luck.randbytes(luck.randint(1, 5))
            await exchange(runtime, bytes(data))
        assert b"\x64\0\0\1" == await exchange(runtime, PACKETS[100])
        http = runtime.statistics().http[0]
        assert (0, 0) == (http.running, http.open)


@all_placements
async def test_a_packet_that_does_not_come_is_not_waited_for(
    placement: Placement, registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    """64 KiB are announced and nothing is sent: the connection is closed at the header timeout."""
    async with open_runtime(app, dataclasses.replace(CONFIG, placement=placement), registry=registry) as runtime:
        for announced in (b"\xad\xff\xff\0", b"\x6f\xff\xff\x11"):
            async with runtime.connect("uwsgi") as stream:
                began = trio.current_time()
                await stream.send_all(announced)
                assert b"" == await stream.receive_some()
                assert 15 == round(trio.current_time() - began, 3)


@all_placements
async def test_functions_are_for_allowed_clients(
    placement: Placement, registry: Registry, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What the configuration does not allow is closed without a byte, or with a reason after a hello."""
    config = dataclasses.replace(CONFIG, placement=placement, modifiers={"rpc": "10.0.0.0/8"})
    async with open_runtime(app, config, registry=registry) as runtime:
        assert b"" == await exchange(runtime, PACKETS[173])
        assert b"refused" in await exchange(runtime, HelloCall().encode() + PACKETS[173])
        assert b"\xff\0\0\1" == await exchange(runtime, PACKETS[110])
    assert (
        "may not use rpc over the uwsgi protocol; set Config(modifiers={'rpc': [...]}), "
        "on the command line --modifier rpc=SOURCE, to allow it"
    ) in caplog.text


@all_placements
async def test_harakiri_of_a_function(
    placement: Placement, uwsgi_registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    """It is cancelled at its time; the caller is told after a hello, and sees the connection end without one."""

    @uwsgi_registry.rpc_handler("stuck")
    async def stuck() -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    call = RpcCall(name=b"stuck").encode()
    async with open_runtime(app, Config(harakiri=3, placement=placement), registry=uwsgi_registry) as runtime:
        began = trio.current_time()
        assert b"" == await exchange(runtime, call)
        assert b"failed" in await exchange(runtime, HelloCall().encode() + call)
        assert 6 == round(trio.current_time() - began, 3)
        await trio.sleep(1)
        assert 2 == sum(member.harakiri for member in runtime.statistics().members)


@all_placements
async def test_packets_that_come_early_are_all_answered(
    placement: Placement, registry: Registry, autojump_clock: trio.testing.MockClock
) -> None:
    """Of 2,000 pings and a call in one piece, each is answered in its turn, also when the client ended its side."""
    async with open_runtime(app, dataclasses.replace(CONFIG, placement=placement), registry=registry) as runtime:
        answer = await exchange(runtime, HelloCall().encode() + PACKETS[100] * 2_000 + PACKETS[173])
    assert b"\xae\0\0\1" + b"\x64\0\0\1" * 2_000 + b"\xad\x02\0\0ab" == answer


@all_placements
async def test_a_wrong_count_is_the_callers_failure(
    placement: Placement,
    uwsgi_registry: Registry,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the caller, and the function, which was not called, has not failed."""
    uwsgi_registry.register_rpc("one", lambda argument: b"", 1)
    async with open_runtime(app, Config(placement=placement), registry=uwsgi_registry) as runtime:
        answer = await exchange(runtime, HelloCall().encode() + RpcCall(name=b"one").encode())
        assert 0 == sum(member.failed for member in runtime.statistics().members)
    assert answer.endswith(b"it takes 1 argument, but was given 0")
    assert "127.0.0.1:49152: an RPC call was refused: RPC function 'one' gave no result" in caplog.text


EVIL = b'a\r\nFORGED \x1b[31m\x9b\x00"\\\xff'


@pytest.mark.parametrize(
    "data",
    [
        RpcCall(name=EVIL, args=(EVIL,)).encode(),
        RpcCall(name=b"fails", args=(EVIL,)).encode(),
        CacheCall(command="get", key=EVIL, cache=EVIL).encode(),
        encode_packet(17, 0, encode_vars([(EVIL, EVIL), (b"spooler", EVIL)])),
        encode_packet(111, 17, encode_vars([(b"cmd", EVIL), (b"key", EVIL)])),
        encode_packet(111, 17, encode_vars([(b"cmd", b"set"), (b"key", b"k"), (b"expires", EVIL), (b"size", EVIL)])),
        encode_packet(173, 2, encode_vars([(b"PATH_INFO", b"/" + EVIL), (b"REQUEST_METHOD", EVIL)])),
        encode_packet(0, 0, encode_vars([(b"CONTENT_LENGTH", EVIL)])),
        encode_packet(0, 0, encode_vars([(b"HTTP_TRANSFER_ENCODING", b"chunked"), (b"REQUEST_METHOD", EVIL)])) + EVIL,
        encode_packet(0, 0, EVIL),
        encode_packet(30, 0, EVIL),
        encode_packet(200, 9, EVIL),
    ],
    ids=range(12),
)
async def test_no_line_about_packets_can_be_forged(
    registry: Registry, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """Whatever is in a packet is escaped where the log, or the story of the test, repeats it; after a hello, too."""

    @registry.rpc_handler("fails")
    async def fails(argument: bytes) -> bytes:
        raise ValueError(argument)

    caplog.set_level(logging.INFO, "trio_uwsgi")
    async with open_runtime(app, CONFIG, registry=registry, allow_failures=True) as runtime:
        for greeting in (b"", HelloCall().encode()):
            await exchange(runtime, greeting + data)
        story = [event.what for event in runtime.log]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("trio_uwsgi")]
    for line in (*lines, *story):
        assert line.isprintable(), line
