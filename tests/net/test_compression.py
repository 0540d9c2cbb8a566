"""Compressed requests and answers: tritonclient, grpcio, curl; bombs and nonsense."""
import gzip
import http.client
import json
import queue
import zlib

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2 as pb

RAMP = np.arange(60_000, dtype=np.int32).reshape(1, -1) // 7
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_grpc_client(echo_server, algorithm):
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        for array in (RAMP, RAMP[:, :3]):
            tensor = triton_grpc.InferInput("INPUT0", array.shape, "INT32").set_data_from_numpy(array)
            result = client.infer("echo", [tensor], compression_algorithm=algorithm)
            assert np.array_equal(result.as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("model", ["echo", "threaded"])
@pytest.mark.parametrize("request_by", ["gzip", "deflate", None])
@pytest.mark.parametrize("answer_by", ["gzip", "deflate", None])
def test_http_client(echo_server, model, request_by, answer_by):
    with triton_http.InferenceServerClient(echo_server.address) as client:
        for array in (RAMP, RAMP[:, :3]):
            for binary in (True, False):
                tensor = triton_http.InferInput("INPUT0", list(array.shape), "INT32").set_data_from_numpy(array, binary_data=binary)
                output = triton_http.InferRequestedOutput("OUTPUT0", binary_data=binary)
                result = client.infer(model, [tensor], outputs=[output], request_compression_algorithm=request_by,
                                      response_compression_algorithm=answer_by)
                assert np.array_equal(result.as_numpy("OUTPUT0"), array)


def grpc_message(array=RAMP):
    message = pb.ModelInferRequest(model_name="echo")
    message.inputs.add(name="INPUT0", datatype="INT32", shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message.SerializeToString()


def test_the_answer_is_compressed_as_the_request_was(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        call = channel.unary_unary(INFER, request_serializer=bytes, response_deserializer=bytes)
        for compression, expected in ((grpc.Compression.Gzip, "gzip"), (grpc.Compression.Deflate, "deflate"),
                                      (grpc.Compression.NoCompression, None)):
            answer, state = call.with_call(grpc_message(), compression=compression)
            headers = dict(state.initial_metadata())
            assert pb.ModelInferResponse.FromString(answer).raw_output_contents[0] == RAMP.tobytes()
            # grpcio hides grpc-encoding; what it shows are the advertised ones.
            assert headers.get("grpc-accept-encoding", "identity,deflate,gzip") == "identity,deflate,gzip", expected


def http_post(server, body, headers, path="/v2/models/echo/infer"):
    connection = http.client.HTTPConnection(server.address, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def json_body(n=1000):
    return json.dumps({"inputs": [{"name": "X", "shape": [n], "datatype": "INT32", "data": [1] * n}]}).encode()


def test_http_headers(echo_server):
    for accepted, encoding, unpack in (("gzip", "gzip", gzip.decompress), ("deflate;q=0.5, br", "deflate", zlib.decompress),
                                       ("gzip;q=0", None, bytes), ("br", None, bytes), ("GZIP, deflate", "gzip", gzip.decompress)):
        status, headers, body = http_post(echo_server, json_body(), {"Accept-Encoding": accepted})
        assert status == 200 and headers.get("Content-Encoding") == encoding
        assert len(json.loads(unpack(body))["outputs"][0]["data"]) == 1000
    # Small answers, errors and metadata are left as they are.
    assert "Content-Encoding" not in http_post(echo_server, json_body(3), {"Accept-Encoding": "gzip"})[1]
    status, headers, body = http_post(echo_server, b"{}" + b" " * 5000, {"Accept-Encoding": "gzip"})
    assert status == 400 and "Content-Encoding" not in headers and "error" in json.loads(body)


def test_http_requests(echo_server):
    status, _, body = http_post(echo_server, gzip.compress(json_body()), {"Content-Encoding": "gzip"})
    assert status == 200 and len(json.loads(body)["outputs"][0]["data"]) == 1000
    assert http_post(echo_server, json_body(), {"Content-Encoding": "identity"})[0] == 200
    for encoding in ("br", "gzip, gzip", "zstd"):
        status, _, body = http_post(echo_server, gzip.compress(json_body()), {"Content-Encoding": encoding})
        assert status == 415 and "identity,deflate,gzip" in json.loads(body)["error"]
    for damaged in (b"x", gzip.compress(json_body())[:-5], zlib.compress(json_body()), gzip.compress(json_body()) + b"more"):
        status, _, body = http_post(echo_server, damaged, {"Content-Encoding": "gzip"})
        assert status == 400 and "gzip" in json.loads(body)["error"] or "ends early" in json.loads(body)["error"]


def test_bombs(echo_server_with):
    server = echo_server_with("--max-message", str(32 << 20))
    # Larger than the limit, and small ones that become a thousand times larger.
    for size, limit in ((33 << 20, 33 << 20), (8 << 20, 2 << 20)):
        bomb = gzip.compress(b" " * size)
        status, _, body = http_post(server, bomb, {"Content-Encoding": "gzip"})
        assert status == 413 and int(json.loads(body)["error"].split(" than ")[1].split()[0]) <= limit
        with grpc.insecure_channel(server.address) as channel:
            call = channel.unary_unary(INFER, request_serializer=bytes, response_deserializer=bytes)
            with pytest.raises(grpc.RpcError) as raised:
                call(b"\0" * size, compression=grpc.Compression.Gzip)
            assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, raised.value
    status, _, metrics = 200, None, None
    connection = http.client.HTTPConnection(server.address)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    assert 'verge_net_shed_total{reason="message_size"} 4' in metrics
    # What compresses well but not absurdly goes through.
    array = np.arange(2_000_000, dtype=np.int32) // 5
    with triton_http.InferenceServerClient(server.address) as client:
        tensor = triton_http.InferInput("INPUT0", [2_000_000], "INT32").set_data_from_numpy(array)
        result = client.infer("threaded", [tensor], request_compression_algorithm="gzip", response_compression_algorithm="gzip")
        assert np.array_equal(result.as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate", None])
def test_streams(echo_server, algorithm):
    got = queue.Queue()
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        client.start_stream(callback=lambda result, error: got.put(error or result.as_numpy("OUTPUT0")), compression_algorithm=algorithm)
        arrays = [RAMP + i for i in range(5)] + [RAMP[:, :2]]
        for array in arrays:
            tensor = triton_grpc.InferInput("INPUT0", array.shape, "INT32").set_data_from_numpy(array)
            client.async_stream_infer("threaded", [tensor])
        for array in arrays:
            assert np.array_equal(got.get(timeout=20), array)
        client.stop_stream()
