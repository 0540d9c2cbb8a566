"""Models of other kinds and shapes, each built from its file and answered over the wire."""

import json
import subprocess

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from tests.conftest import ROOT, Server, ZOO, build_recipe, ok_variants, report_of, run_verge


@pytest.fixture(scope="session")
def made():
    """Models that the repository's script generates, by name."""
    folder = ROOT / ".cache" / "test-models"

    def make(name):
        if not (folder / name).exists():
            subprocess.run([ROOT / ".venv/toolchain/bin/python", ROOT / "tools/make_test_models.py", folder, name], check=True, timeout=300)
        return folder / name

    return make


def test_keyword_spotting_saved_model(data, tmp_path):
    package = build_recipe("kws", f"name: kws\nmodel: {data}/mlperf-tiny/kws_ref_model\ntargets: {{include: ['*-f32*']}}\n")
    report = report_of(package)
    assert {v["engine"] for v in ok_variants(report)} >= {"openvino", "onnxruntime", "litert", "tensorflow"}
    sample = np.linspace(-1, 1, 490, dtype=np.float32).reshape(1, 49, 10, 1)
    with Server(package, log=tmp_path / "serve.log") as server:
        client = grpc_client.InferenceServerClient(server.address)
        metadata = client.get_model_metadata("kws")
        answers = []
        for v in ok_variants(report):
            tensor = grpc_client.InferInput(metadata.inputs[0].name, [1, 49, 10, 1], "FP32")
            tensor.set_data_from_numpy(sample)
            answers.append(client.infer("kws", [tensor], parameters={"verge.variant": v["id"]}).as_numpy(metadata.outputs[0].name))
    for answer in answers:
        assert answer.shape == (1, 12)
        assert np.allclose(answer, answers[0], atol=1e-3)


# The three photos show a cat, Grace Hopper in uniform, and a macaw; names are those of the labels file.
PHOTOS = {"cat.bmp": {"tabby", "Egyptian cat", "tiger cat", "lynx"}, "grace_hopper.bmp": {"military uniform"}, "parrot.jpg": {"macaw"}}


@pytest.mark.parametrize("file, size", [("mobilenet_v1_0.25_128_quant", 128), ("mobilenet_v1_0.5_160_quant", 160),
                                        ("mobilenet_v1_0.75_192_quant", 192), ("mobilenet_v2_1.0_224_quant", 224)])
def test_photos_through_decode_and_resize(data, file, size, tmp_path):
    name = file.replace("_quant", "").replace(".", "-")
    package = build_recipe(name, f"""
name: {name}
model: {data}/mobilenet/{file}.tflite
labels: {data}/mobilenet/imagenet_labels.txt
inputs:
  - name: photo
    dtype: BYTES
    shape: []
    steps: [{{decode: {{channels: 3, height: {size}, width: {size}}}}}]
outputs:
  - name: label
    steps: [{{topk: {{k: 1, output: labels}}}}]
targets: {{include: ['litert-*', 'openvino-tflite-*']}}
""", "--targets", "litert-*")
    with Server(package, log=tmp_path / "serve.log") as server:
        client = http_client.InferenceServerClient(server.address)
        for photo, right in PHOTOS.items():
            tensor = http_client.InferInput("photo", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([(data / "mobilenet" / photo).read_bytes()], object))
            label = client.infer(name, [tensor]).as_numpy("label").reshape(-1)[0].decode()
            # The two smallest networks take the academic for the officer, whoever runs them.
            if photo != "grace_hopper.bmp" or size >= 192:
                assert any(r in label for r in right), (photo, label)
        broken = http_client.InferInput("photo", [1], "BYTES")
        broken.set_data_from_numpy(np.array([b"\xff\xd8\xff not a JPEG"], object))
        with pytest.raises(Exception, match="decode"):
            client.infer(name, [broken])


def test_several_inputs_and_outputs(made, tmp_path):
    run_verge("build", made("multi_io") , "-o", tmp_path / "zoo", "--name", "multi", timeout=300)
    report = report_of(tmp_path / "zoo/multi")
    assert len({v["engine"] for v in ok_variants(report)}) >= 2, report["variants"]
    with Server(tmp_path / "zoo", log=tmp_path / "serve.log") as server:
        client = grpc_client.InferenceServerClient(server.address)
        metadata = client.get_model_metadata("multi")
        assert len(metadata.inputs) >= 2 and len(metadata.outputs) >= 2
        rng = np.random.default_rng(1)
        values = {t.name: rng.random([2 if d < 0 else d for d in t.shape], np.float32) for t in metadata.inputs}
        answers = {}
        for v in ok_variants(report):
            tensors = []
            for t in metadata.inputs:
                tensors.append(grpc_client.InferInput(t.name, list(values[t.name].shape), t.datatype))
                tensors[-1].set_data_from_numpy(values[t.name])
            result = client.infer("multi", tensors, parameters={"verge.variant": v["id"]})
            for t in metadata.outputs:
                answers.setdefault(t.name, []).append(result.as_numpy(t.name))
    for name, got in answers.items():
        for answer in got:
            assert np.allclose(answer, got[0], atol=1e-2), name


def test_dynamic_dimensions_of_a_bare_onnx_file(made, tmp_path):
    with Server(made("dynamic_dims.onnx"), log=tmp_path / "serve.log") as server:
        client = grpc_client.InferenceServerClient(server.address)
        [name] = [m for m in [server.ready["models"][0]["name"]]]
        metadata = client.get_model_metadata(name)
        shape = list(metadata.inputs[0].shape)
        assert shape.count(-1) >= 2
        for size in (5, 9):
            array = np.ones([2 if i == 0 else size if d < 0 else d for i, d in enumerate(shape)], np.float32)
            tensor = grpc_client.InferInput(metadata.inputs[0].name, list(array.shape), "FP32")
            tensor.set_data_from_numpy(array)
            assert client.infer(name, [tensor]).as_numpy(metadata.outputs[0].name).shape[0] == 2


def test_string_tensors(made, tmp_path):
    run_verge("build", made("strings.onnx"), "-o", tmp_path / "zoo", "--name", "strings", timeout=300, check=True)
    report = report_of(tmp_path / "zoo/strings")
    assert any(v["engine"] == "onnxruntime" for v in ok_variants(report)), report["variants"]
    for v in report["variants"]:
        assert v["verdict"] == "ok" or v["reason"], "an engine that cannot take strings says so"
    with Server(tmp_path / "zoo", log=tmp_path / "serve.log") as server:
        client = grpc_client.InferenceServerClient(server.address)
        metadata = client.get_model_metadata("strings")
        words = np.array(["edge", "", "Wörter"], object)
        rank = len(metadata.inputs[0].shape)
        array = words.reshape([3] + [1] * (rank - 1))
        tensor = grpc_client.InferInput(metadata.inputs[0].name, list(array.shape), "BYTES")
        tensor.set_data_from_numpy(array)
        answer = client.infer("strings", [tensor]).as_numpy(metadata.outputs[0].name)
        assert answer.size >= 3 and answer.dtype == object
