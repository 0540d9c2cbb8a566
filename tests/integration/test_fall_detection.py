"""Fall detection, an LSTM with hard-sigmoid gates: exact variants are exact, the rest is marked, and what cannot run is refused with a way out."""

import json
import os

import numpy as np
import pytest
import tritonclient.http as http_client

from tests.conftest import ROOT, Server, ZOO, build_recipe, ok_variants, report_of, run_verge

MEAN = [-1082.609691, -152.626047, -125.434036, 1478.656414]
STD = [1049.907620, 556.064008, 780.038308, 1022.058601]
EXACT = 1e-5


def normalise(tags):
    """Raw tag units [n, 9, 3] -> the network's input [n, 9, 4]: milli-g, vector length appended, standardised."""
    g = tags.astype(np.float64) * (8000 / 2048)
    g = np.concatenate([g, np.linalg.norm(g, axis=-1, keepdims=True)], axis=-1)
    return ((g - MEAN) / STD).astype(np.float32)


@pytest.fixture(scope="session")
def windows(data):
    """The 1,000 windows of the published recording, in raw tag units [1000, 9, 3], and the original network's answers [1000]."""
    rows = np.loadtxt(data / "fall-detection/test_accel.csv", delimiter=",", skiprows=1)
    samples = rows.reshape(-1, 3)
    saved = np.load(data / "fall-detection/windows1000.npz")
    # A start is a sample; a row of the recording has two.
    tags = np.stack([samples[s:s + 9] for s in saved["starts"]])
    return tags, saved["outputs"]


@pytest.fixture(scope="session")
def packages(data, windows):
    """Both SavedModels, built with 256 of the windows as evaluation data and the native answer as the reference."""
    ZOO.mkdir(parents=True, exist_ok=True)
    tags, answers = windows
    np.save(ZOO / "fall-windows.npy", normalise(tags))
    np.save(ZOO / "fall-answers.npy", answers.reshape(-1, 1))
    built = {}
    for name, folder in (("fall-loop", "saved_model"), ("fall-unrolled", "saved_model_unrolled")):
        built[name] = build_recipe(name, f"""
name: {name}
model: {data}/fall-detection/{folder}
data:
  calibration: {{path: {ZOO}/fall-windows.npy, samples: 0-199}}
  evaluation: {{path: {ZOO}/fall-windows.npy, labels: {ZOO}/fall-answers.npy, samples: 200-999}}
metric: {{kind: mae}}
limits: {{max_accuracy_loss: 0.02}}
""")
    return built


@pytest.mark.parametrize("name", ["fall-loop", "fall-unrolled"])
def test_exact_variants_answer_the_golden_and_all_windows_over_the_wire(packages, name, data, windows, tmp_path):
    golden = json.loads((data / "fall-detection/golden.json").read_text())["cases"]
    tags, answers = windows
    inputs = np.concatenate([normalise(tags), np.array([case["input"] for case in golden], np.float32)])
    expected = np.concatenate([answers, [case["output"] for case in golden]])
    exact = [v for v in ok_variants(report_of(packages[name])) if v["precision"] == "f32" and v["executed_precision"] == "f32"]
    assert exact, "no exact variant is ok"
    with Server(packages[name], log=tmp_path / "serve.log") as server:
        client = http_client.InferenceServerClient(server.address)
        metadata = client.get_model_metadata(name)
        for v in exact:
            got = []
            for begin in range(0, len(inputs), 167):
                batch = inputs[begin:begin + 167]
                tensor = http_client.InferInput(metadata["inputs"][0]["name"], list(batch.shape), "FP32")
                tensor.set_data_from_numpy(batch)
                answer = client.infer(name, [tensor], request_id="w", parameters={"verge.variant": v["id"]})
                got.append(answer.as_numpy(metadata["outputs"][0]["name"]).reshape(-1))
            assert np.max(np.abs(np.concatenate(got) - expected)) <= EXACT, v["id"]


def test_the_default_is_the_fastest_of_what_is_exact(packages):
    for package in packages.values():
        report = report_of(package)
        by_id = {v["id"]: v for v in report["variants"]}
        default = by_id[report["default_variant"]]
        p50 = lambda v: next(c["p50_us"] for c in v["latency"] if c["batch"] == 1 and c["cores"] == 1)
        rivals = [v for v in ok_variants(report) if v["accuracy"] - report["reference_accuracy"] <= 0.02]
        assert p50(default) == min(p50(v) for v in rivals)


def test_reduced_precision_is_marked(packages):
    for package in packages.values():
        for v in ok_variants(report_of(package)):
            assert v["executed_precision"], v["id"]
            if v["executed_precision"] == "f32" and v["precision"] == "f32":
                assert v["max_abs_diff"] <= EXACT, v["id"]


def test_the_published_tflite_is_refused_with_the_operator_and_the_way_out(data, tmp_path):
    done = run_verge("build", data / "fall-detection/fall_detection.tflite", "-o", tmp_path / "zoo", check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "TensorList" in said or "Flex" in said, said
    assert "SavedModel" in said, said
    served = run_verge("serve", data / "fall-detection/fall_detection.tflite", "--listen", "127.0.0.1:0", check=False, timeout=60)
    assert served.returncode not in (0, -11), served.stderr
    assert "TensorList" in served.stderr or "Flex" in served.stderr, served.stderr


def test_a_converter_that_answers_one_half_to_everything_is_rejected(data, tmp_path):
    """The artifact loads, runs and is wrong. The tool chain gets a converter that writes a constant network."""
    (tmp_path / "sitecustomize.py").write_text(CONSTANT_CONVERTER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}:$PYTHONPATH" exec {ROOT}/.venv/toolchain/bin/python "$@"\n')
    python.chmod(0o755)
    done = run_verge("build", data / "fall-detection/saved_model_unrolled", "-o", tmp_path / "zoo", "--name", "half",
                     "--targets", "onnxruntime-onnx-f32", check=False, env=dict(os.environ, VERGE_TOOLCHAIN_PYTHON=str(python)))
    assert done.returncode == 1, done.stderr
    [variant] = [v for v in report_of(tmp_path / "zoo/half")["variants"] if v["id"] == "onnxruntime-onnx-f32"]
    assert variant["verdict"] == "rejected", variant
    assert any(c.isdigit() for c in variant["reason"]), variant["reason"]


CONSTANT_CONVERTER = """
import builtins
import sys

real_import = builtins.__import__


def constant(graph_def, input_names, output_names, **_):
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    [x], [y] = input_names, output_names
    nodes = [
        helper.make_node("Shape", [x], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "one"], ["wanted"], axis=0),
        helper.make_node("Expand", ["half", "wanted"], [y]),
    ]
    constants = [
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([[0.5]], np.float32), "half"),
    ]
    graph = helper.make_graph(
        nodes, "constant", [helper.make_tensor_value_info(x, TensorProto.FLOAT, [None, 9, 4])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [None, 1])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), None


def hooked(name, *args, **kwargs):
    module = real_import(name, *args, **kwargs)
    convert = getattr(sys.modules.get("tf2onnx"), "convert", None)
    if hasattr(convert, "from_graph_def"):
        convert.from_graph_def = constant
    return module


builtins.__import__ = hooked
"""
