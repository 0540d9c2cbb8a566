"""Requests that share engine runs get the answers they would have got alone, in every engine and from every kind of client."""

import os
import queue

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from tests.conftest import Server, ok_variants, report_of

COUNT = 96
EXACT = {"openvino-ir-f32", "onnxruntime-onnx-f32", "litert-tflite-f32", "tensorflow-savedmodel-f32"}


def counters(client, variant):
    """Requests answered and engine runs."""
    text = client._client_stub.get("/metrics").read().decode()
    found = {}
    for line in text.splitlines():
        for name in ("verge_requests_total", "verge_runs_total"):
            if line.startswith(name + "{") and f'variant="{variant}"' in line:
                found[name] = int(line.rsplit(" ", 1)[1])
    return found.get("verge_requests_total", 0), found.get("verge_runs_total", 0)


def image_input(module, image):
    tensor = module.InferInput("image", [1, 32, 32, 3], "UINT8")
    tensor.set_data_from_numpy(image[None])
    return [tensor]


@pytest.mark.parametrize("cores", [{min(os.sched_getaffinity(0))}, None], ids=["one core", "all cores"])
def test_answers_do_not_depend_on_company(resnet8, data, tmp_path, cores):
    images = np.fromfile(data / "cifar10/test1000-images.uint8", np.uint8).reshape(1000, 32, 32, 3)[200:200 + COUNT]
    variants = {v["id"] for v in ok_variants(report_of(resnet8))} & EXACT
    assert variants == EXACT
    with Server(resnet8, cores=cores, log=tmp_path / "serve.log") as server:
        client = grpc_client.InferenceServerClient(server.address)
        web = http_client.InferenceServerClient(server.address, concurrency=8)
        output = client.get_model_metadata("resnet8").outputs[0].name
        for variant in sorted(variants):
            chosen = {"verge.variant": variant}
            alone = np.concatenate([client.infer("resnet8", image_input(grpc_client, i), parameters=chosen).as_numpy(output) for i in images])
            for _ in range(3):
                answers = queue.SimpleQueue()
                for n, image in enumerate(images[:COUNT // 2]):
                    client.async_infer("resnet8", image_input(grpc_client, image), lambda result, error, n=n: answers.put((n, result, error)), parameters=chosen)
                others = [web.async_infer("resnet8", image_input(http_client, image), parameters=chosen) for image in images[COUNT // 2:]]
                rest = [o.get_result().as_numpy(output) for o in others]
                for _ in range(COUNT // 2):
                    n, result, error = answers.get(timeout=60)
                    assert error is None, error
                    np.testing.assert_allclose(result.as_numpy(output)[0], alone[n], atol=1e-5)
                for n, answer in enumerate(rest):
                    np.testing.assert_allclose(answer[0], alone[COUNT // 2 + n], atol=1e-5)
            requests, runs = counters(web, variant)
            assert requests == COUNT * 4
            if variant == "litert-tflite-f32":
                continue  # its file has a batch of one
            assert runs < requests, f"{variant}: what waits shares runs at least while sizes are tried"
