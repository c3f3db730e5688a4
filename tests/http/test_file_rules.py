"""Tables of what a request for a file means: its path, its ranges, its conditions, and the headers of the answer."""

from __future__ import annotations

import pytest

from trio_uwsgi._http.file_answers import FileFacts, answer_file, plain_answer, wanted_encodings
from trio_uwsgi._http.file_paths import Map, Place, find_places, folder_location
from trio_uwsgi._http.file_ranges import MAX_RANGES, read_ranges

pytestmark = pytest.mark.pure

MAPS = [Map(b"/static", b"/srv/s", False), Map(b"", b"/srv/all", True), Map(b"/static/more", b"/srv/m", False)]
CHECK = Place(b"/srv/all", b"", True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/static", [Place(b"/srv/s", b"", False), Place(b"/srv/all", b"static", True)]),
        (b"/static/", [Place(b"/srv/s", b"", False), Place(b"/srv/all", b"static/", True)]),
        (b"/static/a/b.css", [Place(b"/srv/s", b"a/b.css", False), Place(b"/srv/all", b"static/a/b.css", True)]),
        (
            b"/static//etc/passwd",
            [Place(b"/srv/s", b"etc/passwd", False), Place(b"/srv/all", b"static//etc/passwd", True)],
        ),
        (
            b"/static/more/c",
            [
                Place(b"/srv/s", b"more/c", False),
                Place(b"/srv/all", b"static/more/c", True),
                Place(b"/srv/m", b"c", False),
            ],
        ),
        # A prefix ends where a name does, so `/static../x` is not the folder's parent.
        (b"/static../x", [Place(b"/srv/all", b"static../x", True)]),
        (b"/statics", [Place(b"/srv/all", b"statics", True)]),
        (b"/static/..x/y..", [Place(b"/srv/s", b"..x/y..", False), Place(b"/srv/all", b"static/..x/y..", True)]),
        (b"/static/../x", None),
        (b"/static/a/..", None),
        (b"/static/a\0.css", None),
        (b"/other/../static", []),
        (b"/other\0", []),
        (b"*", []),
        (b"", [CHECK]),
        (b"/", [CHECK]),
    ],
)
def test_paths(path: bytes, expected: list[Place] | None) -> None:
    """The places for a path, in order; none for one that would leave the folder."""
    assert expected == find_places(path, MAPS)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (b"/static/dir", b"", b"dir/"),
        (b"/static", b"a=b&c=%20", b"static/?a=b&c=%20"),
        (b"//evil.example", b"", b"evil.example/"),
        (b"/static/javascript:alert", b"", b"javascript%3Aalert/"),
        (b"/a/b\r\nSet-Cookie: x", b"\r\n\xff", b"b%0D%0ASet-Cookie%3A%20x/?%0D%0A%FF"),
    ],
)
def test_locations(path: bytes, query: bytes, expected: bytes) -> None:
    """A folder is redirected relative to itself, whatever its name is."""
    assert expected == folder_location(path, query)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", [(0, 1)]),
        (b"BYTES=0-4", [(0, 5)]),
        (b"bytes=5-", [(5, 5)]),
        (b"bytes=-3", [(7, 3)]),
        (b"bytes=-30", [(0, 10)]),
        (b"bytes=8-30", [(8, 2)]),
        (b"bytes= 1 - 2 , 4-4", [(1, 2), (4, 1)]),
        (b"bytes=6-7,0-1", [(6, 2), (0, 2)]),
        (b"bytes=0-1,20-30,3-3", [(0, 2), (3, 1)]),
        (b"bytes=0-9,0-0", "all"),
        (b"bytes=0-", [(0, 10)]),
        (b"bytes=10-", "none"),
        (b"bytes=10-20,30-40", "none"),
        (b"bytes=5-2", "none"),
        (b"bytes=-0", "none"),
        (b"bytes=0-1,", "none"),
        (b"bytes=a-b", "none"),
        (b"bytes=1", "none"),
        (b"bytes=-", "none"),
        (b"bytes=--1", "none"),
        (b"bytes=- 1", "none"),
        (b"bytes=0-1;2-3", "none"),
        (b"bytes=0-" + b"9" * 19, "none"),
        (b"bytes=", "all"),
        (b"lines=0-1", "all"),
        (b"", "all"),
        (b"bytes=" + b",".join([b"0-0"] * MAX_RANGES), "all"),
    ],
)
def test_ranges(value: bytes, expected: object) -> None:
    """Ranges of ten bytes, as nginx reads them."""
    assert expected == read_ranges(value, 10)


def test_many_ranges() -> None:
    """There is a most; beyond, the whole file is less work."""
    assert [(n, 1) for n in range(MAX_RANGES)] == read_ranges(
        b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(MAX_RANGES)), 1000
    )
    assert "all" == read_ranges(b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(MAX_RANGES + 1)), 1000)


@pytest.mark.parametrize(("value", "expected"), [(b"bytes=-5", "all"), (b"bytes=0-", "all"), (b"bytes=1-", "none")])
def test_ranges_of_nothing(value: bytes, expected: object) -> None:
    """An empty file has no ranges; what begins at its begin is all of it."""
    assert expected == read_ranges(value, 0)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", ()),
        (b"gzip, deflate, br", (b"br", b"gzip")),
        (b"gzip", (b"gzip",)),
        (b"X-GZIP", (b"gzip",)),
        (b"br;q=0.5, gzip", (b"gzip", b"br")),
        (b"br;q=0.5, gzip ; q=0.9", (b"gzip", b"br")),
        (b"gzip;q=0, br", (b"br",)),
        (b"gzip;q=0.000", ()),
        (b"*", (b"br", b"gzip")),
        (b"*;q=0.1, br;q=0", (b"gzip",)),
        (b"identity", ()),
        (b"identity;q=0.5, gzip;q=0.4, br", (b"br",)),
        (b"gzip;q=2, br;q=x", ()),
        (b"gzip;level=9", (b"gzip",)),
        (b",,", ()),
        (b"gzip," + b" " * 300, (b"gzip",)),
    ],
)
def test_encodings(accept: bytes, expected: tuple[bytes, ...]) -> None:
    """The encodings that a client prefers to the file itself."""
    assert expected == wanted_encodings(accept)


MTIME = 784_111_777  # of RFC 9110: Sun, 06 Nov 1994 08:49:37 GMT
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
FACTS = FileFacts(10, MTIME * 10**9, b"text/css")
TAG = b'"%x-a"' % FACTS.mtime_ns


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], 200),
        ([(b"if-none-match", TAG)], 304),
        ([(b"if-none-match", b"W/" + TAG)], 304),
        ([(b"if-none-match", b'"x", ' + TAG)], 304),
        ([(b"if-none-match", b'"x"'), (b"if-none-match", TAG)], 304),
        ([(b"if-none-match", b"*")], 304),
        ([(b"if-none-match", b'"x"')], 200),
        ([(b"if-none-match", b'"x"'), (b"if-modified-since", DATE)], 200),
        ([(b"if-modified-since", DATE)], 304),
        ([(b"if-modified-since", b"Sun, 06 Nov 1994 08:49:36 GMT")], 200),
        ([(b"if-modified-since", b"Sunday, 06-Nov-94 08:49:38 GMT")], 304),
        ([(b"if-modified-since", b"Sun Nov  6 08:49:37 1994")], 304),
        ([(b"if-modified-since", b"Sun, 06 Nov 1994 08:49:37 -0100")], 304),
        ([(b"if-modified-since", b"yesterday")], 200),
        ([(b"if-modified-since", b"Sun, 06 Nov 99999999999 08:49:37 GMT")], 200),
        ([(b"if-modified-since", b"")], 200),
        ([(b"if-match", TAG)], 200),
        ([(b"if-match", b"*")], 200),
        ([(b"if-match", b'"x"')], 412),
        ([(b"if-match", b"W/" + TAG)], 412),
        ([(b"if-match", TAG), (b"if-unmodified-since", b"Sun, 06 Nov 1994 08:49:36 GMT")], 200),
        ([(b"if-unmodified-since", DATE)], 200),
        ([(b"if-unmodified-since", b"Sun, 06 Nov 1994 08:49:36 GMT")], 412),
        ([(b"if-unmodified-since", b"never")], 200),
        ([(b"if-match", TAG), (b"if-none-match", TAG)], 304),
        ([(b"range", b"bytes=0-1")], 206),
        ([(b"range", b"bytes=0-1"), (b"if-range", TAG)], 206),
        ([(b"range", b"bytes=0-1"), (b"if-range", DATE)], 206),
        ([(b"range", b"bytes=0-1"), (b"if-range", b"W/" + TAG)], 200),
        ([(b"range", b"bytes=0-1"), (b"if-range", b'"x"')], 200),
        ([(b"range", b"bytes=0-1"), (b"if-range", b"Sun, 06 Nov 1994 08:49:38 GMT")], 200),
        ([(b"range", b"bytes=0-1"), (b"if-none-match", TAG)], 304),
        ([(b"range", b"bytes=10-")], 416),
        ([(b"range", b"lines=1-2")], 200),
    ],
)
def test_conditions(headers: list[tuple[bytes, bytes]], expected: int) -> None:
    """The status, in the order of RFC 9110's section 13.2.2."""
    assert expected == answer_file("GET", headers, FACTS, lambda: b"B").status


def test_a_whole_file() -> None:
    """It has a length, a date, a tag and a type, and says that there are ranges; HEAD has the same for a range, too."""
    headers = [
        (b"last-modified", DATE),
        (b"etag", TAG),
        (b"content-type", b"text/css"),
        (b"content-length", b"10"),
        (b"accept-ranges", b"bytes"),
    ]
    assert (200, headers, [(0, 10)]) == answer_file("GET", [(b"host", b"x")], FACTS, lambda: b"B")
    assert (200, headers, [(0, 10)]) == answer_file("HEAD", [(b"range", b"bytes=0-1")], FACTS, lambda: b"B")
    assert [] == answer_file("GET", [], FACTS._replace(size=0), lambda: b"B").pieces


def test_an_encoded_file() -> None:
    """It says its encoding, has another tag than the file, and may be kept; the file itself varies, too."""
    facts = FACTS._replace(encoding=b"br", varies=True, max_age=60)
    tag = b'"%x-a-br"' % FACTS.mtime_ns
    common = [
        (b"last-modified", DATE),
        (b"etag", tag),
        (b"vary", b"Accept-Encoding"),
        (b"cache-control", b"max-age=60"),
    ]
    assert common == answer_file("GET", [(b"if-none-match", tag)], facts, lambda: b"B").headers
    headers = answer_file("GET", [(b"if-none-match", TAG)], facts, lambda: b"B").headers
    assert [*common, (b"content-encoding", b"br")] == headers[:5]
    assert (b"vary", b"Accept-Encoding") in answer_file("GET", [], FACTS._replace(varies=True), lambda: b"B").headers


def test_parts_of_a_file() -> None:
    """One range is the body; several are parts with heads, as nginx writes them."""
    one = answer_file("GET", [(b"range", b"bytes=2-4")], FACTS, lambda: b"B")
    more = [(b"content-type", b"text/css"), (b"content-range", b"bytes 2-4/10"), (b"content-length", b"3")]
    assert (206, more, [(2, 3)]) == (one.status, one.headers[2:], one.pieces)
    two = answer_file("GET", [(b"range", b"bytes=2-4,-1")], FACTS, lambda: b"B")
    assert [
        b"\r\n--B\r\nContent-Type: text/css\r\nContent-Range: bytes 2-4/10\r\n\r\n",
        (2, 3),
        b"\r\n--B\r\nContent-Type: text/css\r\nContent-Range: bytes 9-9/10\r\n\r\n",
        (9, 1),
        b"\r\n--B--\r\n",
    ] == two.pieces
    length = sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in two.pieces)
    assert [
        (b"content-type", b"multipart/byteranges; boundary=B"),
        (b"content-length", b"%d" % length),
    ] == two.headers[2:]
    assert (b"content-range", b"bytes */10") in answer_file(
        "GET", [(b"range", b"bytes=99-")], FACTS, lambda: b"B"
    ).headers


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [(-5 * 10**9, b"Thu, 01 Jan 1970 00:00:00 GMT"), (10**21, b"Fri, 31 Dec 9999 23:59:59 GMT")],
)
def test_strange_times(mtime: int, expected: bytes) -> None:
    """A file may have any time; its date is one that HTTP can write."""
    assert (b"last-modified", expected) in answer_file("GET", [], FACTS._replace(mtime_ns=mtime), lambda: b"B").headers


def test_answers_without_a_file() -> None:
    """They are text, with a length."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"10"), (b"x", b"y")]
    assert (404, headers, [b"Not Found\n"]) == plain_answer(404, "Not Found", (b"x", b"y"))
