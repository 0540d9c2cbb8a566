"""tritonclient over REST."""
import json
import urllib.request

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from .arrays import A, B, check_sums, raises, strings



def client(server, **options):
    return triton.InferenceServerClient(server.address, **options)


def tensor(name, array, datatype, binary=True):
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def sums(binary=True):
    return [tensor("INPUT0", A, "INT32", binary), tensor("INPUT1", B, "INT32", binary)]


def infer(server):
    with client(server) as c:
        for binary_in in (True, False):
            for binary_out in (True, False):
                outputs = [triton.InferRequestedOutput(f"OUTPUT{i}", binary_data=binary_out) for i in range(2)]
                check_sums(c.infer("simple", sums(binary_in), outputs=outputs, request_id="r1", query_params={"test": 1}, headers={"x": "y"}))
        answer = c.infer("simple", sums(), model_version="1", request_id="r1").get_response()
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("r1", "simple", "1")


def metadata(server):
    with client(server) as c:
        assert c.is_server_live() and c.is_server_ready() and c.is_model_ready("simple") and c.is_model_ready("simple", "1")
        assert not c.is_model_ready("nothing")
        extensions = set(c.get_server_metadata()["extensions"])
        assert {"binary_tensor_data", "classification", "model_configuration", "statistics"} <= extensions, extensions
        m = c.get_model_metadata("simple", query_params={"test_1": 1})
        assert [(t["name"], t["datatype"], t["shape"]) for t in m["inputs"]] == [("INPUT0", "INT32", [-1, 16]), ("INPUT1", "INT32", [-1, 16])]


def string_tensors(server):
    with client(server) as c:
        for binary in (True, False):
            inputs = [tensor("INPUT0", strings(A), "BYTES", binary), tensor("INPUT1", strings(B), "BYTES", binary)]
            result = c.infer("simple_string", inputs, outputs=[triton.InferRequestedOutput("OUTPUT0", binary_data=binary)])
            assert [int(x) for x in result.as_numpy("OUTPUT0").flatten()] == (A + B).flatten().tolist()
        words = np.array(["", "ä€😀", "\0x"] + ["w"] * 13, dtype=np.object_).reshape(1, 16)
        back = c.infer("simple_identity", [tensor("INPUT0", words, "BYTES")]).as_numpy("OUTPUT0")
        assert [x.decode() for x in back.flatten()] == words.flatten().tolist()


def asynchronous(server):
    with client(server, concurrency=8) as c:
        for handle in [c.async_infer("simple", sums()) for _ in range(50)]:
            check_sums(handle.get_result(timeout=20))


def parameters(server):
    with client(server) as c:
        check_sums(c.infer("simple", sums(), priority=1, timeout=5_000_000, parameters={"mine": 7, "other": "x", "flag": True}))
        raises(InferenceServerException, lambda: c.infer("simple", sums(), parameters={"verge.nothing": "x"}), "verge.nothing")


def classification(server):
    with client(server) as c:
        scores = np.array([[0.1, 0.7, 0.0, 0.2]], np.float32)
        for binary in (True, False):
            outputs = [triton.InferRequestedOutput("OUTPUT0", binary_data=binary, class_count=2)]
            best = c.infer("labelled", [tensor("INPUT0", scores, "FP32")], outputs=outputs).as_numpy("OUTPUT0").flatten()
            best = [x.decode() if isinstance(x, bytes) else x for x in best]
            assert [b.split(":")[1:] for b in best] == [["1", "dog"], ["3", "bird"]], best


def config(server):
    with client(server) as c:
        found = c.get_model_config("simple")
        assert found["name"] == "simple" and found["max_batch_size"] > 0
        assert [(t["name"], t["data_type"], [int(d) for d in t["dims"]]) for t in found["input"]] == [
            ("INPUT0", "TYPE_INT32", [16]), ("INPUT1", "TYPE_INT32", [16])]


def statistics(server):
    with client(server) as c:
        count = lambda: c.get_inference_statistics("simple")["model_stats"][0]["inference_stats"]["success"]["count"]
        before = count()
        for _ in range(3):
            c.infer("simple", sums())
        assert count() >= before + 3
        assert {s["name"] for s in c.get_inference_statistics()["model_stats"]} >= {"simple", "simple_string"}


def shared_memory(server):
    import tritonclient.utils.shared_memory as shm

    with client(server) as c:
        c.unregister_system_shared_memory()
        made = [shm.create_shared_memory_region(name, "/" + name, 64) for name in ("confh_in0", "confh_in1", "confh_out0")]
        try:
            shm.set_shared_memory_region(made[0], [A])
            shm.set_shared_memory_region(made[1], [B])
            for name in ("confh_in0", "confh_in1", "confh_out0"):
                c.register_system_shared_memory(name, "/" + name, 64)
            assert {r["name"] for r in c.get_system_shared_memory_status()} == {"confh_in0", "confh_in1", "confh_out0"}
            inputs = [triton.InferInput(f"INPUT{i}", [1, 16], "INT32") for i in range(2)]
            for i, t in enumerate(inputs):
                t.set_shared_memory(f"confh_in{i}", 64)
            output = triton.InferRequestedOutput("OUTPUT0", binary_data=True)
            output.set_shared_memory("confh_out0", 64)
            result = c.infer("simple", inputs, outputs=[output, triton.InferRequestedOutput("OUTPUT1")])
            assert np.array_equal(shm.get_contents_as_numpy(made[2], np.int32, [1, 16]), A + B)
            assert np.array_equal(result.as_numpy("OUTPUT1"), A - B)
            c.unregister_system_shared_memory()
            assert c.get_system_shared_memory_status() == []
        finally:
            for region in made:
                shm.destroy_shared_memory_region(region)


def settings(server):
    with client(server) as c:
        assert "trace_level" in c.get_trace_settings()
        assert c.get_log_settings()


def model_control(server):
    with client(server) as c:
        state = lambda name: next(m.get("state") for m in c.get_model_repository_index() if m["name"] == name)
        assert state("simple_int8") == "READY"
        c.unload_model("simple_int8")
        assert not c.is_model_ready("simple_int8") and state("simple_int8") != "READY"
        c.load_model("simple_int8")
        assert c.is_model_ready("simple_int8") and state("simple_int8") == "READY"
        c.load_model("simple_int8", config='{"max_batch_size": 16}')
        assert c.get_model_config("simple_int8")["max_batch_size"] == 16
        c.load_model("simple_int8")
        assert c.get_model_config("simple_int8")["max_batch_size"] != 16, "it holds until the model is loaded without it"
        raises(InferenceServerException, lambda: c.load_model("simple_int8", config='{"backend": "mine"}'), "failed to load 'simple_int8', 'backend' cannot be")
        raises(InferenceServerException, lambda: c.load_model("simple_int8", config="{}", files={"file:1/model.onnx": b"x"}), "failed to poll from model")
        raises(InferenceServerException, lambda: c.load_model("wrong_model_name"), "failed to load")


def compression(server):
    with client(server) as c:
        for algorithm in ("gzip", "deflate"):
            check_sums(c.infer("simple", sums(), request_compression_algorithm=algorithm, response_compression_algorithm=algorithm))


def errors(server):
    with client(server) as c:
        error = raises(InferenceServerException, lambda: c.infer("nothing", sums()), "nothing")
        assert error.status() == "404", error.status()
        assert raises(InferenceServerException, lambda: c.infer("simple", sums()[:1]), "INPUT1").status() == "400"
        assert raises(InferenceServerException, lambda: c.get_model_metadata("wrong_model_name"), "Request for unknown model").status() == "404"


def generated_body(server):
    body, json_bytes = triton.InferenceServerClient.generate_request_body(sums())
    headers = {"Inference-Header-Content-Length": str(json_bytes)} if json_bytes is not None else {}
    request = urllib.request.Request(f"http://{server.address}/v2/models/simple/infer", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        length = answer.headers.get("Inference-Header-Content-Length")
        check_sums(triton.InferenceServerClient.parse_response_body(answer.read(), header_length=int(length) if length else None))
    plain = {"inputs": [{"name": f"INPUT{i}", "shape": [1, 16], "datatype": "INT32", "data": x.tolist()} for i, x in enumerate((A, B))]}
    request = urllib.request.Request(f"http://{server.address}/v2/models/simple/infer", json.dumps(plain).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.load(answer)["outputs"][0]["data"] == (A + B).flatten().tolist()
