"""The classification extension through tritonclient."""
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def classes(module, server, array, k, **options):
    with module.InferenceServerClient(server.address) as client:
        inputs = []
        for i in range(2):
            inputs.append(module.InferInput(f"INPUT{i}", list(array.shape), np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        outputs = [module.InferRequestedOutput("OUTPUT0", class_count=k, **options), module.InferRequestedOutput("OUTPUT1", **options)]
        result = client.infer("echo", inputs, outputs=outputs)
        assert np.array_equal(result.as_numpy("OUTPUT1").astype(array.dtype), array)
        answer = result.as_numpy("OUTPUT0")
        return list(answer.shape), [x.decode() if isinstance(x, bytes) else x for x in answer.flatten()]


@pytest.mark.parametrize("module, options", [(triton_grpc, {}), (triton_http, {"binary_data": True}), (triton_http, {"binary_data": False})],
                         ids=["grpc", "http-binary", "http-json"])
def test_classes(echo_server, module, options):
    array = np.array([[0.25, 3, 1], [9, 9, -1]], dtype=np.float32)
    assert classes(module, echo_server, array, 2, **options) == (
        [2, 2], ["3.000000:1:dog", "1.000000:2:sea lion", "9.000000:0:cat", "9.000000:1:dog"])
    assert classes(module, echo_server, array.astype(np.int16)[:1, :2], 5, **options) == ([1, 2], ["3:1", "0:0"])
    with pytest.raises(InferenceServerException, match="BYTES"):
        classes(module, echo_server, np.array([["a"]], dtype=object), 1, **options)


def test_a_negative_count_is_refused(echo_server):
    with triton_grpc.InferenceServerClient(echo_server.address) as client:
        tensor = triton_grpc.InferInput("INPUT0", [1, 1], "FP32").set_data_from_numpy(np.ones((1, 1), dtype=np.float32))
        with pytest.raises(InferenceServerException, match="classification") as raised:
            client.infer("echo", [tensor], outputs=[triton_grpc.InferRequestedOutput("OUTPUT0", class_count=-1)])
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
