"""Multi-exit models from model.yaml to package: cut or given stage by stage, judged at every exit, timed stage by stage, thresholds calibrated."""

import json
import pathlib
import shutil
import subprocess

import pytest

from tests.conftest import ROOT, ZOO, build_recipe, report_of, run_verge

EXAMPLE = ROOT / "examples" / "fashion-exits"
IMAGES = pathlib.Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
TARGETS = ("openvino-ir-f32", "litert-tflite-f32")
needs_images = pytest.mark.skipif(not IMAGES.exists(), reason="skipped: Fashion-MNIST is not installed (tools/setup/debian.sh)")


@pytest.fixture(scope="module")
def networks():
    """Small networks with three exits, by how these hang together (tools/make_test_models.py)."""
    folder = ROOT / ".cache" / "test-models"
    for name, file in (("exits", "exits/chain/saved_model.pb"), ("exits.keras", "exits.keras")):
        if not (folder / file).exists():
            subprocess.run([ROOT / ".venv/toolchain/bin/python", ROOT / "tools/make_test_models.py", folder, name], check=True, timeout=300)
    return folder / "exits"


@pytest.fixture(scope="module")
def fashion():
    ZOO.mkdir(parents=True, exist_ok=True)
    run_verge("build", EXAMPLE / "model.yaml", "-o", ZOO, "--targets", *TARGETS, timeout=600)
    return sorted((ZOO / "fashion-exits").iterdir(), key=lambda p: int(p.name))[-1]


def manifest_of(package):
    return json.loads((package / "manifest.json").read_text())


def profile_of(package):
    return json.loads(next((package / "profiles").glob("*.json")).read_text())


def latest(package):
    return sorted(package.iterdir(), key=lambda p: int(p.name))[-1]


def cheapest_within(points, loss):
    """As a request with verge.max_accuracy_loss is answered."""
    return min((p for p in points if p["calibration_loss"] <= loss), key=lambda p: p["cost"])


@needs_images
def test_the_stages_of_the_example_are_those_of_its_manifest(fashion):
    m = manifest_of(fashion)
    assert m["family"] == "fashion"
    assert [s["exit"] for s in m["stages"]] == ["exit1", "exit2", "exit3", "exit4"]
    made = {t["name"] for t in m["network"]["inputs"]}
    for stage in m["stages"]:
        assert {t["name"] for t in stage["network"]["inputs"]} <= made
        made |= {t["name"] for t in stage["network"]["outputs"]}
        assert stage["output"] in made
    assert [o["name"] for o in m["network"]["outputs"]] == [m["stages"][-1]["output"]], "the exits stand for one output"
    assert len(m["golden"]["outputs"]) == 4
    files = {a["id"] for a in m["artifacts"]}
    for v in m["variants"]:
        assert v["id"] in TARGETS and v["conversion"] == "ok"
        assert len(v["stages"]) == 4
        assert {i for s in v["stages"] for i in s["artifacts"]} == set(v["artifacts"]) <= files


@needs_images
def test_every_exit_answers_as_the_whole_network_does(fashion):
    for v in profile_of(fashion)["variants"]:
        assert v["verdict"] == "ok", v
        accuracies = [e["accuracy"] for e in v["exits"]]
        assert accuracies == sorted(accuracies) and accuracies[0] < 0.80 and accuracies[-1] > 0.90, accuracies
        assert v["accuracy"] == accuracies[-1]
        assert all(e["max_abs_diff"] <= 1e-5 for e in v["exits"]), v["exits"]


@needs_images
def test_stages_are_timed_alone_and_together(fashion):
    for v in profile_of(fashion)["variants"]:
        assert len(v["stages"]) == 4
        for cell in v["latency"]:
            parts = [next(c for c in s["latency"] if (c["batch"], c["cores"]) == (cell["batch"], cell["cores"])) for s in v["stages"]]
            assert all(p["n"] == cell["n"] for p in parts)
            assert sum(p["mean_us"] for p in parts) <= cell["mean_us"] * 1.001
            # What passes between stages costs next to nothing. A machine that stands still there spoils one of these, one that has a fast and a slow hour another.
            assert any(sum(p[k] for p in parts) >= cell[k] * 0.8 for k in ("mean_us", "p50_us", "min_us")), (cell, parts)
        assert sum(s["resident_bytes"] for s in v["stages"]) <= v["resident_bytes"] * 1.5 + (1 << 20)


@needs_images
def test_thresholds_keep_on_evaluation_images_what_they_promise(fashion):
    for v in profile_of(fashion)["variants"]:
        full = v["exits"][-1]["accuracy"]
        for kind in ("confidence", "entropy"):
            points = v[kind]
            assert 8 <= len(points) <= 32
            costs = [p["cost"] for p in points]
            assert costs == sorted(costs) and costs[0] < 0.2 and costs[-1] > 0.6
            for p in points:
                assert len(p["thresholds"]) == 3 and abs(sum(p["shares"]) - 1) < 1e-9
            half = cheapest_within(points, 0.005)
            assert full - half["accuracy"] <= 0.007, half
            assert half["cost"] <= 0.48, half
        # Better than leaving at any one exit always.
        times = [min(s["latency"], key=lambda c: (c["cores"], c["batch"]))["p50_us"] for s in v["stages"]]
        for k in range(1, 3):
            fixed = sum(times[: k + 1]) / sum(times)
            assert any(p["cost"] <= fixed + 0.01 and p["accuracy"] >= v["exits"][k]["accuracy"] - 0.002 for p in v["confidence"]), k


@needs_images
def test_the_report_shows_exits_and_curves(fashion, tmp_path):
    report = report_of(fashion)
    assert report["family"] == "fashion" and report["exits"] == ["exit1", "exit2", "exit3", "exit4"]
    v = next(v for v in report["variants"] if v["id"] == TARGETS[0])
    assert [e["name"] for e in v["exits"]] == report["exits"]
    assert all(e["accuracy"] > 0 and e["p50_us"] > 0 for e in v["exits"])
    assert v["exits"][-1]["share_of_time"] == pytest.approx(1)
    assert v["confidence"] and v["entropy"]
    assert sum(s["p50_us"] for s in report["mixed_engines"]["stages"]) == pytest.approx(report["mixed_engines"]["p50_us"])
    html = run_verge("report", fashion, "--format", "html", "-o", tmp_path / "r.html") and (tmp_path / "r.html").read_text()
    assert "Where to leave" in html and "<script" not in html
    for exit in report["exits"]:
        assert exit in html
    text = run_verge("report", fashion).stdout
    assert "exit1" in text and "exit4" in text


@needs_images
def test_a_second_build_converts_nothing_and_other_limits_take_the_stages_over(fashion, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in fashion.rglob("*") if p.name != "report.html" and p.is_file()}
    done = run_verge("build", EXAMPLE / "model.yaml", "-o", ZOO, "--targets", *TARGETS)
    assert "nothing was converted" in done.stderr
    assert before == {p: p.stat().st_mtime_ns for p in fashion.rglob("*") if p.name != "report.html" and p.is_file()}
    zoo = tmp_path / "zoo"
    first = int(fashion.name)  # an old zoo holds more than one version
    shutil.copytree(fashion, zoo / "fashion-exits" / str(first))
    recipe = tmp_path / "model.yaml"
    text = (EXAMPLE / "model.yaml").read_text().replace("max_accuracy_loss: 0.02", "max_accuracy_loss: 0.03")
    recipe.write_text(text.replace("model: saved_model", f"model: {EXAMPLE}/saved_model").replace("labels: labels.txt", f"labels: {EXAMPLE}/labels.txt"))
    manifest = json.loads((zoo / f"fashion-exits/{first}/manifest.json").read_text())
    done = run_verge("build", recipe, "-o", zoo, "--targets", *TARGETS, "--no-profile")
    assert f"unchanged since version {first}: ir-f32" in done.stderr and "converted" not in done.stderr, done.stderr
    again = manifest_of(zoo / f"fashion-exits/{first + 1}")
    assert [v["stages"] for v in again["variants"]] == [v["stages"] for v in manifest["variants"]]


@needs_images
def test_profile_measures_a_copied_package_and_keeps_what_was_evaluated(fashion, tmp_path):
    shutil.copytree(fashion, tmp_path / "zoo" / "fashion-exits" / "1")
    package = tmp_path / "zoo" / "fashion-exits" / "1"
    run_verge("profile", package, "--variants", "litert-*")
    was, now = (next(v for v in profile_of(p)["variants"] if v["id"] == "litert-tflite-f32") for p in (fashion, package))
    assert now["verdict"] == "ok"
    assert [e["accuracy"] for e in now["exits"]] == [e["accuracy"] for e in was["exits"]]
    assert sorted(map(str, (p["thresholds"] for p in now["confidence"]))) == sorted(map(str, (p["thresholds"] for p in was["confidence"])))
    assert [p["cost"] for p in now["confidence"]] == sorted(p["cost"] for p in now["confidence"])


@needs_images
def test_a_damaged_stage_is_seen(fashion, tmp_path):
    shutil.copytree(fashion, tmp_path / "zoo" / "fashion-exits" / "1")
    package = tmp_path / "zoo" / "fashion-exits" / "1"
    v = next(v for v in manifest_of(package)["variants"] if v["id"] == "litert-tflite-f32")
    file = next((package / "artifacts" / v["stages"][2]["artifacts"][0]).glob("*.tflite"))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    run_verge("profile", package, "--variants", "litert-*", check=False)
    now = next(v for v in profile_of(package)["variants"] if v["id"] == "litert-tflite-f32")
    assert now["verdict"] == "failed" and "sha256" in now["reason"] or "changed" in now["reason"], now


CUT = """
name: {name}
model: {model}
exits:
  - {{name: early, output: exit1}}
  - {{name: middle, output: exit2}}
  - {{name: late, output: exit3}}
"""


def test_features_may_skip_stages_and_stages_may_be_models_of_their_own(networks):
    """The second stage of `skip` takes two features, the third also the image: what a variant answers is still the whole network's answer."""
    package = latest(build_recipe("exits-skip", CUT.format(name="exits-skip", model=networks / "skip"), "--targets", "onnxruntime-onnx-f32", "tensorflow-savedmodel-f32"))
    m = manifest_of(package)
    assert len(m["stages"][1]["network"]["inputs"]) == 2 and "image" in {t["name"] for t in m["stages"][2]["network"]["inputs"]}
    for v in profile_of(package)["variants"]:
        assert v["verdict"] == "ok", v
        assert all(e["accuracy"] is None and e["max_abs_diff"] <= 1e-5 for e in v["exits"]), "no evaluation data, no accuracy"
    # The stages that it was cut into are SavedModels: given one by one they make the same model.
    cut = next(v for v in m["variants"] if v["id"] == "tensorflow-savedmodel-f32")
    stages = "".join(
        f"  - {{name: {s['exit']}, model: {package}/artifacts/{own['artifacts'][0]}, output: {s['output']}}}\n" for s, own in zip(m["stages"], cut["stages"])
    )
    own = latest(build_recipe("exits-own", f"name: exits-own\nexits:\n{stages}", "--targets", "onnxruntime-onnx-f32", "--no-profile"))
    other = manifest_of(own)
    assert [s["exit"] for s in other["stages"]] == ["early", "middle", "late"]
    assert [t["name"] for t in other["network"]["inputs"]] == ["image"]
    v = profile_of(own)["variants"][0]
    assert v["verdict"] == "ok" and all(e["max_abs_diff"] <= 1e-5 for e in v["exits"]), v


def test_only_the_stage_with_a_loop_has_forms(networks):
    """A Keras file whose second stage is an LSTM: the first is the same in the unrolled and in the looped variant."""
    text = f"name: exits-loop\nmodel: {networks.parent}/exits.keras\nexits: [{{name: early, output: early}}, {{name: late, output: late}}]\n"
    package = latest(build_recipe("exits-loop", text, "--targets", "litert-tflite-f32*", "!*arm64", "--no-profile"))
    variants = {v["id"]: v for v in manifest_of(package)["variants"]}
    assert set(variants) == {"litert-tflite-f32-unrolled", "litert-tflite-f32-loop"}
    assert all(v["verdict"] == "ok" for v in profile_of(package)["variants"]), profile_of(package)["variants"]
    first, second = ([v["stages"][k]["artifacts"] for v in variants.values()] for k in (0, 1))
    assert first[0] == first[1] and second[0] != second[1]


@pytest.mark.parametrize(
    "change, line, words",
    [
        (("output: exit2", "output: exit9"), 6, "exits[1].output: the network has no output 'exit9'"),
        (("output: exit2", "output: other"), 5, "'other'"),
        (("exits:\n  - {name: early, output: exit1}\n  - {name: middle, output: exit2}\n", "exits:\n"), 5, "expected 2 to 64 exits"),
        (("name: middle", "name: early"), 6, "exits[1].name: 'early' is given twice"),
    ],
)
def test_exits_that_cannot_be_are_refused_with_the_line(networks, tmp_path, change, line, words):
    recipe = tmp_path / "model.yaml"
    text = CUT.format(name="exits-refused", model=networks / "chain")
    assert change[0] in text
    recipe.write_text(text.replace(*change))
    done = run_verge("build", recipe, "-o", tmp_path / "zoo", check=False)
    assert done.returncode in (1, 2), done.stderr
    assert f"model.yaml:{line}: " in done.stderr and words in done.stderr, done.stderr
    assert not list((tmp_path / "zoo").glob("*/*/manifest.json"))


def test_only_tensorflow_networks_are_cut(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    recipe = tmp_path / "model.yaml"
    recipe.write_text(CUT.format(name="x", model="m.onnx"))
    done = run_verge("build", recipe, "-o", tmp_path / "zoo", check=False)
    assert done.returncode in (1, 2)
    assert "model.yaml:5: exits: a onnx source cannot be cut" in done.stderr, done.stderr


def test_stages_whose_inputs_nobody_makes_are_refused(networks, tmp_path):
    package = latest(build_recipe("exits-skip", CUT.format(name="exits-skip", model=networks / "skip"), "--targets", "onnxruntime-onnx-f32", "tensorflow-savedmodel-f32"))
    text = (package / "manifest.json").read_text()
    m = json.loads(text)
    feature = m["stages"][0]["network"]["outputs"]
    name = next(t["name"] for t in feature if t["name"] != m["stages"][0]["output"])
    m["stages"][0]["network"]["outputs"] = [t for t in feature if t["name"] != name]
    broken = tmp_path / "zoo" / "exits-skip" / "1"
    shutil.copytree(package, broken)
    (broken / "manifest.json").write_text(json.dumps(m))
    done = run_verge("report", broken, check=False)
    assert done.returncode != 0
    assert f"takes '{name}', which is neither an input of the network nor made by an earlier stage" in done.stderr, done.stderr
