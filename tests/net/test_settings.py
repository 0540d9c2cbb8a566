"""Trace and log settings through tritonclient: told as they are, and not changed."""
import json
import subprocess

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module", params=[triton_grpc, triton_http], ids=["grpc", "http"])
def client(request, echo_server):
    with request.param.InferenceServerClient(echo_server.address) as client:
        yield client


def test_traces(client):
    grpc = not isinstance(client, triton_http.InferenceServerClient)
    for model in (None, "echo"):
        settings = client.get_trace_settings(model)
        settings = {k: list(v.value) for k, v in settings.settings.items()} if grpc else settings
        assert settings["trace_level"] == ["OFF"] and settings["trace_rate"] == (["1000"] if grpc else "1000")
    with pytest.raises(InferenceServerException, match="unknown model"):
        client.get_trace_settings("nothing")
    client.update_trace_settings("echo", {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": None})
    with pytest.raises(InferenceServerException, match="'trace_level' cannot be changed") as raised:
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    assert raised.value.status() in ("StatusCode.UNIMPLEMENTED", "501")
    with pytest.raises(InferenceServerException, match="unknown setting 'other'"):
        client.update_trace_settings(settings={"other": "1"})


def test_logs(client):
    grpc = not isinstance(client, triton_http.InferenceServerClient)
    settings = client.get_log_settings()
    if grpc:
        settings = {k: getattr(v, v.WhichOneof("parameter_choice")) for k, v in settings.settings.items()}
    assert settings == {"log_file": "", "log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "default"}
    client.update_log_settings({"log_info": True, "log_verbose_level": 0})
    with pytest.raises(InferenceServerException, match="'log_verbose_level' cannot be changed"):
        client.update_log_settings({"log_verbose_level": 3})


@pytest.mark.parametrize("path", ["logging", "trace/setting", "models/echo/trace/setting"])
def test_rest_bodies_that_make_no_sense(echo_server, path):
    for body in ("", "[]", "{", '{"log_info":{"a":[]}}', '{"x":1}'):
        out = subprocess.run(["curl", "-sS", "-w", "%{http_code}", "-X", "POST", "-d", body, f"http://{echo_server.address}/v2/{path}"],
                             capture_output=True, text=True, check=True).stdout
        assert out[-3:] in ("400", "501") and "error" in json.loads(out[:-3])
