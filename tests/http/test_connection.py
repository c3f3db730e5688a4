"""One client on a memory stream: what follows what, and when."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._http.lingering import LINGER_BYTES

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def test_a_connection_is_kept_for_several_requests(open_http: Any) -> None:
    """Requests of one connection are answered one after the other, with the headers every response has."""
    client = (await open_http(hello)).connect()
    first = await client.get("/one")
    assert (200, b"/one") == (first.status, first.body)
    assert "trio-uwsgi" == first.headers["server"]
    assert first.headers["date"].endswith("GMT")
    assert b"/two" == (await client.get("/two")).body


async def test_pipelined_requests_are_answered_in_order(open_http: Any) -> None:
    """A hundred requests sent at once are answered in order, one at a time."""
    running = []
    most = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        running.append(scope["path"])
        most.append(len(running))
        await trio.lowlevel.checkpoint()
        await hello(scope, receive, send)
        running.remove(scope["path"])

    client = (await open_http(slow)).connect()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(100)))
    assert [b"/%d" % n for n in range(100)] == [(await client.response()).body for n in range(100)]
    # The next request begins when a response is complete, which the application may outlive by a step.
    assert max(most) <= 2


async def test_a_head_may_come_byte_by_byte(open_http: Any) -> None:
    """Where the client's writes end does not matter."""
    client = (await open_http(hello)).connect()
    for n in range(len(GET)):
        await client.send(GET[n : n + 1])
        await wait_all_tasks_blocked()
    assert b"/" == (await client.response()).body


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_connection_closes_when_the_client_says_so(open_http: Any, version: str) -> None:
    """HTTP/1.0 closes by default, HTTP/1.1 on demand; the response says it."""
    client = (await open_http(hello)).connect()
    await client.send(b"GET / HTTP/%s\r\nHost: x\r\nConnection: close\r\n\r\n" % version.encode())
    data = await client.read_all()
    assert b"connection: close\r\n" in data
    assert data.endswith(b"\r\n\r\n/")


async def test_an_http_1_0_client_may_keep_its_connection(open_http: Any) -> None:
    """A 1.0 client that asks for keep-alive gets it, and a header that says so."""
    client = (await open_http(hello)).connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert "keep-alive" == (await client.response()).headers["connection"]


async def test_a_stream_to_a_1_0_client_ends_with_the_connection(open_http: Any) -> None:
    """Without chunks and without a length, the end of the connection is the end of the body."""
    client = (await open_http(echo)).connect()
    await client.send(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\na")
    await wait_all_tasks_blocked()
    await client.send(b"bc")
    data = await client.read_all()
    assert data.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in data


async def test_head_gets_no_body(open_http: Any) -> None:
    """HEAD is answered with the head only, and the connection stays open."""
    client = (await open_http(hello)).connect()
    await client.send(GET.replace(b"GET", b"HEAD"))
    assert b"" == (await client.response("HEAD")).body
    assert b"/" == (await client.get()).body


async def test_a_body_that_comes_after_pipelined_requests(open_http: Any) -> None:
    """A request that waited for its turn with only a part of its body gets the rest."""
    client = (await open_http(echo)).connect()
    await client.send(GET + GET + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    await wait_all_tasks_blocked()
    await client.send(b"body" + GET)
    assert [b"", b"", b"body", b""] == [(await client.response()).body for _ in range(4)]


async def test_chunks_in_both_directions(open_http: Any) -> None:
    """A chunked body reaches the application in pieces, and a response of unknown length is chunked."""
    client = (await open_http(echo)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await wait_all_tasks_blocked()
    await client.send(b"2\r\nde\r\n0\r\n\r\n")
    answer = await client.response()
    assert ("chunked", b"abcde") == (answer.headers["transfer-encoding"], answer.body)


async def test_continue_is_sent_when_the_body_is_wanted(open_http: Any) -> None:
    """`100 Continue` is sent when the application first asks for the body, and once."""
    client = (await open_http(echo)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.receive()
    await client.send(b"a")
    await wait_all_tasks_blocked()
    await client.send(b"b")
    assert b"ab" == (await client.response()).body


async def test_an_answer_without_the_body_ends_an_expecting_connection(open_http: Any) -> None:
    """When the application answers without reading, the client is not asked to continue and the connection ends."""
    client = (await open_http(hello)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    data = await client.read_all()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in data


async def test_a_small_unread_body_is_skipped(open_http: Any) -> None:
    """A body that the application left is thrown away, and the connection serves the next request."""
    client = (await open_http(hello)).connect()
    await client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" + bytes(4000))
    assert b"/a" == (await client.response()).body
    await client.send(bytes(6000) + GET)
    assert b"/" == (await client.response()).body


async def test_a_large_unread_body_ends_the_connection(open_http: Any) -> None:
    """More than 64 KiB are not skipped: the connection ends, after the client could read the answer."""
    client = (await open_http(hello)).connect()
    await client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + bytes(4000))
    assert b"/a" == (await client.response()).body
    for _ in range(5):
        await client.send(bytes(30000))
        await wait_all_tasks_blocked()
    assert b"" == await client.read_all()


async def test_a_half_closed_client_gets_its_responses(open_http: Any) -> None:
    """A client that shuts its sending side is answered, everything it asked, and then the connection closes."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await trio.lowlevel.checkpoint()
        await hello(scope, receive, send)

    client = (await open_http(slow)).connect()
    await client.send(GET * 3)
    await client.send_eof()
    assert 3 == (await client.read_all()).count(b"HTTP/1.1 200 OK")


async def test_malformed_input_is_refused(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is not HTTP gets a 400, the end of the connection, one log line, and never reaches the application."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(b"GET / HTTP\r\n\r\n")
    data = await client.read_all()
    assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert 0 == world.service.statistics().requests
    assert ["192.0.2.1:4711: refused with 400"] == [record.getMessage()[:32] for record in caplog.records]


async def test_requests_before_malformed_input_are_answered(open_http: Any) -> None:
    """The refusal comes after the answers to what was right before it."""
    client = (await open_http(hello)).connect()
    await client.send(GET + GET + b"GET / HTTP\r\n\r\n")
    data = await client.read_all()
    assert [b"200", b"200", b"400"] == [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]]


async def test_a_bad_body_ends_its_request(open_http: Any) -> None:
    """A bad chunk in a body that is being read: the client gets a 400, the application a disconnect."""
    seen = []

    async def reader(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message["body"])
        seen.append("disconnect")

    client = (await open_http(reader)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await wait_all_tasks_blocked()
    await client.send(b"xyz\r\n")
    assert (await client.read_all()).startswith(b"HTTP/1.1 400 ")
    assert [b"a", "disconnect"] == seen


async def test_a_bad_body_behind_another_request_is_refused_in_turn(open_http: Any) -> None:
    """A request whose body is already known to be broken is not run."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(GET + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    data = await client.read_all()
    assert [b"200", b"400"] == [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]]
    assert 1 == world.service.statistics().requests


async def test_a_body_over_the_limit_is_refused_and_the_client_can_read_it(open_http: Any) -> None:
    """413 for a body that is too large; what the client still sends is read away so that it sees the answer."""
    client = (await open_http(echo, max_body=100)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    answer = await client.response()
    assert 413 == answer.status
    await client.send(bytes(200000))
    assert b"" == await client.receive()


async def test_lingering_is_bounded_in_bytes(open_http: Any) -> None:
    """A refused client that sends without end is disconnected."""
    client = (await open_http(hello)).connect()
    await client.send(b"GET / HTTP\r\n\r\n")
    assert 400 == (await client.response()).status
    sent = 0
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            await client.send(bytes(1 << 22))
            await wait_all_tasks_blocked()
            sent += 1 << 22
    assert LINGER_BYTES <= sent + (1 << 22) <= LINGER_BYTES + (1 << 23)


async def test_lingering_is_bounded_in_time(open_http: Any, autojump_clock: Any) -> None:
    """A refused client that stays is cut off after two seconds."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(b"GET / HTTP\r\n\r\n")
    await client.response()
    world.service.drain()
    await world.service.wait_drained()
    assert 2 == trio.current_time()


async def test_lingering_goes_on_while_the_client_sends(open_http: Any, autojump_clock: Any) -> None:
    """A client that is slow to send input that is discarded has half a minute for it."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(b"GET / HTTP\r\n\r\n")
    assert 400 == (await client.response()).status
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            await trio.sleep(1)
            await client.send(b"x")
    assert 31 <= trio.current_time() <= 33
    assert 0 == world.service.statistics().open


async def test_a_stop_does_not_wait_for_a_client_that_keeps_sending(open_http: Any, autojump_clock: Any) -> None:
    """While the service stops, what a refused client sends does not keep it up."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(b"GET / HTTP\r\n\r\n")
    await client.response()
    world.service.drain()
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            await trio.sleep(0.5)
            await client.send(b"x")
    await world.service.wait_drained()
    assert trio.current_time() <= 3


async def test_a_refused_head_has_no_body(open_http: Any) -> None:
    """Whatever is refused of a HEAD, and by whomever: the answer ends with its head (RFC 9110 9.3.2)."""
    for rest in (
        b" / HTTP/1.1\r\n\r\n",
        b" / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b" / HTTP/3.1\r\nHost: a\r\n\r\n",
        b" / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
        b" / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
        b" / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n",
        b" / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\n",
        b" /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        b" /" + b"a" * 70_000,
        b" / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ):
        for method in (b"HEAD", b"POST"):
            client = (await open_http(hello, max_body=100)).connect()
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(method + rest)
            answer = await client.read_all()
            assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
            assert (method == b"HEAD") is answer.endswith(b"\r\n\r\n"), answer


async def test_a_late_head_of_head_has_no_body(open_http: Any, autojump_clock: Any) -> None:
    """A HEAD that does not come whole is refused without a body, too."""
    client = (await open_http(hello)).connect()
    await client.send(b"HEAD / HTTP/1.1\r\nHost")
    answer = await client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"\r\n\r\n")


# --- time -------------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed(open_http: Any, autojump_clock: Any) -> None:
    """Between two requests a client has keep_alive seconds."""
    client = (await open_http(hello)).connect()
    await client.get()
    start = trio.current_time()
    assert b"" == await client.receive()
    assert 75 == trio.current_time() - start


async def test_a_client_that_sends_nothing_is_closed(open_http: Any, autojump_clock: Any) -> None:
    """The first head must come within header seconds; a client that sent nothing gets no answer."""
    client = (await open_http(hello)).connect()
    assert b"" == await client.receive()
    assert 15 == trio.current_time()


async def test_a_slow_head_is_refused(open_http: Any, autojump_clock: Any) -> None:
    """A head that comes a byte a second is cut off header seconds after its first byte."""
    client = (await open_http(hello)).connect()
    await client.get()
    await trio.sleep(20)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def drip() -> None:
            for byte in GET:
                await client.send(bytes([byte]))
                await trio.sleep(1)

        assert 408 == (await client.response()).status
        assert 15 == trio.current_time() - start
        nursery.cancel_scope.cancel()


async def test_a_body_that_stalls_is_given_up(open_http: Any, autojump_clock: Any) -> None:
    """A client that stops in the middle of its body gets a 408 after socket seconds; the application a disconnect."""
    seen = []

    async def reader(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        seen.append(message["type"])

    client = (await open_http(reader)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    for _ in range(3):
        await trio.sleep(50)  # every step counts anew
        await client.send(b"a")
    answer = await client.response()
    assert (408, 210) == (answer.status, trio.current_time())
    await wait_all_tasks_blocked()
    assert ["http.disconnect"] == seen


async def test_an_application_that_does_not_read_is_not_a_stalled_client(open_http: Any, autojump_clock: Any) -> None:
    """While 100 Continue was not sent, the client rightly sends nothing."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1000)
        await echo(scope, receive, send)

    client = (await open_http(late)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.receive()
    await client.send(b"ab")
    assert b"ab" == (await client.response()).body


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(10000), "more_body": True})


async def test_a_slow_reader_holds_its_application_back(open_http: Any) -> None:
    """An endless response is produced as fast as its client reads, and what waits in memory is bounded."""
    sent = []

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(10000), "more_body": True})
            sent.append(10000)

    world = await open_http(counting)
    client = world.connect(narrow=100_000)
    await client.send(GET)
    await wait_all_tasks_blocked()
    assert 100_000 <= sum(sent) <= 250_000
    (session,) = world.service.sessions
    assert session.pending <= 65536 + 10020


async def test_a_client_that_never_reads_is_given_up(open_http: Any, autojump_clock: Any) -> None:
    """Output that is not taken for socket seconds ends the connection, and the application's next send fails."""
    errors = []

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        try:
            await endless(scope, receive, send)
        except OSError as error:
            errors.append(type(error).__name__)

    world = await open_http(streaming)
    client = world.connect(narrow=100_000)
    await client.send(GET)
    await wait_all_tasks_blocked()
    await trio.sleep(60.5)
    assert ["ClientDisconnected"] == errors
    assert 0 == world.service.statistics().open


async def test_a_response_that_never_waits_lets_others_run(open_http: Any) -> None:
    """An endless stream to a client that takes everything does not starve the rest."""
    world = await open_http(endless)
    client = world.connect()
    await client.send(GET)
    with trio.fail_after(5):
        for _ in range(10):
            await client.receive()
    await client.close()


async def test_pipelined_responses_wait_for_the_reader(open_http: Any) -> None:
    """Requests of a client that does not read its responses are not begun."""

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(100_000)})

    world = await open_http(large)
    client = world.connect(narrow=1000)
    await client.send(GET * 10)
    await wait_all_tasks_blocked()
    assert 1 == world.service.statistics().requests
    client.server_end.open_wide()
    for _ in range(10):
        assert 100_000 == len((await client.response()).body)


async def test_an_unread_body_is_not_received(open_http: Any) -> None:
    """While the application does not read its body, at most two reads of it are held in memory."""
    asked = trio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await asked.wait()
        await echo(scope, receive, send)

    world = await open_http(late)
    client = world.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    await wait_all_tasks_blocked()
    await client.send(bytes(1_000_000))
    await wait_all_tasks_blocked()
    (session,) = world.service.sessions
    assert session.request.buffered <= 131072
    asked.set()
    assert 1_000_000 == len((await client.response()).body)


# --- disconnects ------------------------------------------------------------------------------------------------------


async def test_a_disconnect_is_told_to_the_application(open_http: Any) -> None:
    """receive() gives http.disconnect when the client disconnects, and send() raises an OSError afterwards."""
    seen = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except OSError as error:
            seen.append(type(error).__name__)
            raise

    world = await open_http(waiting)
    client = world.connect()
    await client.send(GET)
    await client.close()
    await wait_all_tasks_blocked()
    assert ["http.request", "http.disconnect", "ClientDisconnected"] == seen
    assert [] == world.journal.failures
    assert (0, 0) == (world.service.statistics().open, world.service.statistics().running)


async def test_a_disconnect_in_a_body_is_told(open_http: Any) -> None:
    """After a disconnect in the middle of the body, receive() gives the part that was sent, then http.disconnect."""
    seen = []

    async def reader(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(message["body"])
        seen.append(message["type"])

    world = await open_http(reader)
    client = world.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    await client.close()
    await wait_all_tasks_blocked()
    assert [b"abc", "http.disconnect"] == seen
    assert 0 == world.service.statistics().open


async def test_a_disconnect_cancels_when_asked(open_http: Any) -> None:
    """With cancel_on_disconnect the application is cancelled, which is neither harakiri nor a failure."""
    ended = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    world = await open_http(waiting, cancel_on_disconnect=True)
    client = world.connect()
    await client.send(GET)
    await wait_all_tasks_blocked()
    assert [] == ended
    await client.close()
    await wait_all_tasks_blocked()
    assert [True] == ended
    assert (0, []) == (world.service.calls.harakiris, world.journal.failures)
    assert (0, 0) == (world.service.statistics().open, world.service.statistics().running)
    assert b"/" == (await (await open_http(hello)).connect().get()).body


async def test_a_disconnect_alone_cancels_nothing(open_http: Any, autojump_clock: Any) -> None:
    """Without the option the application runs to its end."""
    ended = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(10)
        ended.append(True)

    world = await open_http(slow)
    client = world.connect()
    await client.send(GET)
    await client.close()
    await trio.sleep(9)
    assert [] == ended
    await trio.sleep(2)
    assert [True] == ended
    assert 0 == world.service.statistics().open


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_drain_closes_idle_connections_and_lets_requests_end(open_http: Any, autojump_clock: Any) -> None:
    """A graceful stop: idle clients are closed at once, a running request ends with `connection: close`."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(10 if scope["path"] == "/slow" else 0)
        await hello(scope, receive, send)

    world = await open_http(slow)
    idle, busy = world.connect(), world.connect()
    await idle.get()
    await busy.send(GET.replace(b"/ ", b"/slow "))
    await wait_all_tasks_blocked()
    world.service.drain()
    world.service.drain()  # a second call changes nothing
    assert b"" == await idle.receive()
    assert 0 == trio.current_time()
    assert "close" == (await busy.response()).headers["connection"]
    await world.service.wait_drained()
    assert 10 == trio.current_time()


async def test_a_client_that_was_not_told_of_a_drain(open_http: Any, autojump_clock: Any) -> None:
    """If the head of a response was sent before the service drained, one more request is answered; then it ends."""
    go = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"b"})

    world = await open_http(app)
    client, silent = world.connect(), world.connect()
    for one in (client, silent):
        await one.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    world.service.drain(others_serve=True)
    go.set()
    assert b"ab" == (await client.response()).body
    assert b"ab" == (await silent.response()).body
    answer = await client.get()
    assert (b"ab", "close") == (answer.body, answer.headers["connection"])
    began = trio.current_time()
    await world.service.wait_drained()
    assert 2 == pytest.approx(trio.current_time() - began)


async def test_drain_does_not_wait_for_an_unread_body(open_http: Any, autojump_clock: Any) -> None:
    """A client that was answered and still owes its body is not waited for."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    assert 200 == (await client.response()).status
    start = trio.current_time()
    world.service.drain()
    await world.service.wait_drained()
    assert trio.current_time() - start <= 2  # the lingering close


async def test_a_head_that_has_begun_is_served_while_draining(open_http: Any) -> None:
    """A request whose first bytes were received before the stop is answered."""
    world = await open_http(hello)
    client = world.connect()
    await client.send(GET[:10])
    await wait_all_tasks_blocked()
    world.service.drain()
    await client.send(GET[10:])
    assert "close" == (await client.response()).headers["connection"]
    await world.service.wait_drained()


async def test_cancellation_closes_everything(open_http: Any) -> None:
    """A hard stop closes connections, and no task runs on."""
    ended = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with trio.open_nursery() as nursery:
        world = await open_http(waiting, nursery=nursery)
        busy, idle = world.connect(), world.connect()
        await busy.send(GET)
        await idle.send(GET[:10])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [True] == ended
    assert (b"", b"") == (await busy.receive(), await idle.receive())
    assert 0 == world.service.statistics().open


async def test_statistics_and_repr(open_http: Any) -> None:
    """The counters count, and a session shows where in its life it is."""
    world = await open_http(hello)
    client = world.connect()
    await client.get()
    await client.get()
    statistics = world.service.statistics()
    assert (2, 1, 0, 1) == (statistics.requests, statistics.connections, statistics.running, statistics.open)
    (session,) = world.service.sessions
    assert "<StreamSession 192.0.2.1:4711 IDLE queue=0 pending=0>" == repr(session)


async def test_a_stream_without_half_close_is_closed_after_a_refusal(open_http: Any) -> None:
    """Where the sending side cannot be shut alone, as with TLS, there is no lingering."""
    world = await open_http(hello)
    client = world.connect(narrow=-1)
    await client.send(b"GET / HTTP\r\n\r\n")
    assert (await client.read_all()).startswith(b"HTTP/1.1 400")
    assert 0 == world.service.statistics().open


# --- the access log ---------------------------------------------------------------------------------------------------


async def test_the_access_log_has_a_line_per_response(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Client, request line, status, bytes and time; what the client chose is escaped."""
    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    world = await open_http(hello, access_log=True)
    client = world.connect()
    await client.get("/a?b=c")
    await client.get('/"\\')
    await wait_all_tasks_blocked()
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
    assert [line.rsplit(" ", 1)[0] for line in lines] == [
        '192.0.2.1:4711 - "GET /a?b=c HTTP/1.1" 200 2b',
        '192.0.2.1:4711 - "GET /\\x22\\x5c HTTP/1.1" 200 3b',
    ]
    assert all(line.endswith("ms") for line in lines)


async def test_the_access_log_counts_what_was_sent(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The body of an answer to HEAD was made, but not sent."""
    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    client = (await open_http(hello, access_log=True)).connect()
    await client.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.response("HEAD")
    await wait_all_tasks_blocked()
    assert " 200 0b " in caplog.text


async def test_the_access_log_counts_what_the_server_answers(
    open_http: Any, caplog: pytest.LogCaptureFixture, autojump_clock: Any
) -> None:
    """The server's own answers have the bytes of their bodies; what was dropped or cut says so, and has no status 0."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path != "/fails":
            length = [(b"content-length", b"10")] if path.startswith("/promises") else []
            await send({"type": "http.response.start", "status": 200, "headers": length})
            if path == "/promises-late":
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            if path != "/slow":
                await send({"type": "http.response.body", "body": b"abc", "more_body": path == "/cut"})
        if path == "/fails":
            raise ValueError
        await trio.sleep(50)

    caplog.set_level(logging.INFO, "trio_uwsgi.access")
    world = await open_http(app, access_log=True, harakiri=20, cancel_on_disconnect=True)
    for line in ("GET /fails", "HEAD /fails", "GET /promises", "GET /slow", "GET /cut", "GET /promises-late"):
        client = world.connect()
        await client.send(line.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.read_all()
    leaver = world.connect()
    await leaver.send(GET.replace(b"/", b"/slow", 1))
    await wait_all_tasks_blocked()
    await leaver.close()
    await wait_all_tasks_blocked()
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access"]
    expected = [
        ("/fails", "500 22b", "ms"),
        ("/fails", "500 0b", "ms"),
        ("/promises", "500 22b", "ms"),
        ("/slow", "504 16b", "ms"),
        ("/cut", "200 3b", "ms cut"),
        ("/promises-late", "200 0b", "ms cut"),
        ("/slow", "- 0b", "ms dropped"),
    ]
    assert len(expected) == len(lines)
    for line, (path, numbers, end) in zip(lines, expected, strict=True):
        assert f'{path} HTTP/1.1" {numbers} ' in line
        assert line.endswith(end)


async def test_the_access_log_costs_nothing_when_its_level_is_off(open_http: Any) -> None:
    """With a level above INFO there is no access log."""
    world = await open_http(hello, access_log=True)
    assert (world.service.access is None) == (not logging.getLogger("trio_uwsgi.access").isEnabledFor(logging.INFO))
    assert (await open_http(hello)).service.access is None
