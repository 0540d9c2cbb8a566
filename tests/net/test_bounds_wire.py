"""Bounds of requests on the wire: what arrives of them, what is refused and how, and what answers say of the choice; over both protocols."""
import json

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException


class Client:
    def __init__(self, module, address):
        self.module = module
        self.client = module.InferenceServerClient(address)
        self.tensor = module.InferInput("INPUT0", [1], "FP32")
        self.tensor.set_data_from_numpy(np.ones(1, dtype=np.float32))

    def infer(self, model, parameters):
        return self.client.infer(model, [self.tensor], parameters=parameters)

    def arrived(self, **bounds):
        return json.loads(self.infer("bounds", {f"verge.{k}": v for k, v in bounds.items()}).as_numpy("BOUNDS")[0])

    def said(self, **bounds):
        """Parameters of the answer, as Python values."""
        response = self.infer("chosen", {f"verge.{k}": v for k, v in bounds.items()}).get_response()
        if self.module is triton_http:
            return response["parameters"]
        return {k: getattr(p, p.WhichOneof("parameter_choice")) for k, p in response.parameters.items()}

    def refused(self, model="bounds", **bounds):
        with pytest.raises(InferenceServerException) as error:
            self.infer(model, {f"verge.{k}": v for k, v in bounds.items()})
        return error.value


@pytest.fixture(scope="module", params=[triton_grpc, triton_http], ids=["grpc", "http"])
def client(request, echo_server):
    out = Client(request.param, echo_server.address)
    yield out
    out.client.close()


def test_all_arrive(client):
    got = client.arrived(deadline_ms=1500.5, min_accuracy=0.9, max_energy_mj=12, objective="energy", rule="conditions", confidence=1, max_accuracy_loss=0,
                         exit="exit2", conditions="exit1: elapsed > 20 or confidence >= 0.9; exit2: ä", trace=True, variant="int8")
    assert got["timeout_us"] == 1_500_500
    del got["timeout_us"]
    assert got == {"priority": 0, "sequence_id": 0, "sequence_text": "", "sequence_start": False, "sequence_end": False, "variant": "int8",
                   "min_accuracy": 0.9, "max_energy_mj": 12, "objective": 3, "rule": "conditions", "confidence": 1, "max_accuracy_loss": 0, "exit": "exit2",
                   "conditions": "exit1: elapsed > 20 or confidence >= 0.9; exit2: ä", "trace": True, "given": True}


def test_the_earliest_deadline_counts(client):
    assert client.arrived(deadline_ms=5)["timeout_us"] == 5_000
    infer = lambda **more: json.loads(client.client.infer("bounds", [client.tensor], **more).as_numpy("BOUNDS")[0])["timeout_us"]
    assert infer(timeout=3_000_000, parameters={"verge.deadline_ms": 2000}) == 2_000_000
    assert infer(timeout=1_000_000, parameters={"verge.deadline_ms": 2000}) == 1_000_000
    assert infer(headers={"grpc-timeout": "20S"}, parameters={"verge.deadline_ms": 2000}) == 2_000_000 if client.module is triton_http else True
    assert infer(parameters={"verge.deadline_ms": 1e300}) == 100 * 365 * 86400 * 10**6


def test_grpc_timeout_and_deadline(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                                   response_deserializer=pb.ModelInferResponse.FromString)
        for timeout, deadline, low, high in ((20, 2_000, 2, 2), (2, 20_000, 1, 2)):
            message = pb.ModelInferRequest(model_name="bounds")
            message.parameters["verge.deadline_ms"].double_param = deadline
            got = json.loads(call(message, timeout=timeout).raw_output_contents[0][4:])["timeout_us"]
            assert low * 10**6 <= got <= high * 10**6 + 100_000  # clients round theirs up


def test_messages_of_a_stream_have_their_own(echo_server):
    """What one message asks is not left for the next, which may get its place."""
    with grpc.insecure_channel(echo_server.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                                     response_deserializer=pb.ModelStreamInferResponse.FromString)

        def messages():
            for i in range(20):
                message = pb.ModelInferRequest(model_name="bounds", id=str(i))
                if i % 2:
                    message.parameters["verge.min_accuracy"].double_param = i / 32
                    message.parameters["verge.deadline_ms"].int64_param = 7
                    message.parameters["verge.trace"].bool_param = True
                yield message

        for i, answer in enumerate(call(messages())):
            assert answer.infer_response.id == str(i) and not answer.error_message
            got = json.loads(answer.infer_response.raw_output_contents[0][4:])
            expected = (i / 32, 7_000, True) if i % 2 else (-1, None, False)
            assert (got["min_accuracy"], got["timeout_us"], got["trace"]) == expected


@pytest.mark.parametrize("bounds, error", [
    (dict(min_accuracy="high"), "'verge.min_accuracy' is 'high', expected a number from 0 to 1"),
    (dict(min_accuracy=1.01), "is 1.01, expected"), (dict(min_accuracy=-0.5), "is -0.5, expected"), (dict(min_accuracy=True), "is true, expected"),
    (dict(deadline_ms=0), "'verge.deadline_ms' is 0, expected a number of milliseconds larger than 0"), (dict(deadline_ms=-5), "is -5,"),
    (dict(deadline_ms="5"), "is '5', expected a number"), (dict(max_energy_mj=0), "'verge.max_energy_mj' is 0,"),
    (dict(objective="speed"), "'verge.objective' is 'speed', expected 'accuracy', 'latency' or 'energy'"), (dict(objective=1), "is 1,"),
    (dict(objective=""), "is '',"), (dict(rule=""), "'verge.rule' is '', expected"), (dict(rule="x" * 65), "(65 bytes)"),
    (dict(confidence=2), "'verge.confidence' is 2,"), (dict(max_accuracy_loss=1.5), "'verge.max_accuracy_loss' is 1.5,"),
    (dict(exit="ü" * 65), "…' (130 bytes), expected the name of an exit"), (dict(conditions="x" * 1025), "expected a text of at most 1024 bytes"),
    (dict(trace="yes"), "'verge.trace' is 'yes', expected true or false"), (dict(trace=1), "'verge.trace' is 1,"),
    (dict(min_acuracy=0.5), "unknown parameter 'verge.min_acuracy'; did you mean 'verge.min_accuracy'?"),
    (dict(zzzzzzzzzz=1), "(known: verge.deadline_ms, verge.min_accuracy"), ({"": 1}, "unknown parameter 'verge.'")], ids=str)
def test_nonsense_is_refused(client, bounds, error):
    got = client.refused(**bounds)
    assert error in got.message() and got.status() in ("StatusCode.INVALID_ARGUMENT", "400")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["deadline_ms", "min_accuracy", "max_energy_mj", "confidence"])
def test_what_is_no_finite_number_is_refused(client, name, value):
    assert f"'verge.{name}' is " in client.refused(**{name: value}).message()


def test_rest_numbers_beyond_all_types(echo_server):
    """Numbers that no type holds are too large, or zero; they are not taken for others."""
    http = triton_http.InferenceServerClient(echo_server.address)
    for text, error in (("1e999", "is inf"), ("-1e999", "is -inf"), ("1e-999", "is 0"), ("99999999999999999999999", None)):
        body = '{"inputs":[{"name":"X","shape":[1],"datatype":"INT32","data":[1]}],"parameters":{"verge.max_energy_mj":' + text + "}}"
        answer = http._post("v2/models/bounds/infer", body, {}, {})
        got = json.loads(answer.read())
        assert error in got["error"] if error else answer.status_code == 200, (text, got)
    http.close()


def test_answers_say_what_was_chosen(client):
    said = client.said()
    assert said == {"verge.variant": "plain", "verge.model": "wide", "verge.exit": "exit2", "verge.rule": "predictive",
                    "verge.reason": 'the next stage "may" be late', "verge.expected_accuracy": 0.89, "verge.predicted_ms": 12.5, "verge.measured_ms": 11,
                    "verge.confidence": 0.7}
    assert all(isinstance(said[k], float) for k in said if k.endswith(("_ms", "accuracy", "confidence")))
    said = client.said(max_energy_mj=5, rule="entropy")
    assert (said["verge.energy_mj"], said["verge.energy_source"], said["verge.rule"]) == (3.25, "modelled", "entropy")
    assert client.said(max_energy_mj=5, objective="energy")["verge.energy_source"] == "measured"
    trace = json.loads(client.said(trace=True)["verge.trace"])
    assert trace["candidates"][0]["passed_over"] == "accuracy 0.81 < 0.9 ä"


def test_answers_of_other_models_say_the_variant_alone(client):
    response = client.infer("echo", {}).get_response()
    assert list(response["parameters"] if client.module is triton_http else response.parameters) == ["verge.variant"]


def test_streams_say_it_too(echo_server):
    with grpc.insecure_channel(echo_server.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                                     response_deserializer=pb.ModelStreamInferResponse.FromString)
        answer, = call(iter([pb.ModelInferRequest(model_name="chosen")]))
        parameters = answer.infer_response.parameters
        assert parameters["verge.predicted_ms"].double_param == 12.5 and parameters["verge.exit"].string_param == "exit2"
        assert parameters["triton_final_response"].bool_param


def test_refusals_have_the_codes_of_their_reasons(client):
    got = client.refused("chosen", min_accuracy=0.96)
    assert "the best has 0.91" in got.message() and got.status() in ("StatusCode.FAILED_PRECONDITION", "400")
    got = client.refused("chosen", deadline_ms=0.5)
    assert "1 ms could be" in got.message() and got.status() in ("StatusCode.DEADLINE_EXCEEDED", "504")
