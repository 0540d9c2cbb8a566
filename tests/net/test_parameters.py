"""Request parameters through the standard clients: what the runtime gets of them."""
import json
import subprocess

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module", params=[triton_grpc, triton_http], ids=["grpc", "http"])
def ask(request, echo_server):
    module = request.param
    with module.InferenceServerClient(echo_server.address) as client:
        tensor = module.InferInput("INPUT0", [1], "FP32")
        tensor.set_data_from_numpy(np.ones(1, dtype=np.float32))

        def infer(**arguments):
            return json.loads(client.infer("bounds", [tensor], **arguments).as_numpy("BOUNDS")[0])

        yield infer


NOTHING = {"priority": 0, "sequence_id": 0, "sequence_text": "", "sequence_start": False, "sequence_end": False, "variant": "", "timeout_us": None,
           "min_accuracy": -1, "max_energy_mj": -1, "objective": 0, "rule": "", "confidence": -1, "max_accuracy_loss": -1, "exit": "", "conditions": "",
           "trace": False, "given": False}


def test_nothing_given(ask):
    assert ask() == NOTHING


def test_given(ask):
    got = ask(sequence_id=2**62, sequence_start=True, sequence_end=True, priority=3, timeout=5_000_000)
    assert got == NOTHING | {"priority": 3, "sequence_id": 2**62, "sequence_start": True, "sequence_end": True, "timeout_us": 5_000_000}
    got = ask(sequence_id="line 7 \u00e4\n", sequence_start=True)
    assert got["sequence_text"] == "line 7 \u00e4\n" and got["sequence_id"] == 0 and got["sequence_start"] and not got["sequence_end"]


def test_custom_ones_are_ignored(ask):
    assert ask(parameters={"mine": 1, "yours": "x", "flag": True})["priority"] == 0


@pytest.mark.parametrize("bad", [dict(priority=-1), dict(timeout=-5), dict(sequence_id="x" * 129), dict(sequence_id=-3)], ids=str)
def test_nonsense_is_refused(ask, bad):
    with pytest.raises((InferenceServerException, ValueError), match="parameter|out of range"):
        ask(**bad)


def curl(server, parameters, *more):
    body = {"inputs": [{"name": "X", "shape": [1], "datatype": "INT32", "data": [1]}], "parameters": parameters}
    out = subprocess.run(["curl", "-sS", *more, "-d", json.dumps(body), f"http://{server.address}/v2/models/bounds/infer"],
                         capture_output=True, text=True, check=True)
    answer = json.loads(out.stdout)
    return answer if "error" in answer else json.loads(answer["outputs"][0]["data"][0])


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_rest_timeouts_combine_to_the_earlier(echo_server, version):
    assert curl(echo_server, {"timeout": 2_000_000}, version)["timeout_us"] == 2_000_000
    got = curl(echo_server, {"timeout": 60_000_000}, version, "-H", "grpc-timeout: 20S")["timeout_us"]
    assert 15_000_000 < got <= 20_000_000
    assert curl(echo_server, {"timeout": 2_000_000}, version, "-H", "Grpc-Timeout: 20S")["timeout_us"] == 2_000_000
    if version == "--http1.1":  # curl 7.88 takes the early answer on HTTP/2, and the reset behind it, for an error
        assert "grpc-timeout" in curl(echo_server, {}, version, "-H", "grpc-timeout: soon")["error"]


@pytest.mark.parametrize("parameters, error", [
    ({"priority": 1.5}, "'priority' must be a whole number"), ({"priority": "1"}, "'priority'"), ({"timeout": 2**65}, "'timeout'"),
    ({"timeout": None}, "'timeout'"), ({"sequence_id": [1]}, "'sequence_id'"), ({"sequence_start": 1}, "'sequence_start' must be a boolean"),
    ({"verge.variant": 1}, "'verge.variant' is 1, expected a string"), ({"verge.other": 1}, "unknown parameter 'verge.other'"),
    ({"binary_data_output": 1}, "'binary_data_output'")], ids=str)
def test_rest_refusals_name_the_parameter(echo_server, parameters, error):
    assert error in curl(echo_server, parameters)["error"]
