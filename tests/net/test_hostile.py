"""Clients that mean harm, with raw sockets and hand-made HTTP/2 frames. Each attack states its bound; a good client is answered meanwhile."""
import struct
import time

import pytest

from hostile import CONTINUATION, DATA, GET_METRICS, GRPC_HEAD, HEADERS, PING, RST, SETTINGS, WINDOW, connect, frame, literal, live, resident, shed


# The server's timeouts are a second. What is not ended by them, or begins them anew, still goes on after this long on any machine.
LIMIT = 20


def wait_closed(s):
    """Reads until the server closes."""
    begun = time.monotonic()
    s.settimeout(LIMIT)
    try:
        while s.recv(65536):
            assert time.monotonic() - begun < LIMIT
    except ConnectionError:
        pass
    return True


def send_until_closed(s, data, most):
    try:
        for _ in range(most):
            s.sendall(data)
    except OSError:
        return True
    return False


@pytest.fixture
def hostile(echo_server_with, request):
    """A server with short timeouts; afterwards it still answers a good client within a second and has grown by less than 64 MiB. The parameter is the timeout of
    headers, long where these come whole and at once: a client that the machine holds up for a second is not what such a test is about."""
    server = echo_server_with("--header-timeout", getattr(request, "param", "1"), "--body-timeout", "1", "--write-timeout", "1")
    before = resident(server)
    yield server
    seconds = []
    while min(seconds, default=2) > 1:
        begun = time.monotonic()
        assert live(server)
        seconds.append(time.monotonic() - begun)
        assert len(seconds) < 4, seconds
    assert resident(server) - before < 64 << 20


headers_are_not_late = pytest.mark.parametrize("hostile", ["60"], indirect=True, ids=[""])


def drip(s, piece, every):
    """Sends `piece` again and again, until the server closes; the seconds that took."""
    begun = time.monotonic()
    while time.monotonic() - begun < LIMIT:
        try:
            s.sendall(piece)
            next_at = time.monotonic() + every
            while (left := next_at - time.monotonic()) > 0:  # the attack's pace, whatever is answered
                s.settimeout(left)
                if not s.recv(65536):
                    return time.monotonic() - begun
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


@headers_are_not_late
def test_a_body_that_drips_over_http1(hostile):
    """Bound: the body timeout. A byte now and then does not begin it anew."""
    with connect(hostile, preface=False) as s:
        s.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert drip(s, b"x", 0.2) < LIMIT
    assert shed(hostile, "body_timeout") == 1


@headers_are_not_late
def test_a_body_that_drips_over_http2(hostile):
    with connect(hostile) as s:
        s.sendall(frame(HEADERS, 4, 1, GRPC_HEAD) + frame(DATA, 0, 1, b"\0\0\x01\0\0"))
        assert drip(s, frame(DATA, 0, 1, b"x"), 0.2) < LIMIT
    assert shed(hostile, "body_timeout") == 1


@headers_are_not_late
def test_a_window_that_never_opens(hostile):
    """Bound: the write timeout, for an answer that is complete and not asked for."""
    with connect(hostile, window=0) as s:
        s.sendall(b"".join(frame(HEADERS, 5, stream, GET_METRICS) for stream in range(1, 200, 2)))
        assert wait_closed(s)
    assert shed(hostile, "write_timeout") == 1


@headers_are_not_late
def test_a_window_that_opens_byte_by_byte(hostile):
    with connect(hostile, window=0) as s:
        s.sendall(frame(HEADERS, 5, 1, GET_METRICS))
        assert drip(s, frame(WINDOW, 0, 1, struct.pack(">I", 1)), 0.2) < LIMIT
    assert shed(hostile, "write_timeout") == 1


def test_continuation_flood(hostile):
    """Bound: nghttp2's own limits on a header block and its CONTINUATION frames, or the header timeout."""
    with connect(hostile) as s:
        s.sendall(frame(HEADERS, 0, 1, GRPC_HEAD))
        closed = send_until_closed(s, frame(CONTINUATION, 0, 1, literal("x", "y" * 100)) * 100, 20_000)
        assert closed or wait_closed(s)


def test_empty_continuation_flood(hostile):
    with connect(hostile) as s:
        s.sendall(frame(HEADERS, 0, 1, GRPC_HEAD))
        closed = send_until_closed(s, frame(CONTINUATION, 0, 1) * 1000, 20_000)
        assert closed or wait_closed(s)


@headers_are_not_late
def test_rapid_reset(hostile):
    """Bound: 10,000 cheap frames a second on a connection."""
    # Made beforehand: they are to come as fast as the server takes them.
    flood = b"".join(frame(HEADERS, 4, i, GRPC_HEAD) + frame(RST, 0, i, struct.pack(">I", 8)) for i in range(1, 60_000, 2))
    with connect(hostile) as s:
        assert send_until_closed(s, flood, 1) or wait_closed(s)
    assert shed(hostile, "reset_flood") >= 1


@headers_are_not_late
def test_ping_and_settings_floods(hostile):
    for flood in (frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0)):
        with connect(hostile) as s:
            assert send_until_closed(s, flood * 1000, 200) or wait_closed(s)
    assert shed(hostile, "reset_flood") >= 2


@headers_are_not_late
def test_a_gigabyte_that_is_only_declared(hostile):
    """Bound: refused at its prefix, before memory is taken."""
    before = resident(hostile)
    with connect(hostile) as s:
        s.sendall(frame(HEADERS, 4, 1, GRPC_HEAD) + frame(DATA, 0, 1, b"\0" + struct.pack(">I", 1 << 30) + b"x" * 5000))
        s.sendall(frame(PING, 0, 0, b"all read"))
        answer = b""
        while b"all read" not in answer:
            piece = s.recv(65536)
            assert piece, "only the call is refused"
            answer += piece
    assert shed(hostile, "message_size") == 1
    assert resident(hostile) - before < 16 << 20


@headers_are_not_late
def test_header_list_bomb(hostile):
    """HPACK: one indexed field of 4 KB named thousands of times. Bound: the header limit; nothing of it is kept."""
    value = "v" * 100
    with connect(hostile) as s:
        big = b"\x40" + bytes([1]) + b"x" + bytes([100]) + value.encode()  # goes into the dynamic table, as index 62
        for stream in range(1, 41, 2):
            s.sendall(frame(HEADERS, 5, stream, GRPC_HEAD + big + b"\xbe" * 15_000))
        s.sendall(frame(PING, 0, 0, b"all read"))
        answer = b""
        while b"all read" not in answer:
            piece = s.recv(65536)
            if not piece:
                break  # closed: as good
            answer += piece
    assert shed(hostile, "header_size") + shed(hostile, "protocol_error") >= 1
