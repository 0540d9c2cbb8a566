"""Multi-exit models that answer once an exit, over a stream: tritonclient on a real server."""

import queue
import re
import time
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.conftest import ZOO, Server, run_verge
from tests.integration.test_exits_build import EXAMPLE, TARGETS, needs_images

pytestmark = needs_images
MODEL = "fashion-exits"
EXITS = ["exit1", "exit2", "exit3", "exit4"]
WAIT = 60


@pytest.fixture(scope="module")
def package():
    ZOO.mkdir(parents=True, exist_ok=True)
    run_verge("build", EXAMPLE / "model.yaml", "-o", ZOO, "--targets", *TARGETS, timeout=600)
    return ZOO / MODEL


@pytest.fixture(scope="module", params=["1", "0"], ids=["lane", "front"])
def server(request, package):
    with Server(package, "--lanes", request.param) as s:
        yield s


def image(kind=grpcclient):
    tensor = kind.InferInput("image", [1, 28, 28, 1], "UINT8")
    tensor.set_data_from_numpy(np.array([(i * 37) % 256 for i in range(784)], np.uint8).reshape(1, 28, 28, 1))
    return tensor


class Stream:
    def __init__(self, server):
        self.client = grpcclient.InferenceServerClient(server.address)
        self.answers = queue.Queue()
        self.client.start_stream(lambda result, error: self.answers.put((result, error)))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.stop_stream()
        self.client.close()

    def send(self, request_id, empty_final=False, **bounds):
        self.client.async_stream_infer(MODEL, [image()], request_id=request_id, enable_empty_final_response=empty_final,
                                       parameters={f"verge.{k}": v for k, v in bounds.items()})

    def next(self):
        result, error = self.answers.get(timeout=WAIT)
        if error:
            raise error
        response = result.get_response()
        p = response.parameters
        return response.id, p["verge.exit"].string_param, p["triton_final_response"].bool_param, result

    def all_of(self, request_id):
        """The answers to one request, to its final one."""
        got = []
        while True:
            got.append(self.next())
            assert got[-1][0] == request_id
            if got[-1][2]:
                return got


def test_each_exit_answers_and_the_last_is_final(server):
    with Stream(server) as stream:
        stream.send("a", every_exit=True)
        answers = stream.all_of("a")
        assert [(a[1], a[2]) for a in answers] == [(exit, exit == "exit4") for exit in EXITS]
        accuracies = [a[3].get_response().parameters["verge.expected_accuracy"].double_param for a in answers]
        assert accuracies == sorted(accuracies)
        spent = [a[3].get_response().parameters["verge.measured_ms"].double_param for a in answers]
        assert spent == sorted(spent)
        # Each is what a request for that exit alone gets.
        for _, exit, _, result in answers:
            stream.send("one", rule="fixed", exit=exit)
            (alone,) = stream.all_of("one")
            output = alone[3].get_response().outputs[0].name
            assert np.array_equal(result.as_numpy(output), alone[3].as_numpy(output))


def test_requests_of_a_stream_stay_in_order(server):
    with Stream(server) as stream:
        for i in range(20):
            stream.send(str(i), every_exit=i % 2 == 0)
        for i in range(20):
            assert [a[1] for a in stream.all_of(str(i))] == (EXITS if i % 2 == 0 else EXITS[-1:])


def test_the_empty_final_answer_where_it_is_asked_for(server):
    with Stream(server) as stream:
        stream.send("e", empty_final=True, every_exit=True)
        answers = stream.all_of("e")
        assert [(a[1], a[2]) for a in answers] == [(exit, False) for exit in EXITS] + [("", True)]
        assert not answers[-1][3].get_response().outputs and answers[-1][3].get_response().model_name == MODEL
        # What has one answer ends with it.
        stream.send("one", empty_final=True)
        assert [(a[1], a[2]) for a in stream.all_of("one")] == [("exit4", True)]


def test_bounds_hold_for_each_answer(server):
    with Stream(server) as stream:
        stream.send("accurate", every_exit=True, min_accuracy=0.88, objective="accuracy")
        assert [a[1] for a in stream.all_of("accurate")] == ["exit3", "exit4"]
        stream.send("fixed", every_exit=True, rule="fixed", exit="exit2")
        assert [(a[1], a[2]) for a in stream.all_of("fixed")] == [("exit1", False), ("exit2", True)]
        # Unsure or not, the first exit is good enough: it is the final one.
        stream.send("unsure", every_exit=True, rule="confidence", confidence=0.0)
        assert [(a[1], a[2]) for a in stream.all_of("unsure")] == [("exit1", True)]
        stream.send("late", every_exit=True, deadline_ms=0.001)
        with pytest.raises(InferenceServerException, match="deadline"):
            stream.next()
        stream.send("after", every_exit=True)
        assert [a[1] for a in stream.all_of("after")] == EXITS


def test_a_deadline_among_the_exits_ends_it_and_nothing_follows(server):
    with Stream(server) as stream:
        stream.send("whole", every_exit=True)
        whole = stream.all_of("whole")[-1][3].get_response().parameters["verge.measured_ms"].double_param
        # From before the first exit to after the last one, wherever they are on this machine at the moment.
        deadlines = [whole * i / 20 for i in range(1, 41)]
        for i, deadline in enumerate(deadlines):
            stream.send(str(i), every_exit=True, deadline_ms=deadline)
            # Of one request: earlier exits in order, then its final answer or an error.
            exits = []
            while True:
                result, error = stream.answers.get(timeout=WAIT)
                if error:
                    assert "deadline" in str(error)
                    break
                response = result.get_response()
                assert response.id == str(i)
                exits.append(response.parameters["verge.exit"].string_param)
                if response.parameters["triton_final_response"].bool_param:
                    break
            assert exits == EXITS[: len(exits)]
            stream.send("next", rule="fixed", exit="exit1")
            assert [a[1] for a in stream.all_of("next")] == ["exit1"]


def test_classification_of_every_answer(server):
    with Stream(server) as stream:
        name = stream.client.get_model_metadata(MODEL).outputs[0].name
        stream.client.async_stream_infer(MODEL, [image()], request_id="c", outputs=[grpcclient.InferRequestedOutput(name, class_count=2)], parameters={"verge.every_exit": True})
        answers = stream.all_of("c")
        assert [a[1] for a in answers] == EXITS
        assert all(a[3].as_numpy(name).size == 2 for a in answers)


def test_unary_calls_are_refused_and_told_what_to_do(server):
    with grpcclient.InferenceServerClient(server.address) as client:
        with pytest.raises(InferenceServerException, match="ModelStreamInfer") as refused:
            client.infer(MODEL, [image()], parameters={"verge.every_exit": True})
        assert "UNIMPLEMENTED" in refused.value.status()
        assert not client.get_model_config(MODEL).config.model_transaction_policy.decoupled
        with pytest.raises(InferenceServerException, match="'verge.every_exit' is 1, expected true or false"):
            client.infer(MODEL, [image()], parameters={"verge.every_exit": 1})
    with httpclient.InferenceServerClient(server.address) as client:
        with pytest.raises(InferenceServerException, match="ModelStreamInfer"):
            client.infer(MODEL, [image(httpclient)], parameters={"verge.every_exit": True})


def held(server):
    """What requests hold of the server: places before lanes, streams, memory to receive in."""
    with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    of = lambda name: sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M))
    used = float(re.search(r'^verge_net_receive_budget_bytes{state="used"} (\S+)$', text, re.M)[1])
    assert "verge_net_streams_open" in text
    return of("verge_lane_waiting"), of("verge_net_streams_open"), used


def test_a_stream_that_ends_early_frees_its_places(server):
    before = held(server)
    for _ in range(5):
        stream = Stream(server)
        for i in range(50):
            stream.send(str(i), every_exit=True)
        stream.next()
        stream.client.stop_stream(cancel_requests=True)
        stream.client.close()
    end = time.monotonic() + WAIT
    while held(server) != before and time.monotonic() < end:  # no event tells a client of it
        time.sleep(0.05)
    assert held(server) == before
    with Stream(server) as stream:
        stream.send("last", every_exit=True)
        assert [a[1] for a in stream.all_of("last")] == EXITS


def test_a_model_that_the_configuration_makes_decoupled(package, tmp_path):
    config = tmp_path / "server.yaml"
    config.write_text(f"models: {{{MODEL}: {{decoupled: true}}}}\n")
    with Server(package, "--config", config, "--lanes", "1") as server, Stream(server) as stream:
        assert stream.client.get_model_config(MODEL).config.model_transaction_policy.decoupled
        stream.send("d")
        assert [(a[1], a[2]) for a in stream.all_of("d")] == [(exit, exit == "exit4") for exit in EXITS]
        with pytest.raises(InferenceServerException, match="it is decoupled and answers once an exit"):
            stream.client.infer(MODEL, [image()])
