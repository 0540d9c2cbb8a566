"""A good client in a process of its own: small inferences on one kept HTTP/1.1 connection, a few milliseconds apart.

good_client.py HOST:PORT SERVER_PID. What it and the server's fronts waited for a core is taken off each time. Each line on standard input ends a period; its figures come back as one JSON line.
"""
import json
import os
import socket
import sys
import threading
import time

BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()
REQUEST = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
PAUSE = 0.003


def ask(s):
    """One request; True where it is answered well."""
    s.sendall(REQUEST)
    got = b""
    while b"\r\n\r\n" not in got:
        piece = s.recv(65536)
        if not piece:
            return False
        got += piece
    head, body = got.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        piece = s.recv(65536)
        if not piece:
            return False
        body += piece
    return head.startswith(b"HTTP/1.1 200")


class Waited:
    """Seconds that this thread and the server's fronts were ready to run while others had the cores, as the kernel counts them."""

    def __init__(self, server):
        fronts = [t for t in os.listdir(f"/proc/{server}/task") if open(f"/proc/{server}/task/{t}/comm").read().startswith("front-")]
        paths = [f"/proc/{server}/task/{t}/schedstat" for t in fronts] + [f"/proc/self/task/{threading.get_native_id()}/schedstat"]
        self.files = [os.open(path, os.O_RDONLY) for path in paths]

    def seconds(self):
        return sum(int(os.pread(f, 100, 0).split()[1]) for f in self.files) / 1e9


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    s = socket.create_connection((host, int(port)), timeout=10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lock, taken, failed = threading.Lock(), [], 0

    def answer_lines():
        nonlocal taken, failed
        for _ in sys.stdin:
            with lock:
                times, bad, taken, failed = sorted(taken), failed, [], 0
            ms = [t * 1e3 for t in times] or [float("inf")]
            print(json.dumps({"requests": len(times), "failed": bad, "p50": ms[len(ms) // 2], "p99": ms[len(ms) * 99 // 100], "max": ms[-1]}), flush=True)

    reader = threading.Thread(target=answer_lines, daemon=True)
    reader.start()
    waited = Waited(sys.argv[2])
    print("ready", flush=True)
    while reader.is_alive():  # until standard input ends
        begun, waited_before = time.monotonic(), waited.seconds()
        try:
            good = ask(s)
        except OSError:
            good = False
        took = max(0, time.monotonic() - begun - (waited.seconds() - waited_before))
        with lock:
            taken.append(took)
            failed += not good
        if not good:
            s.close()
            s = socket.create_connection((host, int(port)), timeout=10)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
