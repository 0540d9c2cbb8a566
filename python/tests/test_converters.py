"""Conversions, each checked by running the artifact in its engine."""

import numpy as np

from conftest import answers, artifacts_of, reference_of, samples_for, target

EXACT = 1e-5


def check(event, engine, samples, reference, limit, batch=1):
    assert event["status"] == "ok", event
    got = answers(event, engine, samples, list(reference), batch)
    for name, want in reference.items():
        assert np.abs(got[name] - want).max() <= limit, (event["target"], engine, name)


def test_saved_model_into_every_format(process, made, tmp_path):
    inspected = process.inspect(made("multi_io"), "saved_model")
    samples = samples_for(inspected, tmp_path)
    targets = [target("openvino-ir", p) for p in ("f32", "f16", "int8")] + [target("onnx", p) for p in ("f32", "int8")]
    targets += [target("tflite", p) for p in ("f32", "f16", "dynamic", "int8")]
    targets += [target("saved_model", "f32"), target("edgetpu-tflite", "int8"), target("onnx", "f16"), target("onnx", "f32", "unrolled")]
    events = process.convert(targets, samples, native_paths=True)
    reference, made_of = reference_of(events), artifacts_of(events)
    assert {e["path"] for e in events if e["event"] == "native_path"} == {"signature(x)", "tf.function"}
    check(made_of["openvino-ir-f32"], "openvino", samples, reference, EXACT)
    check(made_of["openvino-ir-f32"], "openvino", samples, reference, EXACT, batch=8)
    check(made_of["openvino-ir-f16"], "openvino", samples, reference, 5e-3)
    check(made_of["openvino-ir-int8"], "openvino", samples, reference, 0.1)
    check(made_of["onnx-f32"], "onnxruntime", samples, reference, EXACT, batch=8)
    check(made_of["onnx-int8"], "onnxruntime", samples, reference, 0.1)
    for batch in (1, 4):
        check(made_of["tflite-f32"], "litert", samples, reference, EXACT, batch)
        check(made_of["tflite-int8"], "litert", samples, reference, 0.1, batch)
    check(made_of["tflite-f32"], "openvino", samples, reference, EXACT)
    assert made_of["tflite-dynamic"]["status"] == "left out"
    assert made_of["edgetpu-tflite-int8"]["status"] == "ok"
    assert made_of["onnx-f16"]["status"] == "left out"
    assert "no loop" in made_of["onnx-f32-unrolled"]["reason"]


def test_without_calibration_there_is_no_int8(process, made, tmp_path):
    inspected = process.inspect(made("multi_io.onnx"), "onnx")
    events = process.convert([target("openvino-ir", "int8"), target("onnx", "int8")], samples_for(inspected, tmp_path, calibration=False))
    assert [(e["status"], "calibration" in e["reason"]) for e in artifacts_of(events).values()] == [("left out", True)] * 2


def test_keras_recurrent_network_in_both_forms(process, made, tmp_path):
    inspected = process.inspect(made("recurrent.keras"), "keras")
    assert inspected["has_loop"]
    samples = samples_for(inspected, tmp_path)
    formats = ("openvino-ir", "onnx", "tflite", "saved_model")
    events = process.convert([target(f, "f32", form, (2,)) for f in formats for form in ("unrolled", "loop")], samples, native_paths=True)
    assert {e["path"] for e in events if e["event"] == "native_path"} >= {"model.predict", "model(x)", "predict_on_batch", "tf.function"}
    reference, made_of = reference_of(events), artifacts_of(events)
    for form in ("unrolled", "loop"):
        check(made_of[f"openvino-ir-f32-{form}"], "openvino", samples, reference, EXACT)
        check(made_of[f"onnx-f32-{form}"], "onnxruntime", samples, reference, EXACT)
        check(made_of[f"tflite-f32-{form}"], "litert", samples, reference, EXACT, batch=2)
        check(made_of[f"saved_model-f32-{form}"], "openvino", samples, reference, EXACT)
    assert "contains Loop nodes" in made_of["onnx-f32-loop"]["notes"] and not made_of["onnx-f32-unrolled"]["notes"]


def test_a_loop_that_depends_on_data_is_not_unrolled(process, made, tmp_path):
    inspected = process.inspect(made("data_loop"), "saved_model")
    samples = samples_for(inspected, tmp_path)
    events = process.convert([target("onnx", "f32", "unrolled"), target("onnx", "f32", "loop")], samples)
    made_of = artifacts_of(events)
    assert made_of["onnx-f32-unrolled"]["status"] == "left out" and "condition" in made_of["onnx-f32-unrolled"]["reason"]
    check(made_of["onnx-f32-loop"], "onnxruntime", samples, reference_of(events), EXACT)


def test_fall_detection_is_exact_in_every_engine(process, data, tmp_path):
    inspected = process.inspect(data / "fall-detection/saved_model", "saved_model")
    samples = samples_for(inspected, tmp_path)
    events = process.convert([target(f, "f32", "unrolled", (1,)) for f in ("openvino-ir", "onnx", "tflite")], samples)
    reference, made_of = reference_of(events), artifacts_of(events)
    for form, engine in (("openvino-ir", "openvino"), ("onnx", "onnxruntime"), ("tflite", "litert")):
        check(made_of[f"{form}-f32-unrolled"], engine, samples, reference, EXACT)


def test_old_keras_h5(process, data, tmp_path):
    inspected = process.inspect(data / "mlperf-tiny/pretrainedResnet.h5", "h5")
    assert inspected["signature"]["inputs"][0]["name"] == "input_1"
    images = np.fromfile(data / "cifar10/test1000-images.uint8", np.uint8).reshape(-1, 32, 32, 3)[:40].astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = {"input_1": str(tmp_path / "images.npy")}
    events = process.convert([target("onnx", "int8"), target("openvino-ir", "int8")], {"golden": files, "calibration": files})
    reference, made_of = reference_of(events), artifacts_of(events)
    want = reference["output_0"].argmax(-1)
    for form, engine in (("onnx", "onnxruntime"), ("openvino-ir", "openvino")):
        got = answers(made_of[f"{form}-int8"], engine, {"golden": files}, ["output_0"])["output_0"].argmax(-1)
        assert (got == want).mean() >= 0.9


def test_tflite_source(process, data, tmp_path):
    inspected = process.inspect(data / "mlperf-tiny/pretrainedResnet.tflite", "tflite")
    samples = samples_for(inspected, tmp_path)
    targets = [target("tflite", p) for p in ("f32", "f16", "dynamic", "int8")] + [target("openvino-ir", "f32"), target("onnx", "f32")]
    events = process.convert(targets + [target("saved_model", "f32")], samples)
    reference, made_of = reference_of(events), artifacts_of(events)
    assert made_of["tflite-f32"]["converter"] == "source file"
    check(made_of["openvino-ir-f32"], "openvino", samples, reference, EXACT)
    check(made_of["onnx-f32"], "onnxruntime", samples, reference, EXACT)
    check(made_of["tflite-dynamic"], "litert", samples, reference, 0.2)
    check(made_of["tflite-int8"], "litert", samples, reference, 0.2)
    assert made_of["saved_model-f32"]["status"] == "left out"


def test_same_samples_give_the_same_bytes(process, made, tmp_path):
    """IR, quantised IR and TFLite do not vary; a build key may rely on it."""
    inspected = process.inspect(made("multi_io.onnx"), "onnx")
    samples = samples_for(inspected, tmp_path)
    first = {"id": "first", "format": "openvino-ir", "precision": "int8", "form": "", "batches": []}
    made_of = artifacts_of(process.convert([first, first | {"id": "second"}], samples))
    contents = [(tmp_path / "artifacts" / name / "model.bin").read_bytes() for name in made_of]
    assert contents[0] == contents[1]
