"""Metadata, configuration and statistics through tritonclient, both protocols telling the same."""
import json
import subprocess

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def clients(echo_server):
    with triton_grpc.InferenceServerClient(echo_server.address) as g, triton_http.InferenceServerClient(echo_server.address) as h:
        yield g, h


@pytest.mark.parametrize("model", ["echo", "slow"])
def test_config_is_the_same_in_both(clients, model):
    g, h = clients
    message, text = g.get_model_config(model, "1").config, h.get_model_config(model, "1")
    # The JSON is what protobuf makes of the message, with defaults written out.
    assert json_format.ParseDict(text, model_config_pb2.ModelConfig()) == message
    assert message.name == model and message.platform == "verge" and message.backend == "verge"


def test_config_of_a_batched_model(clients):
    config = clients[1].get_model_config("echo")
    assert config["max_batch_size"] == 64 and config["model_transaction_policy"] == {"decoupled": False}
    assert [(t["name"], t["data_type"], t["dims"], t["optional"]) for t in config["input"]] == [("INPUT0", "TYPE_FP32", [16], False)]
    assert [(t["name"], t["data_type"], t["dims"]) for t in config["output"]] == [("OUTPUT0", "TYPE_FP32", [16])]
    assert config["instance_group"][0]["count"] == 2 and config["instance_group"][0]["kind"] == "KIND_CPU"
    assert config["dynamic_batching"]["priority_levels"] == 7 and "sequence_batching" not in config
    message = clients[0].get_model_config("echo").config
    assert message.HasField("dynamic_batching") and not message.HasField("ensemble_scheduling")


def test_config_of_a_model_with_state_and_no_batch_axis(clients):
    config = clients[1].get_model_config("slow")
    assert config["max_batch_size"] == 0 and "dynamic_batching" not in config and "direct" in config["sequence_batching"]
    assert config["input"][0]["dims"] == [1] and config["input"][0]["reshape"] == {"shape": []}
    assert config["output"][0]["dims"] == [-1, 16]


def test_statistics(clients):
    g, h = clients
    for name in ("echo", ""):
        message, text = g.get_inference_statistics(name), h.get_inference_statistics(name)
        assert json_format.ParseDict(text, type(message)()) == message
    stats = h.get_inference_statistics("echo", "1")["model_stats"][0]
    assert stats["name"] == "echo" and stats["version"] == "1" and stats["inference_count"] == 3 and stats["execution_count"] == 2
    assert stats["inference_stats"]["success"] == {"count": 3, "ns": 3000}
    assert [b["batch_size"] for b in stats["batch_stats"]] == [1, 2]


def test_a_model_that_cannot_serve_says_why(clients, echo_server):
    g, h = clients
    for ask in (g.get_model_metadata, g.get_model_config):
        with pytest.raises(InferenceServerException, match="manifest is damaged") as raised:
            ask("damaged")
        assert raised.value.status() == "StatusCode.UNAVAILABLE"
    for ask in (h.get_model_metadata, h.get_model_config):
        with pytest.raises(InferenceServerException, match="manifest is damaged"):
            ask("damaged")
    out = subprocess.run(["curl", "-sSi", f"http://{echo_server.address}/v2/models/damaged"], capture_output=True, text=True, check=True).stdout
    assert out.startswith("HTTP/1.1 503 ") and "manifest is damaged" in json.loads(out.split("\n\n")[1])["error"]
    assert not g.is_model_ready("damaged") and not h.is_model_ready("damaged")


def test_unknown_models(clients):
    for client, status in zip(clients, ("StatusCode.NOT_FOUND", "404")):
        for ask in (client.get_model_config, client.get_inference_statistics, client.get_model_metadata):
            with pytest.raises(InferenceServerException, match="nothing") as raised:
                ask("nothing")
            assert raised.value.status() == status
        with pytest.raises(InferenceServerException, match="version") as raised:
            client.get_model_config("echo", "x")


def test_extensions(clients):
    g, h = clients
    names = list(g.get_server_metadata().extensions)
    assert names == h.get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "classification", "model_configuration", "parameters", "schedule_policy", "sequence", "statistics"} <= set(names)
