"""Standard clients against the data plane: tritonclient (gRPC, HTTP, asyncio), grpcio, curl, h2load."""
import asyncio
import json
import queue
import shutil
import subprocess

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ARRAYS = [
    np.array([[True, False, True]]),
    *[np.array([[np.iinfo(t).min, np.iinfo(t).max, 1]], dtype=t)
      for t in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)],
    np.array([[1.5, -0.0, np.inf, np.nan, 1e-45]], dtype=np.float32),
    np.array([[1.5, -np.inf, np.nan, 5e-324, 1.7e308]], dtype=np.float64),
    np.array([["", "a", "ä€😀", "\"\\\n"]], dtype=object),
    np.zeros((0, 3), dtype=np.float32),
    np.random.default_rng(1).standard_normal((3, 224, 224)).astype(np.float32),
]
HALF = np.array([[1.5, -2, np.inf]], dtype=np.float16)


def same(a, b):
    if a.dtype == object:
        return [x if isinstance(x, bytes) else str(x).encode() for x in a.flatten()] == [
            x if isinstance(x, bytes) else str(x).encode() for x in b.flatten()]
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def name_of(array):
    return f"{array.dtype}{list(array.shape)}"


@pytest.mark.parametrize("model", ["echo", "threaded"])
@pytest.mark.parametrize("array", [*ARRAYS, HALF], ids=name_of)
def test_grpc(echo_server, array, model):
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        tensor = triton_grpc.InferInput("INPUT0", array.shape, np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        result = client.infer(model, [tensor], outputs=[triton_grpc.InferRequestedOutput("OUTPUT0")], request_id="r1")
        assert same(result.as_numpy("OUTPUT0"), array)
        response = result.get_response()
        assert (response.id, response.model_name, response.model_version) == ("r1", model, "1")
        assert response.parameters["verge.variant"].string_param == "plain"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("array", ARRAYS, ids=name_of)
def test_http(echo_server, array, binary_in, binary_out):
    with triton_http.InferenceServerClient(echo_server.address) as client:
        tensor = triton_http.InferInput("INPUT0", list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary_in)
        outputs = None if binary_out is None else [triton_http.InferRequestedOutput("OUTPUT0", binary_data=binary_out)]
        result = client.infer("echo", [tensor], outputs=outputs, request_id="r1")
        answer = result.as_numpy("OUTPUT0")
        if np.issubdtype(array.dtype, np.floating) and not (binary_in and binary_out):
            assert np.array_equal(answer, array, equal_nan=True) and answer.dtype == array.dtype
        else:
            assert same(answer, array)
        assert result.get_response()["id"] == "r1"


def test_half_over_http_needs_binary(echo_server):
    with triton_http.InferenceServerClient(echo_server.address) as client:
        tensor = triton_http.InferInput("INPUT0", list(HALF.shape), "FP16").set_data_from_numpy(HALF)
        assert same(client.infer("echo", [tensor]).as_numpy("OUTPUT0"), HALF)
        with pytest.raises(InferenceServerException, match="binary data"):
            client.infer("echo", [tensor], outputs=[triton_http.InferRequestedOutput("OUTPUT0", binary_data=False)])


def test_several_tensors_mixed(echo_server):
    a, b, c = np.arange(7, dtype=np.int8), np.array(["x", "yz"], dtype=object), np.arange(5, dtype=np.float64)
    with triton_http.InferenceServerClient(echo_server.address) as client:
        inputs = [triton_http.InferInput(f"INPUT{i}", list(x.shape), np_to_triton_dtype(x.dtype)) for i, x in enumerate((a, b, c))]
        inputs[0].set_data_from_numpy(a)
        inputs[1].set_data_from_numpy(b, binary_data=False)
        inputs[2].set_data_from_numpy(c)
        outputs = [triton_http.InferRequestedOutput("OUTPUT2"), triton_http.InferRequestedOutput("OUTPUT1", binary_data=False),
                   triton_http.InferRequestedOutput("OUTPUT0")]
        result = client.infer("echo", inputs, outputs=outputs)
        assert [o["name"] for o in result.get_response()["outputs"]] == ["OUTPUT2", "OUTPUT1", "OUTPUT0"]
        assert same(result.as_numpy("OUTPUT0"), a) and same(result.as_numpy("OUTPUT1"), b) and same(result.as_numpy("OUTPUT2"), c)


def test_management(echo_server):
    for client in (triton_grpc.InferenceServerClient(echo_server.address), triton_http.InferenceServerClient(echo_server.address)):
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("echo", "1")
        assert not client.is_model_ready("nothing")
        metadata = client.get_server_metadata()
        assert (metadata["name"] if isinstance(metadata, dict) else metadata.name) == "verge"
        with pytest.raises(InferenceServerException, match="nothing"):
            client.get_model_metadata("nothing")
        client.close()


def test_variant_and_errors(echo_server):
    array = np.ones(3, dtype=np.float32)
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        tensor = triton_grpc.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)
        answer = client.infer("echo", [tensor], parameters={"verge.variant": "other", "mine": 7})
        assert answer.get_response().parameters["verge.variant"].string_param == "other"
        for error, arguments in [("StatusCode.NOT_FOUND", dict(model_name="none")), ("StatusCode.NOT_FOUND", dict(model_version="7")),
                                 ("StatusCode.INVALID_ARGUMENT", dict(model_version="x")),
                                 ("StatusCode.INVALID_ARGUMENT", dict(parameters={"verge.bad": "x"})),
                                 ("StatusCode.INVALID_ARGUMENT", dict(parameters={"verge.variant": 3})),
                                 ("StatusCode.INTERNAL", dict(model_name="broken")),
                                 ("StatusCode.INVALID_ARGUMENT", dict(outputs=[triton_grpc.InferRequestedOutput("NONE")]))]:
            with pytest.raises(InferenceServerException) as raised:
                client.infer(**{"model_name": "echo", "inputs": [tensor], **arguments})
            assert raised.value.status() == error
        with pytest.raises(InferenceServerException) as raised:
            client.infer("slow", [tensor], client_timeout=0.2)
        assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_asyncio(echo_server):
    array = np.arange(16, dtype=np.float32).reshape(1, 16)

    async def run():
        async with triton_grpc_aio.InferenceServerClient(echo_server.address) as g, triton_http_aio.InferenceServerClient(echo_server.address) as h:
            gt = triton_grpc.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)
            ht = triton_http.InferInput("INPUT0", list(array.shape), "FP32").set_data_from_numpy(array)
            results = await asyncio.gather(*[g.infer("threaded", [gt]) for _ in range(100)], *[h.infer("threaded", [ht]) for _ in range(100)])
            assert all(same(r.as_numpy("OUTPUT0"), array) for r in results)

    asyncio.run(run())


def test_cancelled_grpc_call_frees_its_place(echo_server):
    array = np.ones(3, dtype=np.float32)
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        tensor = triton_grpc.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)
        future = client.async_infer("slow", [tensor], callback=lambda result, error: None)
        future.cancel()
        assert same(client.infer("echo", [tensor]).as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("model", ["echo", "threaded"])
def test_stream(echo_server, model):
    """Many messages on a stream; answers in order, errors among them, and the stream goes on."""
    answers = queue.Queue()
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for i in range(500):
            tensor = triton_grpc.InferInput("INPUT0", [1, 4], "FP32").set_data_from_numpy(np.full((1, 4), i, np.float32))
            client.async_stream_infer(model if i % 100 != 50 else "nothing", [tensor], request_id=str(i),
                                      enable_empty_final_response=bool(i % 2))
        for i in range(500):
            result, error = answers.get(timeout=20)
            if i % 100 == 50:
                assert "unknown model 'nothing'" in error.message()
                continue
            assert error is None, error
            response = result.get_response()
            assert response.id == str(i)
            assert response.parameters["triton_final_response"].bool_param
            assert result.as_numpy("OUTPUT0")[0, 0] == i
        client.stop_stream()


def test_stream_of_images(echo_server):
    image = np.random.default_rng(1).standard_normal((3, 224, 224)).astype(np.float32)
    answers = queue.Queue()
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        tensor = triton_grpc.InferInput("INPUT0", image.shape, "FP32").set_data_from_numpy(image)
        for i in range(100):
            client.async_stream_infer("echo", [tensor], request_id=str(i))
        for i in range(100):
            result, error = answers.get(timeout=20)
            assert error is None, error
            assert result.get_response().id == str(i)
            assert same(result.as_numpy("OUTPUT0"), image)


def test_streams_asyncio(echo_server):
    async def one(client, number):
        async def requests():
            for i in range(50):
                tensor = triton_grpc.InferInput("INPUT0", [1, 1], "INT32").set_data_from_numpy(np.array([[number * 1000 + i]], np.int32))
                yield {"model_name": "threaded", "inputs": [tensor], "request_id": str(i)}

        got = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            got.append(int(result.as_numpy("OUTPUT0")[0, 0]))
        assert got == [number * 1000 + i for i in range(50)]

    async def many():
        async with triton_grpc_aio.InferenceServerClient(echo_server.address) as client:
            await asyncio.gather(*(one(client, n) for n in range(30)))

    asyncio.run(many())


def test_health_service(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
        assert check(b"") == b"\x08\x01"
        assert check(b"\x0a\x1einference.GRPCInferenceService") == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as raised:
            check(b"\x0a\x01x")
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        other = channel.unary_unary("/inference.GRPCInferenceService/ModelConfiguration", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as raised:
            other(b"")
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED and "ModelConfiguration" in raised.value.details()


@pytest.mark.skipif(not shutil.which("curl"), reason="skipped: no curl")
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
def test_curl(echo_server, version, tmp_path):
    url = f"http://{echo_server.address}/v2/models/echo/infer"
    body = {"inputs": [{"name": "INPUT0", "shape": [2], "datatype": "INT32", "data": [1, 2]}]}
    for extra in ([], ["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"] if version == "--http1.1" else []):
        # curl 7.88 cannot reuse an HTTP/2 connection that it opened with prior knowledge.
        urls = [url] if "http2" in version else [url, url]
        out = subprocess.run(["curl", "-sS", version, *extra, "-d", json.dumps(body), *urls], capture_output=True, text=True, check=True)
        assert out.stdout.count('"data":[1,2]') == len(urls)
    large = tmp_path / "large"
    large.write_text(json.dumps({"inputs": [{"name": "INPUT0", "shape": [300000], "datatype": "INT32", "data": list(range(300000))}]}))
    out = subprocess.run(["curl", "-sS", version, "-T", large, "-X", "POST", url], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout)["outputs"][0]["data"] == list(range(300000))


@pytest.mark.skipif(not shutil.which("h2load"), reason="skipped: no h2load")
@pytest.mark.parametrize("protocol", ["h2c", "http/1.1"])
def test_h2load(echo_server, protocol):
    out = subprocess.run(["h2load", "-p" + protocol, "-n", "3000", "-c", "20", "-m", "10", f"http://{echo_server.address}/v2"],
                         capture_output=True, text=True, check=True)
    assert "3000 succeeded, 0 failed, 0 errored" in out.stdout
    assert "3000 2xx" in out.stdout
