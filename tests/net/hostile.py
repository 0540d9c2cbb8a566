"""Hand-made HTTP/2 frames and raw sockets, for clients that mean harm."""
import os
import pathlib
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """HPACK: a field without indexing and without Huffman coding."""
    def text(s):
        s = s.encode()
        assert len(s) < 127
        return bytes([len(s)]) + s
    return b"\x00" + text(name) + text(value)


GRPC_HEAD = b"".join(literal(*f) for f in ((":method", "POST"), (":scheme", "http"), (":path", "/inference.GRPCInferenceService/ModelInfer"),
                                          (":authority", "a"), ("content-type", "application/grpc"), ("te", "trailers")))
GET_METRICS = b"".join(literal(*f) for f in ((":method", "GET"), (":scheme", "http"), (":path", "/metrics"), (":authority", "a")))


def connect(server, preface=True, window=None):
    """To a server, or to an address "HOST:PORT"."""
    host, port = getattr(server, "address", server).rsplit(":", 1)
    s = socket.create_connection((host, int(port)), timeout=60)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if preface:
        settings = b"" if window is None else struct.pack(">HI", 4, window)
        s.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
    return s


def live(server):
    """Whether a good client's question is answered, on a connection of its own."""
    with connect(server, preface=False) as s:
        s.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := s.recv(4096):
            answer += piece
    return answer.startswith(b"HTTP/1.1 200 ")


def resident(server):
    return int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def shed(server, reason):
    return server.metric(f'verge_net_shed_total{{reason="{reason}"}}')
