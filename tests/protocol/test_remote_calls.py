"""Calls and answers between servers: encoded at one end, decoded at the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._protocol.packet import decode_array, decode_header, encode_array, encode_packet, encode_vars
from trio_uwsgi._protocol.remote_answers import (
    Answer,
    AnswerReader,
    CacheAnswer,
    Failure,
    HelloAnswer,
    PingAnswer,
    RpcAnswer,
    SignalAnswer,
    encode_answer,
)
from trio_uwsgi._protocol.remote_calls import (
    CacheCall,
    Call,
    HelloCall,
    OldCacheCall,
    PingCall,
    RpcCall,
    SignalCall,
    SpoolCall,
    decode_call,
    value_size,
)
from trio_uwsgi.errors import CacheError, RemoteProtocolError, RpcError, SpoolError, UwsgiError

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.pure

RPC = RpcCall(name=b"f")
GET = CacheCall(command="get", key=b"k")
CALLS: list[Call] = [
    HelloCall(),
    PingCall(),
    SignalCall(signum=0),
    SignalCall(signum=255),
    SpoolCall(pairs=()),
    SpoolCall(pairs=((b"a", b"1"), (b"a", b""), (b"body", b"\xff" * 60_000))),
    RPC,
    RpcCall(name=b"n" * 255, args=(b"", b"a", b"b" * 60_000)),
    RpcCall(name=b"f", args=(b"x",) * 254, style=1),
    GET,
    CacheCall(command="set", key=b"k", value=b"v" * 70_000, expires=9, cache=b"c"),
    CacheCall(command="update", key=b"k", cache=b""),
    CacheCall(command="del", key=b"k"),
    CacheCall(command="exists", key=b"k"),
    CacheCall(command="clear", cache=b"c"),
    CacheCall(command="keys"),
    CacheCall(command="num", key=b"k"),
    *(CacheCall(command=command, key=b"k", value=b"-12", expires=3) for command in ("inc", "dec", "mul", "div")),
    OldCacheCall(form=0, key=b"k"),
    OldCacheCall(form=1, key=b"k", value=b"v"),
    OldCacheCall(form=2, key=b"k"),
    OldCacheCall(form=5, key=b"k"),
]


def decoded(wire: bytes) -> Call:
    """The call that a server reads from the bytes of a client."""
    modifier1, size, modifier2 = decode_header(wire)
    packet, body = wire[4 : 4 + size], wire[4 + size :]
    assert len(packet) == size
    assert len(body) == (value_size(packet) if (modifier1, modifier2) == (111, 17) else 0)
    return decode_call(modifier1, modifier2, packet, body)


def read(call: Call, pieces: Iterable[bytes], limit: int = 1 << 20) -> tuple[Answer | None, bytes]:
    """The answer that a client reads from pieces of a connection that ends after them, and what was behind it."""
    reader = AnswerReader(call, limit)
    pieces = list(pieces)
    for number, piece in enumerate(pieces, 1):
        answer = reader.feed(piece)
        if answer is not None:
            return answer, reader.rest + b"".join(pieces[number:])
    return reader.feed_eof(), b""


def read_all_ways(call: Call, wire: bytes) -> Answer | None:
    """Read an answer cut into two pieces at every place (or near the places that matter), and byte by byte."""
    expected = read(call, [wire] if wire else [])
    places = range(len(wire)) if len(wire) < 3000 else [*range(50), *range(len(wire) - 50, len(wire)), 65535]
    for place in places:
        assert expected == read(call, [wire[:place], wire[place:]])
    if len(wire) < 3000:
        assert expected == read(call, [wire[at : at + 1] for at in range(len(wire))])
    return expected[0]


# --- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS, ids=lambda call: repr(call)[:40])
def test_calls_round_trip(call: Call) -> None:
    """What a client encodes is what a server decodes."""
    assert call == decoded(call.encode())


def test_a_job_that_no_packet_holds_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(SpoolError, match=r"the job was not sent: .* at most 65535 bytes"):
        SpoolCall(pairs=((b"body", b"x" * 65_536),)).encode()


@given(st.binary(min_size=1, max_size=255), st.lists(st.binary(max_size=200), max_size=254), st.sampled_from([0, 1]))
def test_rpc_calls_round_trip(name: bytes, args: list[bytes], style: int) -> None:
    """Any name and any arguments arrive as they were given."""
    call = RpcCall(name=name, args=tuple(args), style=style)
    assert call == decoded(call.encode())


@given(
    st.sampled_from(["get", "set", "update", "del", "exists", "num"]),
    st.binary(min_size=1, max_size=300),
    st.binary(max_size=300),
    st.integers(0, 10**9),
    st.none() | st.binary(max_size=30),
)
def test_cache_calls_round_trip(command: str, key: bytes, value: bytes, expires: int, cache: bytes | None) -> None:
    """Any key, value, expiry and cache arrive as they were given; an absent cache stays different from an empty one."""
    value = value if command in ("set", "update") else b""
    call = CacheCall(command=command, key=key, value=value, expires=expires, cache=cache)
    assert call == decoded(call.encode())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (RpcCall(name=b""), "the name of an RPC function has 1 to 255 bytes; b'' has 0"),
        (RpcCall(name=b"n" * 256), f"the name of an RPC function has 1 to 255 bytes; {b'n' * 40!r} has 256"),
        (RpcCall(name=b"f", args=(b"",) * 255), "an RPC call takes at most 254 arguments, and this one has 255"),
        (
            RpcCall(name=b"f", args=(b"a", b"b" * 65_536, b"c")),
            "an RPC call takes at most 65535 bytes, with 2 for the size of the name and each argument; "
            "this one has 65547, of which argument 2 has 65536",
        ),
        (
            RpcCall(name=b"f", args=(b"a" * 40_000, b"b" * 40_000)),
            "an RPC call takes at most 65535 bytes, with 2 for the size of the name and each argument; "
            "this one has 80007, of which argument 1 has 40000",
        ),
        (CacheCall(command="put", key=b"k"), "the cache command 'put' is not known"),
        (CacheCall(command="get"), "the cache command get has no key"),
        (
            CacheCall(command="inc", key=b"k", value=b"1.5"),
            "the operand of the cache command inc is b'1.5', which is not a number",
        ),
        (
            CacheCall(command="get", key=b"k" * 65_536),
            "the cache command get is too long for the uwsgi protocol: "
            "the value of var b'key' has at most 65535 bytes, and this one has 65536",
        ),
        (
            CacheCall(command="get", key=b"k" * 65_530),
            "the cache command get is too long for the uwsgi protocol: "
            "the body of a uwsgi packet has at most 65535 bytes, and this one has 65547",
        ),
    ],
    ids=range(10),
)
def test_calls_that_cannot_be_made(call: Call, message: str) -> None:
    """What the protocol does not take is refused before anything is sent, and the error says what and how much."""
    kind: type[UwsgiError] = RpcError if isinstance(call, RpcCall) else CacheError
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call.encode()


def test_the_largest_rpc_call() -> None:
    """A call may fill its packet to the last byte."""
    call = RpcCall(name=b"f", args=(b"a" * (65_535 - 2 - 1 - 2),))
    assert 4 + 65_535 == len(call.encode())
    assert call == decoded(call.encode())


def test_an_old_cache_call_that_is_too_long() -> None:
    """The old commands have their value inside of the packet."""
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        OldCacheCall(form=1, key=b"k", value=b"v" * 65_535).encode()


def test_operand() -> None:
    """The operand of an arithmetic command is a number."""
    assert -12 == CacheCall(command="mul", key=b"k", value=b"-12").operand


def vars_of(**found: bytes) -> bytes:
    """The body of a packet with these vars."""
    return encode_vars([(name.encode(), value) for name, value in found.items()])


@pytest.mark.parametrize(
    ("modifiers", "packet", "body", "message"),
    [
        ((173, 0), b"", b"", "an RPC call has no name, or one of more than 255 bytes"),
        ((173, 0), encode_array([b""]), b"", "an RPC call has no name, or one of more than 255 bytes"),
        ((173, 1), encode_array([b"n" * 256]), b"", "an RPC call has no name, or one of more than 255 bytes"),
        ((173, 0), encode_array([b"f"] * 256), b"", "there are more than 255 items"),
        ((173, 0), b"\x05\x00hell", b"", "item 0 is cut off: it ends at byte 7, the packet at 6"),
        ((173, 2), vars_of(PATH_INFO=b"/f"), b"", "modifier1 173 with modifier2 2 is not supported"),
        ((173, 3), b"", b"", "modifier1 173 with modifier2 3 is not supported"),
        ((174, 0), b"", b"", "modifier1 174 with modifier2 0 is not supported"),
        ((48, 0), b"", b"", "modifier1 48 with modifier2 0 is not supported"),
        ((111, 17), b"", b"", "the cache command '' is not known"),
        ((111, 17), vars_of(cmd=b"magic", key=b"k"), b"", "the cache command 'magic' is not known"),
        ((111, 17), vars_of(cmd=b"get"), b"", "the cache command get has no key"),
        (
            (111, 17),
            vars_of(cmd=b"set", key=b"k", size=b"3"),
            b"ab",
            "the cache command set has a value of 2 bytes, which is not the announced size",
        ),
        (
            (111, 17),
            vars_of(cmd=b"set", key=b"k"),
            b"",
            "the size of a value is b'', which is not a number of at most 18 digits",
        ),
        (
            (111, 17),
            vars_of(cmd=b"get", key=b"k", expires=b"-1"),
            b"",
            "an expiry is b'-1', which is not a number of at most 18 digits",
        ),
        (
            (111, 17),
            vars_of(cmd=b"inc", key=b"k"),
            b"",
            "the operand of the cache command inc is b'', which is not a number",
        ),
        ((111, 0), b"", b"", "an old cache command has no key"),
        ((111, 1), encode_array([b"k"]), b"", "an old cache command lacks its key or its value"),
        ((111, 1), encode_array([b"k"] * 3), b"", "there are more than 2 items"),
        ((111, 6), b"c", b"", "the modifier2 6 is not that of a cache command"),
    ],
)
def test_malformed_calls(modifiers: tuple[int, int], packet: bytes, body: bytes, message: str) -> None:
    """The error says what is wrong with the call."""
    with pytest.raises(RemoteProtocolError, match=f"^{re.escape(message)}$"):
        decode_call(*modifiers, packet, body)


def test_value_size() -> None:
    """A value follows the commands that store one, as long as they say, and nothing else."""
    assert 7 == value_size(vars_of(cmd=b"set", key=b"k", size=b"7"))
    assert 0 == value_size(vars_of(cmd=b"get", key=b"k"))
    assert 0 == value_size(vars_of(cmd=b"get", key=b"k", size=b"7"))
    with pytest.raises(RemoteProtocolError, match="18 digits"):
        value_size(vars_of(cmd=b"update", key=b"k", size=b"9" * 19))


# --- answers ----------------------------------------------------------------------------------------------------------


ANSWERS: list[tuple[Call, Answer]] = [
    (HelloCall(), HelloAnswer()),
    (PingCall(), PingAnswer()),
    (PingCall(), PingAnswer(warning=b"beware")),
    (SignalCall(signum=1), SignalAnswer(accepted=True)),
    (SignalCall(signum=1), SignalAnswer(accepted=False)),
    (SpoolCall(pairs=()), SignalAnswer(accepted=True)),
    *((RPC, RpcAnswer(result=b"r" * size)) for size in (1, 2, 65_535, 65_536, 300_000)),
    (GET, CacheAnswer(value=b"v" * 70_000, expires=1_795_327_740)),
    (GET, CacheAnswer(value=b"")),
    (CacheCall(command="clear"), CacheAnswer()),
    (CacheCall(command="keys"), CacheAnswer(value=encode_array([b"a", b"b"]))),
]


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize(("call", "answer"), ANSWERS, ids=lambda value: repr(value)[:40])
def test_answers_round_trip(call: Call, answer: Answer, greeted: bool) -> None:
    """What a server encodes is what a client decodes, however it is cut."""
    assert answer == read_all_ways(call, encode_answer(call, answer, greeted=greeted))


@given(st.binary(max_size=400), st.binary(max_size=20), st.integers(1, 10))
def test_what_is_behind_an_answer_is_kept(result: bytes, rest: bytes, size: int) -> None:
    """The bytes behind an answer are the beginning of the next one, and are not lost."""
    wire = encode_answer(RPC, RpcAnswer(result=result), greeted=True) + rest
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert (RpcAnswer(result=result), rest) == read(RPC, pieces)


def test_keys_are_an_array() -> None:
    """The answer to `keys` is an array of them, which may be longer than a packet."""
    keys = [b"%05d" % number * 10 for number in range(3000)]
    wire = encode_answer(CacheCall(command="keys"), CacheAnswer(value=encode_array(keys)), greeted=True)
    answer = read_all_ways(CacheCall(command="keys"), wire)
    assert isinstance(answer, CacheAnswer)
    assert keys == decode_array(answer.value or b"", 3000)


@pytest.mark.parametrize("call", [RPC, GET, PingCall(), SignalCall(signum=3), HelloCall()])
def test_failures_have_a_reason_after_a_hello(call: Call) -> None:
    """A failed call of any kind is answered with a word for programs and a sentence for people."""
    failure = Failure(kind="not-found", reason="nö")
    assert failure == read_all_ways(call, encode_answer(call, failure, greeted=True))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (RPC, b""),
        (RpcCall(name=b"f", style=1), b""),
        (GET, b""),
        (PingCall(), b""),
        (SignalCall(signum=3), b"\xff\x00\x00\x00"),
        (OldCacheCall(form=0, key=b"k"), b""),
        (OldCacheCall(form=2, key=b"k"), b""),
        (OldCacheCall(form=5, key=b"k"), b"\x6f\x00\x00\x00"),
    ],
)
def test_failures_without_a_hello_are_those_of_uwsgi(call: Call, expected: bytes) -> None:
    """Without a hello the connection closes without a byte, except where uWSGI has a byte for it."""
    assert expected == encode_answer(call, Failure(kind="failed", reason="why"), greeted=False)


def test_a_long_reason_is_cut() -> None:
    """The reason of a failure cannot make its packet too long, not even in the middle of a character."""
    answer = read_all_ways(RPC, Failure(kind="failed", reason="é" * 70_000 + "x").encode())
    assert Failure(kind="failed", reason="é" * 2048) == answer
    answer = read_all_ways(RPC, Failure(kind="failed", reason="x" + "é" * 70_000).encode())
    assert Failure(kind="failed", reason="x" + "é" * 2047 + "\ufffd") == answer


@pytest.mark.parametrize("greeted", [False, True])
def test_empty_results(greeted: bool) -> None:
    """An empty result is an answer after a hello, and none without it, as in uWSGI."""
    wire = encode_answer(RPC, RpcAnswer(result=b""), greeted=greeted)
    assert (b"\xad\x00\x00\x00" if greeted else b"") == wire
    assert (RpcAnswer(result=b"") if greeted else None) == read_all_ways(RPC, wire)


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_bare_results(size: int) -> None:
    """A call in style 1 is answered with the result alone; the end of the connection is its end."""
    call = RpcCall(name=b"f", style=1)
    wire = encode_answer(call, RpcAnswer(result=b"r" * size), greeted=False)
    assert b"r" * size == wire
    assert (RpcAnswer(result=wire) if size else None) == read_all_ways(call, wire)


def test_old_cache_answers() -> None:
    """Old commands are answered as documented, without the pointer that uWSGI sends for a header."""
    found = CacheAnswer(value=b"value", expires=1)
    assert b"\x6f\x05\x00\x00value" == encode_answer(OldCacheCall(form=0, key=b"k"), found, greeted=False)
    assert b"\x6f\x00\x00\x01value" == encode_answer(OldCacheCall(form=5, key=b"k"), found, greeted=False)
    long = CacheAnswer(value=b"v" * 65_536)
    assert b"" == encode_answer(OldCacheCall(form=0, key=b"k"), long, greeted=False)
    assert 65_540 == len(encode_answer(OldCacheCall(form=5, key=b"k"), long, greeted=False))
    assert b"" == encode_answer(OldCacheCall(form=1, key=b"k"), CacheAnswer(), greeted=False)
    assert b"" == encode_answer(OldCacheCall(form=2, key=b"k"), CacheAnswer(), greeted=False)


@pytest.mark.parametrize(
    ("call", "wire"),
    [
        (RPC, encode_packet(173, 0, b"result")),
        (RPC, RpcAnswer(result=b"r" * 65_536).encode()),
        (GET, CacheAnswer(value=b"value").encode()),
        (SignalCall(signum=1), SignalAnswer(accepted=True).encode()),
    ],
    ids=range(4),
)
def test_answers_that_are_cut_off(call: Call, wire: bytes) -> None:
    """A connection that ends inside of an answer is an error, not a short result; one without a byte is a "no"."""
    for end in {1, 3, 4, 5, len(wire) - 1} - {len(wire)}:
        if end < len(wire):
            with pytest.raises(RemoteProtocolError, match=f"^the connection ended after {end} bytes of the answer"):
                read(call, [wire[:end]])
    assert (None, b"") == read(call, [])


@pytest.mark.parametrize(
    ("call", "wire", "message"),
    [
        (RPC, b"HTTP/1.1 400 Bad Request\r\n", "the modifiers 72 and 80 are not those of an answer to a RpcCall"),
        (RPC, encode_packet(173, 1, b""), "the modifiers 173 and 1 are not those of an answer to a RpcCall"),
        (GET, encode_packet(111, 0, b""), "the modifiers 111 and 0 are not those of an answer to a CacheCall"),
        (HelloCall(), encode_packet(174, 2, b""), "the modifiers 174 and 2 are not those of an answer to a HelloCall"),
        (SignalCall(signum=1), b"\x64\0\0\1", "the modifiers 100 and 1 are not those of an answer to a SignalCall"),
        (RPC, encode_packet(173, 0, b"r" * 101), "the answer is larger than 100 bytes"),
        (RPC, encode_packet(173, 5, vars_of(CONTENT_LENGTH=b"101")), "the answer is larger than 100 bytes"),
        (RpcCall(name=b"f", style=1), b"r" * 101, "the answer is larger than 100 bytes"),
        (GET, encode_packet(111, 17, vars_of(status=b"ok", size=b"101")), "the answer is larger than 100 bytes"),
        (RPC, encode_packet(173, 5, b""), "the size of a result is b'', which is not a number of at most 18 digits"),
        (RPC, encode_packet(173, 5, b"x"), "var 1 is cut off: the packet's 1 bytes end before it"),
        (
            GET,
            encode_packet(111, 17, vars_of(status=b"ok", size=b"")),
            "the size of a value is b'', which is not a number of at most 18 digits",
        ),
        (
            GET,
            encode_packet(111, 17, vars_of(status=b"ok", size=b"1", expires=b"soon")),
            "an expiry is b'soon', which is not a number of at most 18 digits",
        ),
    ],
    ids=range(13),
)
def test_what_is_not_an_answer(call: Call, wire: bytes, message: str) -> None:
    """Another protocol, another call's answer, and more than the client takes, are refused as soon as they show."""
    with pytest.raises(RemoteProtocolError, match=f"^{re.escape(message)}$"):
        read(call, [wire], 100)


def test_a_large_answer_is_refused_before_it_comes() -> None:
    """The announced size is enough to refuse a result or a value."""
    answers: list[tuple[Call, Any]] = [(RPC, RpcAnswer(result=b"r" * 70_000)), (GET, CacheAnswer(value=b"v" * 70_000))]
    for call, answer in answers:
        reader = AnswerReader(call, 69_999)
        with pytest.raises(RemoteProtocolError, match="larger than 69999"):
            reader.feed(answer.encode()[:50])


def test_other_words_of_a_cache() -> None:
    """uWSGI's protocol has other states than `ok`, though no release sends them: they are failures of that kind."""
    wire = encode_packet(111, 17, vars_of(status=b"notfound"))
    assert Failure(kind="notfound", reason="the cache answered 'notfound'") == read_all_ways(GET, wire)
