"""The model repository extension through tritonclient."""
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException


@pytest.fixture(params=["grpc", "http"])
def connect(request):
    module = {"grpc": triton_grpc, "http": triton_http}[request.param]
    clients = []

    def make(server):
        clients.append(module.InferenceServerClient(server.address))
        return clients[-1], request.param == "grpc"

    yield make
    for client in clients:
        client.close()


def index_of(client, grpc):
    index = client.get_model_repository_index()
    if grpc:
        return {m.name: (m.version, m.state, m.reason) for m in index.models}
    return {m["name"]: (m.get("version", ""), m["state"], m.get("reason", "")) for m in index}


def test_index_load_unload(echo_server_with, connect):
    client, grpc = connect(echo_server_with())
    assert index_of(client, grpc) == {"echo": ("1", "READY", ""), "gone": ("", "UNAVAILABLE", "unloaded")}
    client.load_model("fresh")
    assert index_of(client, grpc)["fresh"] == ("1", "READY", "")
    client.unload_model("fresh")
    client.unload_model("echo", unload_dependents=True)
    assert index_of(client, grpc)["echo"] == ("1", "UNAVAILABLE", "unloaded")


def test_a_load_may_limit_the_batch(echo_server_with, connect):
    client, grpc = connect(echo_server_with())
    for config, told in (('{"max_batch_size": "16"}', "max_batch 16"), ('{"max_batch_size": 8}', "max_batch 8"), ("{}", ""), (None, "")):
        client.load_model("fresh", config=config)
        assert index_of(client, grpc)["fresh"] == ("1", "READY", told)


@pytest.mark.parametrize("name, arguments, grpc_status, http_status, text", [
    ("bad", {}, "INVALID_ARGUMENT", "400", "manifest is damaged"),
    ("unknown", {}, "NOT_FOUND", "404", "no package"),
    ("echo", {"config": '{"max_batch_size": 0}'}, "INVALID_ARGUMENT", "400", "failed to load 'echo', its max_batch_size must be"),
    ("echo", {"config": '"parameters": {"config": {{"max_batch_size": "16"}}}'}, "INVALID_ARGUMENT", "400", "failed to load 'echo', its configuration is malformed"),
    ("echo", {"config": "[" * 60_000}, "INVALID_ARGUMENT", "400", "failed to load 'echo', its configuration is malformed"),
    ("echo", {"config": " " * 65_537}, "INVALID_ARGUMENT", "400", "65537 bytes, the limit is 65536"),
    ("echo", {"config": '{"instance_group": [{"count": 9}]}'}, "INVALID_ARGUMENT", "400", "'instance_group' cannot be overridden"),
    ("echo", {"config": "{}", "files": {"file:1/model.onnx": b"x" * 5_000_000}}, "INTERNAL", "500", "failed to poll from model repository: 'file:1/model.onnx' is not taken"),
    ("echo", {"config": "{}", "files": {"file:" + "A" * 300: b"x"}}, "INTERNAL", "500", "failed to poll from model repository"),
    ("x" * 129, {}, "INVALID_ARGUMENT", "400", "129")])
def test_refusals(echo_server, connect, name, arguments, grpc_status, http_status, text):
    client, grpc = connect(echo_server)
    with pytest.raises(InferenceServerException, match=text) as raised:
        client.load_model(name, **arguments)
    assert raised.value.status() == ("StatusCode." + grpc_status if grpc else http_status)
    assert client.is_server_live()


def test_without_a_repository(echo_server_with, connect):
    client, grpc = connect(echo_server_with("--no-repository"))
    for ask in (client.get_model_repository_index, lambda: client.load_model("echo"), lambda: client.unload_model("echo")):
        with pytest.raises(InferenceServerException, match="no model repository") as raised:
            ask()
        assert raised.value.status() == ("StatusCode.UNIMPLEMENTED" if grpc else "501")
    metadata = client.get_server_metadata()
    assert "model_repository" not in (metadata.extensions if grpc else metadata["extensions"])
