#!/usr/bin/env python3
"""Writes the seeds of the fuzzers: requests as real clients send them, and small files of each format. Python's own library is enough;
with the test environment's tritonclient, its messages are added.

usage: make_seeds.py FOLDER        FOLDER/FUZZER/NAME
"""
import gzip
import io
import json
import pathlib
import struct
import sys
import zipfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
from harness import bytes_field, model_infer, rest_binary, rest_json, varint  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOATS = struct.pack("<4f", 1.5, -2, 0, 3e8)


def varint_field(number, value):
    return varint(number << 3) + varint(value)


def parameter(name, kind, value):
    """kind: bool_param 1, int64_param 2, string_param 3."""
    inner = bytes_field(kind, value) if kind == 3 else varint_field(kind, value)
    return bytes_field(1, name.encode()) + bytes_field(2, inner)


def model_infer_messages():
    yield "raw", model_infer("echo", "INPUT0", "FP32", [1, 4], FLOATS)[5:]
    yield "variant", model_infer("echo", "INPUT0", "FP32", [1, 4], FLOATS, "fast")[5:]
    contents = {"INT32": (2, varint(1) + varint(2)), "INT64": (3, varint(2**64 - 7) + varint(3)), "UINT16": (4, varint(9) + varint(65535)),
                "UINT64": (5, varint(2**64 - 1) + varint(0)), "FP32": (6, FLOATS[:8]), "FP64": (7, struct.pack("<2d", .5, 1e300)), "BOOL": (1, b"\1\0")}
    for dtype, (number, packed) in contents.items():
        tensor = bytes_field(1, b"x") + bytes_field(2, dtype.encode()) + bytes_field(3, varint(2)) + bytes_field(5, bytes_field(number, packed))
        yield "contents_" + dtype, bytes_field(1, b"echo") + bytes_field(5, tensor)
    strings = bytes_field(1, b"s") + bytes_field(2, b"BYTES") + bytes_field(3, varint(2)) + bytes_field(5, bytes_field(8, b"ab") + bytes_field(8, b""))
    everything = bytes_field(1, b"echo") + bytes_field(2, b"1") + bytes_field(3, "idä".encode())
    for p in (parameter("priority", 2, 3), parameter("timeout", 2, 5000), parameter("sequence_id", 2, 7), parameter("sequence_start", 1, 1),
              parameter("sequence_end", 1, 0), parameter("verge.variant", 3, b"fast"), parameter("verge.min_accuracy", 2, 1), parameter("verge.conditions", 3, b"exit1: elapsed > 2"), parameter("mine", 3, b"x")):
        everything += bytes_field(4, p)
    yield "everything", everything + bytes_field(5, strings) + bytes_field(6, bytes_field(1, b"OUTPUT0") + bytes_field(2, parameter("classification", 2, 3)))
    yield "groups", bytes_field(1, b"echo") + b"\x0b\x08\x01\x13\x14\x0c"


def rest_requests():
    yield "json", b"\xff\xff" + rest_json("INPUT0", "FP32", [1, 4], [1, 2.5, -3e4, 0])
    for dtype, values in (("INT64", [1, -2]), ("BOOL", [True, False]), ("BYTES", ["a\\n\u00e4", ""]), ("UINT8", [[1], [255]]), ("FP64", [1e-300, 5])):
        yield dtype, b"\xff\xff" + json.dumps({"id": "q", "inputs": [{"name": "x", "shape": [2], "datatype": dtype, "data": values}]}).encode()
    body, json_bytes = rest_binary("INPUT0", "FP32", [1, 4], FLOATS)
    yield "binary", struct.pack(">H", json_bytes) + body
    yield "everything", b"\xff\xff" + json.dumps({
        "id": "q", "parameters": {"binary_data_output": True, "priority": 1, "timeout": 1000, "sequence_id": "s", "sequence_start": True, "verge.variant": "fast", "verge.min_accuracy": 0.5, "verge.deadline_ms": 2.5},
        "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": False, "classification": 2}}],
        "inputs": [{"data": [[1, 2], [3, 4]], "datatype": "FP32", "shape": [2, 2], "name": "x", "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 0}}]}).encode()


def http1_requests():
    body = rest_json("INPUT0", "FP32", [1, 2], [1, 2.5])
    infer = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\n"
    yield "get", b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "http10", b"GET /v2/models/%65cho HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    yield "infer", infer + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    yield "pipelined", (infer + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 3
    yield "chunked", infer + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;x=y\r\n%s\r\n%x\r\n%s\r\n0\r\nT: v\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    data, json_bytes = rest_binary("INPUT0", "FP32", [1, 4], FLOATS)
    yield "binary", infer + b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (json_bytes, len(data)) + data
    packed = gzip.compress(body, mtime=0)
    yield "gzip", infer + b"Content-Encoding: gzip\r\nAccept-Encoding: gzip, deflate\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    yield "traced", b"GET /v2/models/echo/stats HTTP/1.1\r\nHost: a\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nAuthorization: Bearer x\r\n\r\n"
    for path in ("/metrics", "/v2", "/v2/models/echo/config", "/v2/repository/index", "/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging"):
        yield path.replace("/", "_"), b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode()
    yield "load", b"POST /v2/repository/models/echo/load HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2_frames():
    plain = lambda name, value: b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    head = b"\x83\x86" + plain(b":path", b"/inference.GRPCInferenceService/ModelInfer") + plain(b":authority", b"a") + plain(b"content-type", b"application/grpc") + plain(b"te", b"trailers")
    body = model_infer("echo", "INPUT0", "FP32", [1, 4], FLOATS)
    call = frame(1, 4, 1, head) + frame(0, 1, 1, body)
    settings = frame(4, 0, 0, b"")
    yield "call", settings + call
    yield "two", settings + call + frame(1, 4, 3, head) + frame(0, 1, 3, body)
    yield "split", settings + frame(1, 0, 1, head[:20]) + frame(9, 4, 1, head[20:]) + frame(0, 0, 1, body[:7]) + frame(0, 1, 1, body[7:])
    yield "rest", settings + frame(1, 5, 1, b"\x82\x86" + plain(b":path", b"/v2/health/live") + plain(b":authority", b"a"))
    yield "others", settings + frame(6, 0, 0, b"12345678") + frame(8, 0, 0, struct.pack(">I", 1000)) + call + frame(3, 0, 1, struct.pack(">I", 8)) + frame(4, 1, 0, b"")
    yield "window", frame(4, 0, 0, struct.pack(">HI", 4, 1)) + call + frame(8, 0, 1, struct.pack(">I", 50))


def grpc_bodies():
    names = [bytes_field(1, b"echo") + bytes_field(2, b"1"), b"", bytes_field(1, b"inference.GRPCInferenceService")]
    for method in range(21):
        for i, message in enumerate(names):
            yield f"m{method}_{i}", bytes([method, 0, len(message)]) + message
    for name, message in model_infer_messages():
        for method in (5, 16):
            if len(message) < 255:
                yield f"infer{method}_{name}", bytes([method, 0, len(message)]) + message * 1
                yield f"twice{method}_{name}", bytes([method, 0]) + (bytes([len(message)]) + message) * 2
    packed = gzip.compress(next(m for _, m in model_infer_messages()), mtime=0)
    yield "gzip", bytes([5, 3, len(packed)]) + packed
    yield "timeout", bytes([5, 32]) + b"10000u" + bytes([30]) + b"x" * 30
    for name, body in assist_bodies():
        yield "assist" + name, bytes([20]) + body


def tensor_protos():
    """By the type that they are read as: numbers in tensor_content, as repeated values, packed and not, and texts."""
    shape = lambda *dims: bytes_field(2, b"".join(bytes_field(2, varint_field(1, d)) for d in dims))
    for as_type in range(14):
        yield f"content{as_type}", bytes([as_type]) + varint_field(1, 1) + shape(4) + bytes_field(4, FLOATS)
        yield f"int16{as_type}", bytes([as_type]) + varint_field(1, 5) + shape(1, 3) + bytes_field(7, b"\1\2" + b"\xff" * 9 + b"\1")
        yield f"one{as_type}", bytes([as_type]) + varint_field(1, 3) + shape(2, 2) + varint_field(7, 9)
    yield "texts", b"\1" + varint_field(1, 7) + shape(2) + bytes_field(8, b"ab") + bytes_field(8, b"")
    for kind, number, value in ((2, 6, struct.pack("<d", 0.5)), (9, 10, b"\5"), (10, 11, b"\1"), (14, 13, b"\x80\x7f"), (19, 13, b"\x80\x78"), (22, 16, b"\7"), (23, 17, b"\7")):
        yield f"kind{kind}", b"\0" + varint_field(1, kind) + shape(1) + bytes_field(number, value)


def assist_bodies():
    for name, proto in tensor_protos():
        message = varint_field(1, 7) + bytes_field(2, bytes_field(1, b"array" if "int16" in name else b"INPUT0") + bytes_field(2, proto[1:]))
        yield name, bytes([0]) + (bytes([len(message)]) + message) * 2
        yield "named_" + name, bytes([128]) + b"threaded" + bytes([len(message)]) + message


def trace_contexts():
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    yield "both", parent + b"\nrojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    yield "later", b"cc" + parent[2:] + b"-more\n a=1 ,\tb@c/d*e=2~,,"
    yield "none", b"ff" + parent[2:] + b"\n=1"


def compressed():
    for i, text in enumerate((b"", b"one ", bytes(range(256)) * 4, b"\0" * 100_000)):
        for how in (0, 2):
            some = bytes([how | 1]) + (b"\x40" if how else b"")
            yield f"gzip{i}_{how}", some + gzip.compress(text, mtime=0)
            yield f"members{i}_{how}", some + gzip.compress(text, mtime=0) * 3
            yield f"zlib{i}_{how}", bytes([how]) + (b"\x40" if how else b"") + zlib.compress(text)
        yield f"back{i}", b"\5" + text[:2000]


def conditions():
    for i, text in enumerate((b"exit1: elapsed > 20 or confidence >= 0.9; exit2: energy > 5 and accuracy >= 0.8; *: elapsed > 40", b"*: computation<0.5 and exit == 2 or entropy <= 1e-1")):
        yield f"table{i}", b"\0" + text
        yield f"later{i}", b"\2" + text
    yield "bounds", b"\1" + json.dumps({"deadline_ms": 20, "min_accuracy": 0.9, "max_energy_mj": 5.5, "objective": "energy", "rule": "conditions", "confidence": 0.5, "max_accuracy_loss": 0.005,
                                         "conditions": "exit1: elapsed > 1"}).encode()
    yield "exit", b"\1" + b'{"exit": "exit1", "rule": "fixed", "objective": "latency"}'


def traces():
    yield "plain", b"\0" + b"0.5\n1.5\r\n1.0\n\n7e1\n"
    yield "named", bytes([3 + 6]) + b"id,at\n1,10\n\"2\",\"30\"\n3,20\n"
    yield "dates", bytes([2]) + b"\xef\xbb\xbfTIMESTAMP,n\n2023-11-16 18:15:46.6805900,1\n2023-11-16T18:15:47,2\n"


def answers():
    tensor = bytes_field(1, b"y") + bytes_field(2, b"FP32") + bytes_field(3, b"\4\1")
    chosen = b"".join(bytes_field(4, bytes_field(1, k) + bytes_field(2, bytes_field(3, v))) for k, v in ((b"verge.variant", b"fast"), (b"verge.exit", b"exit2")))
    message = bytes_field(1, b"m") + chosen + bytes_field(5, tensor) + bytes_field(6, FLOATS)
    typed = bytes_field(1, b"m") + bytes_field(5, tensor + bytes_field(5, bytes_field(6, FLOATS)))
    for i, m in enumerate((message, typed)):
        yield f"grpc{i}", bytes([64, 0]) + b"\0" + struct.pack(">I", len(m)) + m
    text = json.dumps({"model_name": "m", "parameters": {"verge.variant": "fast", "verge.predicted_ms": 1.5, "verge.energy_source": "measured"},
                       "outputs": [{"name": "y", "datatype": "FP32", "shape": [4, 1], "data": [0.1, 0.9, 1, 0]}]}).encode()
    yield "json", bytes([64 + 2, 0]) + text
    head = json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [4, 1], "parameters": {"binary_data_size": 16}}]}).encode()
    yield "binary", bytes([64 + 16 + 1, len(head)]) + head + FLOATS
    yield "error", bytes([4 + 8 + 2, 3]) + b'{"error": "it is \\u00e4 wrong"}'
    yield "refused", bytes([8 + 32, 9]) + b"not%20now"


def saved_models():
    for path in sorted((ROOT / "engines" / "tensorflow" / "check").glob("*/saved_model.pb")):
        if path.stat().st_size < 100_000:
            yield path.parent.name, path.read_bytes()


def images():
    for depth, colour, channels in ((8, 2, 3), (8, 0, 1), (8, 6, 4), (16, 0, 2), (8, 3, 1)):
        chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        palette = chunk(b"PLTE", bytes(range(12))) if colour == 3 else b""
        pixels = b"".join(b"\0" + bytes(((x * 7) % (4 if colour == 3 else 256)) for x in range(5 * channels)) for _ in range(4))
        yield f"png{colour}_{depth}", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, depth, colour, 0, 0, 0)) + palette + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    rows = bytes(range(48))
    yield "bmp24", b"BM" + struct.pack("<IHHI", 54 + 48, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 24, 0, 48, 0, 0, 0, 0) + rows
    yield "bmp8", b"BM" + struct.pack("<IHHI", 54 + 1024 + 16, 0, 0, 54 + 1024) + struct.pack("<IiiHHIIiiII", 40, 4, -4, 1, 8, 0, 16, 0, 0, 256, 0) + bytes(1024) + bytes(16)
    # A grey JPEG of 8 × 8, all one shade: quantisation, frame, the shortest Huffman tables, one block.
    dht = lambda c: b"\xff\xc4" + struct.pack(">HB", 20, c) + bytes([1] + [0] * 15) + b"\0"
    yield "jpeg", (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64) +
                   b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, 8, 8, 1, 1, 0x11, 0) + dht(0) + dht(0x10) + b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0) + b"\x3f\xff\xd9")


def npy(descr, shape, data, version=1):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = len(head) + 1 + (10 if version == 1 else 12)
    head += b" " * (-size % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(head)) + head + data


def npy_files():
    yield "floats", npy("<f4", "(2, 2)", FLOATS)
    yield "version2", npy("<i8", "(1,)", bytes(8), 2)
    yield "strings", npy("|S3", "(2,)", b"abcde\0")
    yield "unicode", npy("<U2", "(1,)", "ä\0".encode("utf-32-le"))
    yield "bools", npy("|b1", "(3,)", b"\1\0\1")
    yield "scalar", npy("<f8", "()", bytes(8))


def zips():
    for name, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as z:
            z.writestr("a.npy", npy("<f4", "(2, 2)", FLOATS))
            z.writestr("b.npy", npy("<i8", "(1,)", bytes(8)))
        yield name, out.getvalue()
    yield "gzip", gzip.compress(b"hello " * 100, mtime=0)


def tables():
    yield "header", b"\x1fa,b,label\n1,2,x\n3,\"4\",\"y\"\"z\"\r\n"
    yield "numbers", b"\x001,2.5,-3e4\n4,5,6\n"


def configs():
    yield "all", b"zoo: /z\nlisten: '[::1]:0'\nfronts: 1\nlanes: 2\ncores: 0-1\nmemory: 2GiB\nqueue_limit: 10\nlog: {level: info, format: json, access: true}\nlimits: {connections: 5, connections_per_peer: 2, message: 1MiB, drain_seconds: 1.5}\nmodels:\n  m:\n    default: a\n    resident: [b, c]\n"
    yield "yaml", b"a: [1, 2.5, 'x', \"y\\n\", null, true, .inf]\nb: |\n  text\nc: >-\n  folded\n  more\n? d\n: e\n"
    for i, text in enumerate((b"127.0.0.1:8000", b"[::1]:0", b"0-3,6", b"512MiB")):
        yield f"text{i}", text


def manifests():
    for i, path in enumerate(sorted((ROOT / ".cache" / "test-zoo").glob("*/1/manifest.json"))[:2] + sorted((ROOT / ".cache" / "test-zoo").glob("*/1/profiles/*.json"))[:1]):
        if path.stat().st_size < 200_000:
            yield f"real{i}", path.read_bytes()
    sys.path.insert(0, str(ROOT / "tools"))
    import tempfile

    import make_bench_models
    with tempfile.TemporaryDirectory() as folder:
        yield "identity", (make_bench_models.write_package(pathlib.Path(folder), "identity", [("x", "y", "FP32", [-1, 4])]) / "manifest.json").read_bytes()


def tflites():
    for i, path in enumerate(sorted((ROOT / "engines" / "litert" / "check").glob("**/*.tflite"))):
        if path.stat().st_size < 100_000:
            yield f"check{i}", path.read_bytes()


def main():
    folder = pathlib.Path(sys.argv[1])
    http1 = [(n, d) for n, d in http1_requests()]
    http2 = [(n, d) for n, d in h2_frames()]
    seeds = {
        "http1": http1, "json": [(n, d[2:]) for n, d in rest_requests()], "rest_infer": rest_requests(), "model_infer": model_infer_messages(),
        "texts": [("timeout", b"100m"), ("message", "50% ä\n~".encode()), ("version", b"3")],
        "connection": [(n, b"\0" + d) for n, d in http1] + [(n, b"\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + d) for n, d in http2],
        "http2": [(n, b"\0" + d) for n, d in http2], "grpc": [(n, b"\0" + d) for n, d in grpc_bodies()],
        "manifest": manifests(), "config": configs(), "npy": npy_files(), "image": images(), "zip": zips(), "csv": tables(), "tflite": tflites(),
        "assist": [(n, b"\0" + d) for n, d in assist_bodies()], "trace_context": trace_contexts(), "gzip": compressed(), "tensor_proto": tensor_protos(),
        "conditions": conditions(), "arrivals": traces(), "answers": answers(), "saved_model": saved_models(),
    }
    for name, entries in seeds.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed, data in entries:
            (folder / name / f"seed_{seed}").write_bytes(data)


if __name__ == "__main__":
    main()
