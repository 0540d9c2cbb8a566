"""Which dimension is the batch: the first where the network or its model.yaml says so, never because it comes first. Every answer is the original's."""

import os
import subprocess

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

from tests.conftest import ROOT, Server, ok_variants, report_of, run_verge

NO_TOOLCHAIN = dict(os.environ, VERGE_TOOLCHAIN_PYTHON="/nonexistent")


@pytest.fixture(scope="session")
def models():
    folder = ROOT / ".cache" / "test-models"
    if not (folder / "first_dimension").exists():
        subprocess.run([ROOT / ".venv/toolchain/bin/python", ROOT / "tools/make_test_models.py", folder, "first_dimension"], check=True, timeout=300)
    return folder / "first_dimension"


def build(source, folder, batch=None, targets="'*-f32*'", **kwargs):
    """The package of a model's file, or the process that refused it."""
    recipe = folder / "model.yaml"
    recipe.write_text(f"name: m\nmodel: {source}\ntargets: {{include: [{targets}]}}\n" + (f"batch: {batch}\n" if batch else ""))
    done = run_verge("build", recipe, "-o", folder / "zoo", "--no-profile", check=False, **kwargs)
    return folder / "zoo" / "m" if done.returncode == 0 else done


def values(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def original(x, axis=0):
    return x - x.mean(axis, keepdims=True)


def tensor(x, module=grpc_client):
    made = module.InferInput("x", list(x.shape), "FP32")
    made.set_data_from_numpy(x)
    return made


def answer(client, x, model="m", **parameters):
    result = client.infer(model, [tensor(x)], parameters=parameters or None)
    return result.as_numpy(result.get_response().outputs[0].name)


def check_fixed(package_or_file, shape, others, name="m"):
    """Served with the shape as it is: one request one answer, many at a time too, and nothing of another shape."""
    variants = [None] if package_or_file.is_file() else [v["id"] for v in ok_variants(report_of(package_or_file))]
    with Server(package_or_file) as server, grpc_client.InferenceServerClient(server.address) as client:
        metadata = client.get_model_metadata(name)
        assert [list(t.shape) for t in (*metadata.inputs, *metadata.outputs)] == [shape, shape]
        assert client.get_model_config(name).config.max_batch_size == 0
        for variant in variants:
            asked = {"verge.variant": variant} if variant else {}
            x = values(*shape)
            got = answer(client, x, name, **asked)
            assert got.shape == x.shape and np.allclose(got, original(x), atol=1e-5), variant
            many = [values(*shape) + i for i in range(16)]
            results = []
            for x in many:
                client.async_infer(name, [tensor(x)], parameters=asked or None, callback=lambda result, error, x=x: results.append((x, result, error)))
            assert answer(client, many[0], name, **asked).shape == tuple(shape)
            for wrong in others:
                with pytest.raises(InferenceServerException, match="does not fit"):
                    answer(client, values(*wrong), name, **asked)
        client.close()  # after the answers to all
        assert len(results) == 16
        for x, result, error in results:
            assert error is None and np.allclose(result.as_numpy(result.get_response().outputs[0].name), original(x), atol=1e-5)
    return variants


@pytest.mark.parametrize("file, shape, engines", [
    ("window.onnx", [9, 3], {"onnxruntime", "openvino"}),
    ("planes.onnx", [3, 16, 16], {"onnxruntime", "openvino"}),
    ("window.tflite", [9, 3], {"litert", "openvino", "onnxruntime"}),
    ("window", [9, 3], {"tensorflow", "litert", "openvino", "onnxruntime"}),
])
def test_a_fixed_first_dimension_is_no_batch(models, tmp_path, file, shape, engines):
    package = build(models / file, tmp_path)
    assert {v["engine"] for v in ok_variants(report_of(package))} >= engines
    check_fixed(package, shape, [[1, *shape], [2 * shape[0], *shape[1:]], [2, *shape[1:]]])


@pytest.mark.parametrize("file, shape", [("window.onnx", [9, 3]), ("window.tflite", [9, 3])])
def test_nor_without_the_tool_chain_or_for_a_bare_file(models, tmp_path, file, shape):
    others = [[2 * shape[0], *shape[1:]], [2, *shape[1:]]]
    check_fixed(build(models / file, tmp_path, env=NO_TOOLCHAIN), shape, others)
    check_fixed(models / file, shape, others, name="window")


def test_model_yaml_says_that_it_is(models, tmp_path):
    package = build(models / "eight.onnx", tmp_path, batch="first")
    variants = ok_variants(report_of(package))
    assert {v["engine"] for v in variants} == {"onnxruntime", "openvino"}
    with Server(package) as server, grpc_client.InferenceServerClient(server.address) as client:
        assert client.get_model_config("m").config.max_batch_size == 1024
        for v in variants:
            for rows in (1, 8, 11):
                x = values(rows, 3)
                got = answer(client, x, **{"verge.variant": v["id"]})
                assert got.shape == x.shape and np.allclose(got, original(x, 1), atol=1e-5), (v["id"], rows)


def test_model_yaml_says_that_none_is(models, tmp_path):
    package = build(models / "length.onnx", tmp_path, batch="none")
    variants = ok_variants(report_of(package))
    assert {v["engine"] for v in variants} == {"onnxruntime", "openvino"}
    with Server(package) as server, grpc_client.InferenceServerClient(server.address) as client:
        assert client.get_model_config("m").config.max_batch_size == 0
        for v in variants:
            for length in (1, 5, 2000):
                x = values(length, 3)
                got = answer(client, x, **{"verge.variant": v["id"]})
                assert got.shape == x.shape and np.allclose(got, original(x), atol=1e-5), (v["id"], length)


@pytest.mark.parametrize("env", [None, NO_TOOLCHAIN], ids=["toolchain", "engine"])
def test_a_batch_that_cannot_be_is_refused(models, tmp_path, env):
    refused = build(models / "sum.onnx", tmp_path, batch="first", env=env)
    assert refused.returncode != 0 and "batch" in refused.stderr and "same" in refused.stderr, refused.stderr


def test_more_samples_than_max_batch_size_are_refused_in_tritons_words(models):
    with Server(models / "rows.onnx") as server:
        for module in (grpc_client, http_client):
            with module.InferenceServerClient(server.address) as client:
                config = client.get_model_config("rows")
                most = config.config.max_batch_size if module is grpc_client else config["max_batch_size"]
                assert most == 1024
                x = values(most, 3)
                assert np.allclose(client.infer("rows", [tensor(x, module)]).as_numpy("y"), original(x, 1), atol=1e-5)
                with pytest.raises(InferenceServerException, match="inference request batch-size must be <= 1024 for 'rows'") as refused:
                    client.infer("rows", [tensor(values(most + 1, 3), module)])
                assert refused.value.status() in ("StatusCode.INVALID_ARGUMENT", "400")
