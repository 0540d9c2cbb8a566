"""A good client in a process of its own: small inferences on one kept HTTP/1.1 connection, a few milliseconds apart.

good_client.py HOST:PORT. Each line on standard input ends a period; its figures come back as one JSON line.
"""
import json
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
    print("ready", flush=True)
    while reader.is_alive():  # until standard input ends
        begun = time.monotonic()
        try:
            good = ask(s)
        except OSError:
            good = False
        took = time.monotonic() - begun
        with lock:
            taken.append(took)
            failed += not good
        if not good:
            s.close()
            s = socket.create_connection((host, int(port)), timeout=10)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
