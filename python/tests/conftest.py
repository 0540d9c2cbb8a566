"""What the tool chain's tests share: a process that speaks the protocol, and small models."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("VERGE_DATA", ROOT.parent / "shared" / "data"))
sys.path.insert(0, str(ROOT / "python"))


class Process:
    """`python -m verge_toolchain` with its events on a pipe."""

    def __init__(self, work: pathlib.Path):
        self.work = work  # of the next inspection
        self.log_path = work / "stdout.log"
        self.log = open(self.log_path, "w")
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "verge_toolchain"],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            close_fds=False,
            preexec_fn=lambda: os.dup2(write, 3),
            env=dict(os.environ, PYTHONPATH=str(ROOT / "python")),
        )
        os.close(write)
        self._events = os.fdopen(read)

    def send(self, command) -> None:
        line = command if isinstance(command, bytes) else json.dumps(command).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def event(self) -> dict:
        line = self._events.readline()
        assert line, f"the process ended with {self.process.wait()}: {self.log_path.read_text()[-2000:]}"
        return json.loads(line)

    def inspect(self, path, kind: str, signature=None, batch=None) -> dict:
        self.send({"cmd": "inspect", "source": str(path), "kind": kind, "signature": signature, "batch": batch, "work": str(self.work)})
        return self.event()

    def convert(self, targets: list, samples: dict, native_paths=False) -> list[dict]:
        """All events up to the last, without progress."""
        self.send({"cmd": "convert", "targets": targets, "samples": samples, "native_paths": native_paths})
        events = []
        while True:
            event = self.event()
            if event["event"] != "progress":
                events.append(event)
            if event["event"] in ("done", "error"):
                return events

    def close(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(timeout=30)
        self._events.close()
        self.log.close()
        return code


@pytest.fixture
def fresh(tmp_path):
    """A process of this test's own."""
    made = Process(tmp_path)
    yield made
    if made.process.poll() is None and not made.process.stdin.closed:
        assert made.close() == 0


@pytest.fixture(scope="session")
def _shared(tmp_path_factory):
    made = Process(tmp_path_factory.mktemp("toolchain"))
    yield made
    assert made.close() == 0


@pytest.fixture
def process(_shared, tmp_path):
    """One process for all tests that only use it: TensorFlow is imported once, and a session must survive whatever came before."""
    _shared.work = tmp_path
    return _shared


def target(form: str, precision: str, graph_form="", batches=(1, 4)) -> dict:
    suffix = f"-{graph_form}" if graph_form else ""
    return {"id": f"{form}-{precision}{suffix}", "format": form, "precision": precision, "form": graph_form, "batches": list(batches)}


def samples_for(inspected: dict, folder: pathlib.Path, count=24, calibration=True) -> dict:
    """Seeded noise for every input."""
    rng = np.random.default_rng(3)
    files = {}
    for i, t in enumerate(inspected["signature"]["inputs"]):
        shape = [8 if d < 0 else d for j, d in enumerate(t["shape"]) if j != t["batch_axis"]]
        if t["dtype"] == "BYTES":
            array = np.array([b"edge", b"", "Wörter".encode()] * (count // 3)).reshape([count] + [1] * len(shape))
        else:
            array = rng.standard_normal((count, *shape)).astype({"FP32": np.float32, "INT64": np.int64}[t["dtype"]])
        path = folder / f"in{i}.npy"
        np.save(path, array)
        files[t["name"]] = str(path)
    return {"golden": files, "calibration": files if calibration else None, "evaluation": None}


def reference_of(events: list) -> dict:
    event = next(e for e in events if e["event"] == "reference")
    return {name: np.load(path) for name, path in event["golden"].items()}


def artifacts_of(events: list) -> dict:
    return {e["target"]: e for e in events if e["event"] == "artifact"}


def answers(artifact: dict, engine: str, samples: dict, outputs: list[str], batch=1) -> dict:
    """What an engine's own Python interface answers with this artifact."""
    file = next(f for f in artifact["files"] if f["batch"] in (0, batch))
    path = str(pathlib.Path(file["dir"]) / file["entry"])
    inputs = {n: np.load(p) for n, p in samples["golden"].items()}
    count = len(next(iter(inputs.values())))
    call = _ENGINES[engine](path, outputs)
    parts = [call({n: v[i : i + batch] for n, v in inputs.items()}) for i in range(0, count, batch)]
    return {o: np.concatenate([p[o] for p in parts]) for o in outputs}


def _openvino(path, outputs):
    import openvino as ov

    model = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: {o: model(batch)[o].copy() for o in outputs}


def _onnxruntime(path, outputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: dict(zip(outputs, session.run(outputs, batch)))


def _litert(path, outputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()

    def call(batch, keep=interpreter):
        answer = runner(**batch)
        return {o: answer[o].copy() for o in outputs}

    return call


_ENGINES = {"openvino": _openvino, "onnxruntime": _onnxruntime, "litert": _litert}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """make(name): a model of tools/make_test_models.py."""
    folder = tmp_path_factory.mktemp("models")

    def make(name: str) -> pathlib.Path:
        if not (folder / name).exists():
            done = subprocess.run(
                [sys.executable, ROOT / "tools/make_test_models.py", folder, name], capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr[-2000:]
        return folder / name

    return make


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip("skipped: no data")
    return DATA
