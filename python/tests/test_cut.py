"""Cutting a network with several outputs into stages."""

import gzip
import json
import pathlib

import numpy as np
import pytest

from conftest import ROOT, answers, artifacts_of, reference_of, samples_for, target

EXACT = 1e-5
EXITS = ["exit1", "exit2", "exit3"]


def cut(process, source, exits, kind="saved_model", work=None):
    process.send({"cmd": "cut", "source": str(source), "kind": kind, "signature": None, "work": str(work or process.work), "exits": exits})
    return process.event()


def names(stage: dict, side: str) -> list[str]:
    return [t["name"] for t in stage[side]]


def whole_and_stages(process, source, exits, folder: pathlib.Path, kind="saved_model"):
    """The whole network's reference outputs, the stages, and the samples of the whole."""
    inspected = process.inspect(source, kind)
    samples = samples_for(inspected, folder)
    reference = reference_of(process.convert([], samples))
    event = cut(process, source, exits, kind)
    assert event["event"] == "stages", event
    return reference, event["stages"], samples


def run_chain(process, stages, samples, folder: pathlib.Path, targets=()):
    """Each stage inspected and converted as a source of its own, the outputs of its reference (and of each artifact) fed to the next. Returns
    exit -> answer for the reference and for each target."""
    chains = {name: dict(samples["golden"]) for name in ("reference", *(t["id"] for t in targets))}
    answered = {name: {} for name in chains}
    for k, stage in enumerate(stages):
        process.work = folder / f"stage{k}"
        inspected = process.inspect(stage["dir"], "saved_model")
        assert inspected["event"] == "inspected"
        assert inspected["signature"] == {"inputs": stage["inputs"], "outputs": stage["outputs"]}
        given = {name: {n: files[n] for n in names(stage, "inputs")} for name, files in chains.items()}
        events = process.convert(list(targets), {"golden": given["reference"], "calibration": given["reference"]})
        reference, made_of = reference_of(events), artifacts_of(events)
        chains["reference"] |= next(e for e in events if e["event"] == "reference")["golden"]
        answered["reference"][stage["exit"]] = reference[stage["exit"]]
        for t in targets:
            event = made_of[t["id"]]
            assert event["status"] == "ok", event
            engine = {"openvino-ir": "openvino", "saved_model": "openvino", "onnx": "onnxruntime", "tflite": "litert"}[t["format"]]
            got = answers(event, engine, {"golden": given[t["id"]]}, names(stage, "outputs"), t["batches"][0])
            for name, value in got.items():
                path = folder / f"{t['id']}-{name}.npy"
                np.save(path, value)
                chains[t["id"]][name] = str(path)
            answered[t["id"]][stage["exit"]] = got[stage["exit"]]
    return answered


def test_a_chain_answers_as_the_whole_in_every_format(process, made, tmp_path):
    reference, stages, samples = whole_and_stages(process, made("exits") / "chain", EXITS, tmp_path)
    assert [s["exit"] for s in stages] == EXITS
    assert [names(s, "inputs") for s in stages] == [["image"], ["feature_1"], ["feature_2"]]
    assert [names(s, "outputs") for s in stages] == [["exit1", "feature_1"], ["exit2", "feature_2"], ["exit3"]]
    feature = stages[1]["inputs"][0]
    assert feature == {"name": "feature_1", "dtype": "FP32", "shape": [-1, 8, 8, 4], "batch_axis": 0, "quantization": []}
    targets = [target(f, "f32", batches=(4,)) for f in ("openvino-ir", "onnx", "tflite", "saved_model")]
    answered = run_chain(process, stages, samples, tmp_path, targets)
    for chain, answer in answered.items():
        for name in EXITS:
            assert np.abs(answer[name] - reference[name]).max() <= EXACT, (chain, name)


def test_a_skip_connection_over_a_cut(process, made, tmp_path):
    reference, stages, samples = whole_and_stages(process, made("exits") / "skip", EXITS, tmp_path)
    assert [len(names(s, "inputs")) for s in stages] == [1, 2, 3]
    assert "image" in names(stages[2], "inputs")
    taken = [set(names(s, "inputs")) - {"image"} for s in stages]
    assert taken[1] <= set(names(stages[0], "outputs")) and len(taken[1] & taken[2]) == 1
    answered = run_chain(process, stages, samples, tmp_path, [target("openvino-ir", "f32"), target("tflite", "f32")])
    for chain, answer in answered.items():
        for name in EXITS:
            assert np.abs(answer[name] - reference[name]).max() <= EXACT, (chain, name)


def test_the_cut_moves_to_where_the_batch_is_the_first_dimension(process, made, tmp_path):
    """Rows of pixels become an image again, shapes and an activation are computed again, and an exit's answer passes under its own name."""
    reference, stages, samples = whole_and_stages(process, made("exits") / "moved", EXITS, tmp_path)
    outputs = [t for s in stages for t in s["outputs"]]
    assert all(t["shape"][0] == -1 and t["batch_axis"] == 0 for t in outputs)
    assert names(stages[0], "outputs") == ["exit1", "feature_1"]
    assert stages[0]["outputs"][1]["shape"] == [-1, 8, 8, 4]
    assert sorted(names(stages[1], "inputs")) == ["exit1", "feature_1", "image"]
    answered = run_chain(process, stages, samples, tmp_path, [target("onnx", "f32")])
    for chain, answer in answered.items():
        for name in EXITS:
            assert np.abs(answer[name] - reference[name]).max() <= EXACT, (chain, name)


def test_a_keras_model_with_a_loop_behind_the_cut(process, made, tmp_path):
    reference, stages, samples = whole_and_stages(process, made("exits.keras"), ["early", "late"], tmp_path, "keras")
    answered = run_chain(process, stages, samples, tmp_path, [target("onnx", "f32")])
    for chain, answer in answered.items():
        for name in ("early", "late"):
            assert np.abs(answer[name] - reference[name]).max() <= EXACT, (chain, name)


def test_the_example_of_four_exits(process, tmp_path):
    """On real images: the chain equals the whole at every exit, and each stage takes nothing but the feature before it."""
    path = pathlib.Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
    if not path.exists():
        pytest.skip("skipped: no data (package dataset-fashion-mnist)")
    with gzip.open(path) as f:
        images = np.frombuffer(f.read(16 + 784 * 50)[16:], np.uint8).reshape(-1, 28, 28, 1).astype(np.float32) / 255
    np.save(tmp_path / "images.npy", images)
    samples = {"golden": {"image": str(tmp_path / "images.npy")}, "calibration": None, "evaluation": None}
    exits = [f"exit{k}" for k in range(1, 5)]
    process.inspect(ROOT / "examples/fashion-exits/saved_model", "saved_model")
    reference = reference_of(process.convert([], samples))
    stages = cut(process, ROOT / "examples/fashion-exits/saved_model", exits)["stages"]
    assert [names(s, "inputs") for s in stages] == [["image"], ["feature_1"], ["feature_2"], ["feature_3"]]
    answered = run_chain(process, stages, samples, tmp_path, [target("openvino-ir", "f32")])
    for chain, answer in answered.items():
        for name in exits:
            assert np.abs(answer[name] - reference[name]).max() <= EXACT, (chain, name)


def test_weights_stand_in_one_stage(process, made, tmp_path):
    """The three convolutions' weights appear once each in the stages' files."""
    event = cut(process, made("exits") / "chain", EXITS)
    files = [(pathlib.Path(s["dir"]) / "saved_model.pb").read_bytes() for s in event["stages"]]
    rng = np.random.default_rng(42)
    weights = rng.standard_normal((3, 3, 4, 6)).astype(np.float32) / np.float32(6)
    assert [f.count(weights.tobytes()) for f in files] == [0, 1, 0]


@pytest.mark.parametrize(
    "model, exits, said",
    [
        ("chain", ["exit1", "exit9"], "'exit9' is not an output of the network, which has exit1, exit2, exit3, other"),
        ("chain", ["exit1"], "at 2 to 32 exits"),
        ("chain", ["exit1", "exit1"], "distinct"),
        ("moved", ["exit2", "exit1"], "'exit1' is computed already where 'exit2' answers"),
        ("apart", ["exit1", "exit2"], "'exit2' uses nothing"),
        ("shapes", EXITS, "'exit1' (FP32 [-1, 4]) and 'exit2' (FP32 [-1, 5]) differ"),
        ("unbatched", EXITS, "first dimension is not the batch"),
    ],
)
def test_refusals(process, made, model, exits, said):
    event = cut(process, made("exits") / model, exits)
    assert event["event"] == "refused" and said in event["reason"], event
    assert "\n" not in event["reason"] and len(event["reason"]) <= 300


def test_other_kinds_and_bad_commands(process, made):
    event = cut(process, made("multi_io.onnx"), ["scores", "joined"], "onnx")
    assert event["event"] == "refused" and "onnx files are not cut" in event["reason"]
    for exits in ("exit1", [1, 2], ["a"] * 1000, [""], None):
        event = cut(process, made("exits") / "chain", exits)
        assert event["event"] == "error" and "exits" in event["reason"], (exits, event)
    assert cut(process, made("hostile") / "reads_file", ["a", "b"])["event"] == "refused"


def test_a_cut_leaves_what_was_inspected(process, made, tmp_path):
    inspected = process.inspect(made("multi_io"), "saved_model")
    assert cut(process, made("exits") / "chain", EXITS)["event"] == "stages"
    samples = samples_for(inspected, tmp_path)
    assert set(reference_of(process.convert([], samples))) == {"joined", "scores"}


def test_the_reference_of_calibration_samples(process, made, tmp_path):
    inspected = process.inspect(made("multi_io"), "saved_model")
    samples = samples_for(inspected, tmp_path)
    process.send({"cmd": "convert", "targets": [], "samples": samples, "reference_calibration": True})
    event = process.event()
    assert event["event"] == "reference" and process.event() == {"event": "done"}
    golden, calibration = ({n: np.load(p) for n, p in event[k].items()} for k in ("golden", "calibration"))
    assert golden.keys() == calibration.keys() and json.dumps(event["calibration"]) != json.dumps(event["golden"])
    for name in golden:
        assert np.array_equal(golden[name], calibration[name])
    assert "calibration" not in next(e for e in process.convert([], samples) if e["event"] == "reference")
    process.send({"cmd": "convert", "targets": [], "samples": samples | {"calibration": None}, "reference_calibration": True})
    assert process.event()["calibration"] is None and process.event() == {"event": "done"}
