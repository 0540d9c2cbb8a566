"""tritonclient over gRPC."""
import queue
import threading

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from .arrays import A, B, check_sums, raises, strings


def client(server):
    return triton.InferenceServerClient(server.address)


def tensor(name, array, datatype):
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def sums():
    return [tensor("INPUT0", A, "INT32"), tensor("INPUT1", B, "INT32")]


def infer(server):
    with client(server) as c:
        check_sums(c.infer("simple", sums()))
        answer = c.infer("simple", sums(), model_version="1", request_id="r1", outputs=[triton.InferRequestedOutput("OUTPUT1")],
                         headers={"test": "1"})
        assert answer.as_numpy("OUTPUT0") is None and np.array_equal(answer.as_numpy("OUTPUT1"), A - B)
        response = answer.get_response()
        assert (response.id, response.model_name, response.model_version) == ("r1", "simple", "1")


def metadata(server):
    with client(server) as c:
        assert c.is_server_live() and c.is_server_ready() and c.is_model_ready("simple") and c.is_model_ready("simple", "1")
        assert not c.is_model_ready("nothing")
        extensions = set(c.get_server_metadata().extensions)
        assert {"classification", "model_configuration", "statistics", "schedule_policy", "sequence"} <= extensions, extensions
        m = c.get_model_metadata("simple")
        assert [(t.name, t.datatype, list(t.shape)) for t in m.inputs] == [("INPUT0", "INT32", [-1, 16]), ("INPUT1", "INT32", [-1, 16])]
        assert m.versions == ["1"] and c.get_model_metadata("simple", as_json=True)["name"] == "simple"


def string_tensors(server):
    with client(server) as c:
        result = c.infer("simple_string", [tensor("INPUT0", strings(A), "BYTES"), tensor("INPUT1", strings(B), "BYTES")])
        assert [int(x) for x in result.as_numpy("OUTPUT0").flatten()] == (A + B).flatten().tolist()
        words = np.array(["", "ä€😀", "\0x"] + ["w"] * 13, dtype=np.object_).reshape(1, 16)
        back = c.infer("simple_identity", [tensor("INPUT0", words, "BYTES")]).as_numpy("OUTPUT0")
        assert [x.decode() for x in back.flatten()] == words.flatten().tolist()





def explicit_contents(server):
    with client(server) as c:
        request = service_pb2.ModelInferRequest(model_name="simple")
        for name, array in (("INPUT0", A), ("INPUT1", B)):
            t = request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
            t.contents.int_contents.extend(array.flatten().tolist())
        answer = c._client_stub.ModelInfer(request)
        assert np.frombuffer(answer.raw_output_contents[0], np.int32).tolist() == (A + B).flatten().tolist()
        request = service_pb2.ModelInferRequest(model_name="simple_int8")
        for name, array in (("INPUT0", A), ("INPUT1", B)):
            t = request.inputs.add(name=name, datatype="INT8", shape=[1, 16])
            t.contents.int_contents.extend(array.flatten().tolist())
        answer = c._client_stub.ModelInfer(request)
        assert np.frombuffer(answer.raw_output_contents[1], np.int8).tolist() == (A - B).flatten().tolist()
        request = service_pb2.ModelInferRequest(model_name="simple_identity")
        t = request.inputs.add(name="INPUT0", datatype="BYTES", shape=[1, 16])
        t.contents.bytes_contents.extend([b"x"] * 16)
        assert c._client_stub.ModelInfer(request).raw_output_contents[0] == b"\1\0\0\0x" * 16
        request = service_pb2.ModelInferRequest(model_name="identity_fp32")
        t = request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 2])
        t.contents.fp32_contents.extend([1.5, -2])
        assert c._client_stub.ModelInfer(request).raw_output_contents[0] == np.array([1.5, -2], np.float32).tobytes()


def asynchronous(server):
    with client(server) as c:
        results = queue.Queue()
        for _ in range(50):
            c.async_infer("simple", sums(), lambda result, error: results.put((result, error)))
        for _ in range(50):
            result, error = results.get(timeout=20)
            assert error is None, error
            check_sums(result)
        big = tensor("INPUT0", np.zeros((64, 50_000), np.float32), "FP32")
        ended = queue.Queue()
        handle = c.async_infer("identity_fp32", [big], lambda result, error: ended.put(error))
        handle.cancel()
        ended.get(timeout=20)  # cancelled or just answered
        check_sums(c.infer("simple", sums()))


def parameters(server):
    with client(server) as c:
        check_sums(c.infer("simple", sums(), priority=1, timeout=5_000_000, parameters={"mine": 7, "other": "x", "flag": True}))
        raises(InferenceServerException, lambda: c.infer("simple", sums(), parameters={"verge.nothing": "x"}), "verge.nothing")


def client_timeout(server):
    with client(server) as c:
        big = tensor("INPUT0", np.zeros((64, 100_000), np.float32), "FP32")
        error = raises(InferenceServerException, lambda: c.infer("identity_fp32", [big], client_timeout=0.0001))
        assert error.status() == "StatusCode.DEADLINE_EXCEEDED", error.status()


def classification(server):
    with client(server) as c:
        scores = np.array([[0.1, 0.7, 0.0, 0.2]], np.float32)
        result = c.infer("labelled", [tensor("INPUT0", scores, "FP32")], outputs=[triton.InferRequestedOutput("OUTPUT0", class_count=2)])
        best = [x.decode() for x in result.as_numpy("OUTPUT0").flatten()]
        assert [b.split(":")[1:] for b in best] == [["1", "dog"], ["3", "bird"]], best


def config(server):
    with client(server) as c:
        found = c.get_model_config("simple").config
        assert found.name == "simple" and found.max_batch_size > 0
        assert [(t.name, service_pb2.model__config__pb2.DataType.Name(t.data_type), list(t.dims)) for t in found.input] == [
            ("INPUT0", "TYPE_INT32", [16]), ("INPUT1", "TYPE_INT32", [16])]


def statistics(server):
    with client(server) as c:
        count = lambda: c.get_inference_statistics("simple").model_stats[0].inference_stats.success.count
        before = count()
        for _ in range(3):
            c.infer("simple", sums())
        stats = c.get_inference_statistics("simple", "1").model_stats[0]
        assert stats.inference_stats.success.count >= before + 3 and stats.inference_count >= 3 and stats.execution_count >= 1
        assert {s.name for s in c.get_inference_statistics().model_stats} >= {"simple", "simple_string"}


def shared_memory(server):
    import tritonclient.utils.shared_memory as shm

    with client(server) as c:
        c.unregister_system_shared_memory()
        made = [shm.create_shared_memory_region(name, "/" + name, 64) for name in ("conf_in0", "conf_in1", "conf_out0")]
        try:
            shm.set_shared_memory_region(made[0], [A])
            shm.set_shared_memory_region(made[1], [B])
            for name in ("conf_in0", "conf_in1", "conf_out0"):
                c.register_system_shared_memory(name, "/" + name, 64)
            assert set(c.get_system_shared_memory_status().regions) == {"conf_in0", "conf_in1", "conf_out0"}
            inputs = [triton.InferInput(f"INPUT{i}", [1, 16], "INT32") for i in range(2)]
            for i, t in enumerate(inputs):
                t.set_shared_memory(f"conf_in{i}", 64)
            output = triton.InferRequestedOutput("OUTPUT0")
            output.set_shared_memory("conf_out0", 64)
            result = c.infer("simple", inputs, outputs=[output, triton.InferRequestedOutput("OUTPUT1")])
            assert np.array_equal(shm.get_contents_as_numpy(made[2], np.int32, [1, 16]), A + B)
            assert np.array_equal(result.as_numpy("OUTPUT1"), A - B)
            raises(InferenceServerException, lambda: c.register_system_shared_memory("bad", "/../etc/passwd", 64))
            c.unregister_system_shared_memory("conf_in0")
            raises(InferenceServerException, lambda: c.infer("simple", inputs), "conf_in0")
            c.unregister_system_shared_memory()
            assert not c.get_system_shared_memory_status().regions
        finally:
            for region in made:
                shm.destroy_shared_memory_region(region)


def settings(server):
    with client(server) as c:
        assert "trace_level" in c.get_trace_settings(as_json=True)["settings"]
        assert c.get_log_settings(as_json=True)["settings"]


def model_control(server):
    with client(server) as c:
        state = lambda name: next(m.state for m in c.get_model_repository_index().models if m.name == name)
        assert state("simple_int8") == "READY"
        c.unload_model("simple_int8")
        assert not c.is_model_ready("simple_int8") and state("simple_int8") != "READY"
        c.load_model("simple_int8")
        assert c.is_model_ready("simple_int8") and state("simple_int8") == "READY"
        c.load_model("simple_int8", config='{"max_batch_size": 16}')
        assert c.get_model_config("simple_int8").config.max_batch_size == 16
        c.load_model("simple_int8")
        assert c.get_model_config("simple_int8").config.max_batch_size != 16, "it holds until the model is loaded without it"
        raises(InferenceServerException, lambda: c.load_model("simple_int8", config='{"backend": "mine"}'), "failed to load 'simple_int8', 'backend' cannot be")
        raises(InferenceServerException, lambda: c.load_model("simple_int8", config="{}", files={"file:1/model.onnx": b"x"}), "failed to poll from model")
        raises(InferenceServerException, lambda: c.load_model("wrong_model_name"), "failed to load")


def run_stream(c, count, **start):
    results = queue.Queue()
    c.start_stream(lambda result, error: results.put((result, error)), **start)
    for i in range(count):
        c.async_stream_infer("simple", sums(), request_id=str(i))
    answers = [results.get(timeout=20) for _ in range(count)]
    c.stop_stream()
    return answers


def stream(server):
    with client(server) as c:
        for i, (result, error) in enumerate(run_stream(c, 100)):
            assert error is None, error
            check_sums(result)
            assert result.get_response().id == str(i), "answers of a stream come in order"
        results = queue.Queue()
        c.start_stream(lambda result, error: results.put((result, error)))
        c.async_stream_infer("nothing", sums())
        c.async_stream_infer("simple", sums())
        assert results.get(timeout=20)[1] is not None, "an unknown model is an error of its request"
        check_sums(results.get(timeout=20)[0])
        c.stop_stream()


def stream_final_response(server):
    with client(server) as c:
        results = queue.Queue()
        c.start_stream(lambda result, error: results.put((result, error)))
        c.async_stream_infer("simple", sums(), enable_empty_final_response=True)
        while True:
            result, error = results.get(timeout=20)
            assert error is None, error
            if result.get_response().parameters["triton_final_response"].bool_param:
                break
            check_sums(result)
        c.stop_stream()


def sequence(server):
    with client(server) as c:
        for identity in (7, "seven"):
            for i in range(3):
                check_sums(c.infer("simple", sums(), sequence_id=identity, sequence_start=i == 0, sequence_end=i == 2))


def compression(server):
    with client(server) as c:
        for algorithm in ("gzip", "deflate"):
            check_sums(c.infer("simple", sums(), compression_algorithm=algorithm))


def errors(server):
    with client(server) as c:
        error = raises(InferenceServerException, lambda: c.infer("nothing", sums()), "nothing")
        assert error.status() == "StatusCode.NOT_FOUND", error.status()
        error = raises(InferenceServerException, lambda: c.infer("simple", sums()[:1]), "INPUT1")
        assert error.status() == "StatusCode.INVALID_ARGUMENT"
        error = raises(InferenceServerException, lambda: c.infer("simple", [tensor("INPUT0", A.astype(np.float32), "FP32"), sums()[1]]), "INPUT0")
        assert error.status() == "StatusCode.INVALID_ARGUMENT"
        error = raises(InferenceServerException, lambda: c.infer("simple", sums(), outputs=[triton.InferRequestedOutput("NONE")]), "NONE")
        assert error.status() == "StatusCode.INVALID_ARGUMENT"
        error = raises(InferenceServerException, lambda: c.get_model_metadata("wrong_model_name"), "Request for unknown model")
        assert error.status() == "StatusCode.NOT_FOUND"
