"""Inspection and refusals."""

import numpy as np

from conftest import artifacts_of, reference_of, samples_for, target

KIND = {".onnx": "onnx", ".keras": "keras", ".h5": "h5", ".tflite": "tflite", "": "saved_model"}

HOSTILE = {
    "reads_file": "ReadFile",
    "reads_file_in_branch": "ReadFile",
    "writes_file": "WriteFile",
    "prints_to_file": "PrintV2",
    "saves_checkpoint": "SaveV2",
    "calls_python": "EagerPyFunc",
    "lambda.keras": "Lambda",
    "lambda.h5": "Lambda",
    "climbing_data.onnx": "outside the model's folder",
    "absolute_data.onnx": "outside the model's folder",
    "missing_data.onnx": "does not exist",
    "claims_10gb.onnx": "claims 10737418240 bytes",
    "claims_exabytes.onnx": "but holds 16",
    "foreign_operator.onnx": "somewhere.else.Anything",
    "noise.tflite": "damaged",
    "noise.onnx": "damaged",
    "noise.h5": "damaged",
    "noise.keras": "damaged",
    "noise_saved_model": "damaged",
}


def test_hostile_models_are_refused_with_the_part_at_fault(process, made):
    folder = made("hostile")
    for name, said in HOSTILE.items():
        event = process.inspect(folder / name, KIND[(folder / name).suffix])
        assert event["event"] == "refused", name
        assert said in event["reason"], (name, event["reason"])
        assert "\n" not in event["reason"] and len(event["reason"]) <= 300


def test_a_network_that_makes_10_gb_fails_and_the_process_goes_on(process, made, tmp_path):
    folder = made("hostile")
    inspected = process.inspect(folder / "makes_10gb.onnx", "onnx")
    if inspected["event"] == "inspected":
        np.save(tmp_path / "x.npy", np.zeros(1, np.int64))
        events = process.convert([], {"golden": {"x": str(tmp_path / "x.npy")}})
        assert events[-1]["event"] == "error" and "memory" in events[-1]["reason"].lower()
    assert process.inspect(made("multi_io.onnx"), "onnx")["event"] == "inspected"


def test_several_inputs_and_outputs(process, made):
    event = process.inspect(made("multi_io"), "saved_model")
    assert [t["name"] for t in event["signature"]["inputs"]] == ["left", "right"]
    assert [t["name"] for t in event["signature"]["outputs"]] == ["joined", "scores"]
    assert all(t["shape"][0] == -1 and t["batch_axis"] == 0 for side in event["signature"].values() for t in side)
    assert process.inspect(made("multi_io"), "saved_model", "absent")["event"] == "refused"


def test_free_dimensions_and_strings(process, made, tmp_path):
    event = process.inspect(made("dynamic_dims.onnx"), "onnx")
    assert event["signature"]["inputs"][0]["shape"] == [-1, 3, -1, -1]
    event = process.inspect(made("strings.onnx"), "onnx")
    assert [t["dtype"] for t in event["signature"]["outputs"]] == ["BYTES", "INT64"]
    samples = samples_for(event, tmp_path, 3)
    events = process.convert([target("openvino-ir", "f32"), target("onnx", "f32"), target("onnx", "int8")], samples)
    reference = reference_of(events)
    assert reference["shouted"].tolist() == [b"edge!", b"!", "Wörter!".encode()]
    assert reference["numbers"].tolist() == [1, -1, -1]
    made_of = artifacts_of(events)
    assert made_of["onnx-f32"]["status"] == "ok"
    assert made_of["openvino-ir-f32"]["status"] == "failed" and "StringConcat" in made_of["openvino-ir-f32"]["reason"]
    assert made_of["onnx-int8"]["status"] == "left out"


def test_the_published_fall_detection_file_is_refused_with_its_operator_and_the_way_out(process, data):
    event = process.inspect(data / "fall-detection/fall_detection.tflite", "tflite")
    assert event["event"] == "refused"
    assert "TensorListReserve" in event["reason"] and "SavedModel" in event["reason"]


def test_quantised_tflite(process, data, tmp_path):
    event = process.inspect(data / "mobilenet/mobilenet_v1_0.25_128_quant.tflite", "tflite")
    [image] = event["signature"]["inputs"]
    assert (image["dtype"], image["shape"]) == ("UINT8", [-1, 128, 128, 3])
    assert image["quantization"] == [{"scale": 0.0078125, "zero_point": 128, "axis": -1}]
    assert event["precision"] == "int8" and event["fixed_batch"] == 1


def test_bad_samples_are_named(process, made, tmp_path):
    event = process.inspect(made("multi_io.onnx"), "onnx")
    samples = samples_for(event, tmp_path)
    np.save(tmp_path / "in0.npy", np.zeros((4, 9), np.float32))
    assert "expected [8]" in process.convert([], samples)[-1]["reason"]
    np.save(tmp_path / "in0.npy", np.zeros((4, 8), np.float64))
    assert "expected float32" in process.convert([], samples)[-1]["reason"]
    np.save(tmp_path / "in0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert "cannot read" in process.convert([], samples)[-1]["reason"]
    (tmp_path / "in0.npy").write_bytes(b"\x93NUMPY\x01\x00")
    assert "cannot read" in process.convert([], samples)[-1]["reason"]
    samples = samples_for(event, tmp_path)
    assert "no file" in process.convert([], {"golden": {"left": samples["golden"]["left"]}})[-1]["reason"]


def test_a_fixed_first_dimension_is_the_batch_only_where_it_is_1_or_said_to_be(process, made):
    folder = made("first_dimension")

    def found(name, batch=None):
        event = process.inspect(folder / name, KIND[(folder / name).suffix], batch=batch)
        if event["event"] != "inspected":
            return event["reason"]
        [x], [y] = event["signature"]["inputs"], event["signature"]["outputs"]
        assert (x["shape"], x["batch_axis"]) == (y["shape"], y["batch_axis"])
        return x["shape"], x["batch_axis"], event["fixed_batch"]

    for name in ("window.onnx", "window.tflite", "window"):
        assert found(name) == found(name, "none") == ([9, 3], -1, 0), name
        assert found(name, "first") == ([-1, 3], 0, 9), name
    assert found("length.onnx") == found("length.onnx", "first") == ([-1, 3], 0, 0)
    assert found("length.onnx", "none") == ([-1, 3], -1, 0)
    assert "x [9, 3], y []" in found("sum.onnx", "first")


def test_one_sample_is_a_batch_unless_said_otherwise(process, data):
    image = data / "mobilenet/mobilenet_v1_0.25_128_quant.tflite"
    assert process.inspect(image, "tflite")["signature"]["inputs"][0]["shape"][0] == -1
    [x] = process.inspect(image, "tflite", batch="none")["signature"]["inputs"]
    assert (x["shape"][0], x["batch_axis"]) == (1, -1)
