"""What the integration tests share: the release binary, real models, packages built from them once, and servers on free loopback ports."""

import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERGE = ROOT / "build" / "verge"
DATA = pathlib.Path(os.environ.get("VERGE_DATA", ROOT.parent / "shared" / "data"))
# Packages outlive a test run: a build whose key is unchanged converts nothing, which is what makes a warm run short.
ZOO = ROOT / ".cache" / "test-zoo"


def pytest_configure(config):
    config.addinivalue_line("markers", "long: part of `make check`, not of `make test`")


def run_verge(*arguments, timeout=600, check=True, **kwargs):
    """Runs the release binary and returns the completed process; with `check`, a failure shows what it printed."""
    done = subprocess.run([str(VERGE), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **kwargs)
    if check and done.returncode:
        pytest.fail(f"verge {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def report_of(package):
    return json.loads(run_verge("report", package, "--format", "json").stdout)


def ok_variants(report):
    return [v for v in report["variants"] if v["verdict"] == "ok"]


class Server:
    """A `verge serve` process on a free loopback port, ready when the constructor returns."""

    def __init__(self, path, *arguments, cores=None, env=None, log=None, listen="127.0.0.1:0"):
        self.log_path = log
        self.log = open(log, "w") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            [str(VERGE), "serve", str(path), *(["--listen", listen] if listen else []), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=env,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(timeout=30)
            shown = pathlib.Path(log).read_text()[-4000:] if log else ""
            pytest.fail(f"verge serve {path} ended with exit code {code} before it was ready\n{shown}")
        self.ready = json.loads(line)
        self.address = self.ready["address"]

    @property
    def pid(self):
        return self.process.pid

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Asks it to end gracefully; returns its exit code."""
        if self.alive():
            self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            if self.alive():
                self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


@pytest.fixture(scope="session")
def data():
    """The folder of published models and data; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("skipped: no data (set VERGE_DATA)")
    return DATA


@pytest.fixture(scope="session")
def resnet8(data):
    """ResNet-8 for CIFAR-10 from its Keras H5, every target: calibrated on images 0-199, evaluated on 200-999. Returns the package."""
    return build_recipe("resnet8", f"""
name: resnet8
model: {data}/mlperf-tiny/pretrainedResnet.h5
inputs:
  - name: image
    dtype: UINT8
    shape: [32, 32, 3]
    steps: [{{cast: {{dtype: FP32}}}}]
data:
  calibration: {{path: {data}/cifar10/test1000-images.uint8, format: raw, dtype: UINT8, shape: [32, 32, 3], samples: 0-199}}
  evaluation:
    path: {data}/cifar10/test1000-images.uint8
    format: raw
    dtype: UINT8
    shape: [32, 32, 3]
    labels: {data}/cifar10/test1000-labels.uint8
    samples: 200-999
metric: {{kind: top1}}
limits: {{max_accuracy_loss: 0.02}}
""")


def build_recipe(name, text, *arguments):
    """Builds from the text of a model.yaml into the zoo that the tests share; returns ZOO/NAME."""
    ZOO.mkdir(parents=True, exist_ok=True)
    recipe = ZOO / f"{name}.yaml"
    recipe.write_text(text)
    run_verge("build", recipe, "-o", ZOO, *arguments, timeout=900)
    return ZOO / name
