"""Memory comes back: a 100 MB model loaded and unloaded 20 times in one process, in each engine that can serve it."""

import json
import subprocess

import pytest

from tests.conftest import ROOT

MIB = 1 << 20
FORMATS = [("onnxruntime", "onnx", "big.onnx"), ("openvino", "openvino-ir", "big.xml"), ("litert", "tflite", "big.tflite")]


@pytest.mark.long
@pytest.mark.parametrize("engine, fmt, file", FORMATS)
def test_resident_memory_is_flat_over_twenty_loads(engine, fmt, file):
    folder = ROOT / ".cache/test-models"
    if not (folder / file).exists():
        subprocess.run([ROOT / ".venv/toolchain/bin/python", ROOT / "tools/make_test_models.py", folder, "big"], check=True, timeout=600)
    done = subprocess.run([ROOT / "build/benchmarks/load_cycles", engine, fmt, folder / file, "20"], capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    after = figures["resident_after_unload"]
    assert len(after) == 20 and figures["resident_loaded"] > after[-1] + 60 * MIB, "the model was not really in memory"
    assert max(after[10:]) <= 1.02 * max(after[:10]), figures
    assert max(after[10:]) <= figures["resident_before"] + figures["engine_fixed_cost"] + 30 * MIB, figures
