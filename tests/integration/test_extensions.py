"""The protocols' extensions on the real server and a real model, through tritonclient."""
import uuid

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import tritonclient.utils.shared_memory as shm
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from tests.conftest import Server


@pytest.fixture(scope="module")
def server(resnet8, tmp_path_factory):
    config = tmp_path_factory.mktemp("extensions") / "server.yaml"
    config.write_text("shared_memory: true\n")
    with Server(resnet8, "--config", config) as server:
        yield server


@pytest.fixture(params=[grpc_client, http_client], ids=["grpc", "http"])
def module(request):
    return request.param


@pytest.fixture
def client(module, server):
    with module.InferenceServerClient(server.address) as client:
        yield client


def image(n=1):
    return np.random.default_rng(3).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def tensor(module, array):
    t = module.InferInput("image", list(array.shape), "UINT8")
    t.set_data_from_numpy(array)
    return t


def names(client, module):
    metadata = client.get_model_metadata("resnet8")
    outputs = metadata.outputs if module is grpc_client else metadata["outputs"]
    return [o.name if module is grpc_client else o["name"] for o in outputs]


def test_configuration(server):
    with grpc_client.InferenceServerClient(server.address) as g, http_client.InferenceServerClient(server.address) as h:
        message, text = g.get_model_config("resnet8").config, h.get_model_config("resnet8")
        assert json_format.ParseDict(text, model_config_pb2.ModelConfig()) == message
        assert message.max_batch_size > 0 and message.HasField("dynamic_batching") and message.instance_group[0].count >= 1
        assert [(i.name, i.data_type, list(i.dims)) for i in message.input] == [("image", model_config_pb2.TYPE_UINT8, [32, 32, 3])]


def test_classes_are_those_of_the_values(client, module):
    out, array = names(client, module)[0], image(3)
    values = client.infer("resnet8", [tensor(module, array)]).as_numpy(out)
    got = client.infer("resnet8", [tensor(module, array)], outputs=[module.InferRequestedOutput(out, class_count=3)]).as_numpy(out)
    assert got.shape == (3, 3)
    for row, classes in zip(values, got):
        picked = [int((c.decode() if isinstance(c, bytes) else c).split(":")[1]) for c in classes]
        assert picked == list(np.argsort(-row, kind="stable")[:3])


def test_shared_memory_and_compression_change_no_answer(client, module):
    out, array = names(client, module)[0], image(2)
    expected = client.infer("resnet8", [tensor(module, array)]).as_numpy(out)
    if module is http_client:
        got = client.infer("resnet8", [tensor(module, array)], request_compression_algorithm="gzip", response_compression_algorithm="gzip")
    else:
        got = client.infer("resnet8", [tensor(module, array)], compression_algorithm="gzip")
    assert np.array_equal(got.as_numpy(out), expected)
    name = "verge-test-" + uuid.uuid4().hex
    region = shm.create_shared_memory_region(name, "/" + name, array.nbytes + expected.nbytes, create_only=True)
    try:
        client.register_system_shared_memory(name, "/" + name, array.nbytes + expected.nbytes)
        shm.set_shared_memory_region(region, [array])
        into, to = module.InferInput("image", list(array.shape), "UINT8"), module.InferRequestedOutput(out)
        into.set_shared_memory(name, array.nbytes)
        to.set_shared_memory(name, expected.nbytes, array.nbytes)
        client.infer("resnet8", [into], outputs=[to])
        assert np.array_equal(shm.get_contents_as_numpy(region, expected.dtype, expected.shape, offset=array.nbytes), expected)
        client.unregister_system_shared_memory(name)
    finally:
        shm.destroy_shared_memory_region(region)


def test_priorities_and_timeouts(client, module):
    array = image()
    assert client.infer("resnet8", [tensor(module, array)], priority=1, timeout=10_000_000).as_numpy(names(client, module)[0]).shape[0] == 1
    with pytest.raises(InferenceServerException, match="(?i)deadline|expired|time"):
        client.infer("resnet8", [tensor(module, array)], timeout=1)


def test_statistics_and_index(client, module):
    def count():
        stats = client.get_inference_statistics("resnet8")
        stats = json_format.MessageToDict(stats, preserving_proto_field_name=True) if module is grpc_client else stats
        return int(stats["model_stats"][0].get("inference_count", 0))

    before = count()
    client.infer("resnet8", [tensor(module, image(5))])
    assert count() == before + 5
    index = client.get_model_repository_index()
    states = [(m.name, m.state) for m in index.models] if module is grpc_client else [(m["name"], m["state"]) for m in index]
    assert ("resnet8", "READY") in states
