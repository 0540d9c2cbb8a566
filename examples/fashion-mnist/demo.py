#!/usr/bin/env python3
"""The main job from end to end, on real input: build variants of the example model, serve them, send every test image over gRPC and REST,
and print what was measured; then one request after another with bounds, to a family of a network with four exits and three widths of another.
`make demo` runs it in the test environment, which holds an ordinary client (tritonclient).

    demo.py [--keep]     --keep leaves the server up and prints how to call it
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERGE = ROOT / "build" / "verge"
EXAMPLES = ROOT / "examples"
RECIPE = EXAMPLES / "fashion-mnist" / "model.yaml"
ZOO = ROOT / "zoo"
MODEL = "fashion-mnist"
FAMILY = "fashion"
FAMILY_RECIPES = [EXAMPLES / "fashion-exits" / "model.yaml"] + [EXAMPLES / "fashion-family" / w / "model.yaml" for w in ("narrow", "medium", "wide")]
FAMILY_TARGETS = ["openvino-ir-f32", "litert-tflite-f32"]
# What each request asks for, and of which model: of the family, or of the network with exits.
ASKED = [
    (FAMILY, {"verge.objective": "accuracy"}),
    (FAMILY, {"verge.objective": "latency"}),
    (FAMILY, {"verge.min_accuracy": 0.85}),
    (FAMILY, {"verge.min_accuracy": 0.90}),
    (FAMILY, {"verge.min_accuracy": 0.99}),
    (FAMILY, {"verge.deadline_ms": 20.0}),
    (FAMILY, {"verge.deadline_ms": 0.03}),
    ("fashion-exits", {"verge.rule": "confidence", "verge.max_accuracy_loss": 0.005}),
    ("fashion-exits", {"verge.rule": "fixed", "verge.exit": "exit2"}),
]
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")


def heading(text):
    print(f"\n== {text}", flush=True)


def read_idx(path):
    """The array of an IDX file (big-endian header, uint8 elements)."""
    with gzip.open(path) as file:
        raw = file.read()
    rank = raw[3]
    dims = np.frombuffer(raw, ">u4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(dims)


def start_server():
    """Starts `verge serve` on a free loopback port; returns the process and its address once it is ready."""
    server = subprocess.Popen(
        [VERGE, "serve", ZOO, "--listen", "127.0.0.1:0", "--log-level", "warning"], stdout=subprocess.PIPE, text=True
    )
    line = server.stdout.readline()
    if not line:
        sys.exit(f"verge serve ended with exit code {server.wait()} before it was ready")
    return server, json.loads(line)["address"]


def send_one_at_a_time(infer, images, labels):
    """Sends every image as one request; returns accuracy, p50 and p99 in milliseconds, and requests a second."""
    right = 0
    times = np.empty(len(images))
    begin = time.perf_counter()
    for i, image in enumerate(images):
        start = time.perf_counter()
        answer = infer(image)
        times[i] = time.perf_counter() - start
        right += int(np.argmax(answer) == labels[i])
    seconds = time.perf_counter() - begin
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return right / len(images), p50, p99, len(images) / seconds


def grpc_infer(address):
    client = grpc_client.InferenceServerClient(address)
    tensor = grpc_client.InferInput("image", [1, 28, 28, 1], "UINT8")

    def infer(image):
        tensor.set_data_from_numpy(image)
        return client.infer(MODEL, [tensor]).as_numpy("probabilities")

    return infer


def rest_infer(address):
    client = http_client.InferenceServerClient(address)
    tensor = http_client.InferInput("image", [1, 28, 28, 1], "UINT8")

    def infer(image):
        tensor.set_data_from_numpy(image, binary_data=True)
        return client.infer(MODEL, [tensor]).as_numpy("probabilities")

    return infer


def parameter(answer, name):
    """A parameter of an answer, None where it is not there."""
    value = answer.get_response().parameters.get(f"verge.{name}")
    return getattr(value, value.WhichOneof("parameter_choice")) if value else None


def show_bounds(address, image):
    """Sends one image with each of the bounds and prints what was chosen."""
    client = grpc_client.InferenceServerClient(address)
    tensor = grpc_client.InferInput("image", [1, 28, 28, 1], "UINT8")
    tensor.set_data_from_numpy(image)
    print(f"{'asked of':14}{'bounds':48}{'answered by':16}{'exit':7}{'variant':19}{'expected':>9}{'predicted ms':>14}{'measured ms':>13}")
    for model, bounds in ASKED:
        said = ", ".join(f"{name.removeprefix('verge.')} {value}" for name, value in bounds.items())
        try:
            answer = client.infer(model, [tensor], parameters=bounds)
        except InferenceServerException as error:
            print(f"{model:14}{said:48}refused: {error.message()}")
            continue
        text = {name: parameter(answer, name) or "" for name in ("model", "exit", "variant")}
        numbers = {name: parameter(answer, name) for name in ("expected_accuracy", "predicted_ms", "measured_ms")}
        accuracy, predicted, measured = ("" if v is None else f"{v:.{digits}f}" for v, digits in zip(numbers.values(), (4, 3, 3)))
        print(f"{model:14}{said:48}{text['model'] or model:16}{text['exit']:7}{text['variant']:19}{accuracy:>9}{predicted:>14}{measured:>13}", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keep", action="store_true", help="leave the server up and print how to call it")
    keep = arguments.parse_args().keep

    heading("Building variants of the example model (a second run converts nothing)")
    if code := subprocess.run([VERGE, "build", RECIPE, "-o", ZOO]).returncode:
        return code
    heading("Building the family: a network with four exits, and three widths of another, for two targets each")
    for recipe in FAMILY_RECIPES:
        if code := subprocess.run([VERGE, "build", recipe, "-o", ZOO, "--targets", *FAMILY_TARGETS]).returncode:
            return code

    heading("Serving them")
    server, address = start_server()
    try:
        metadata = grpc_client.InferenceServerClient(address).get_model_metadata(MODEL)
        print(f"ready at {address}: {metadata.name}, versions {', '.join(metadata.versions)}")

        heading(f"Sending the 10,000 test images to {MODEL}, one a request, from one Python client")
        images = read_idx(DATA / "t10k-images-idx3-ubyte.gz").reshape(-1, 1, 28, 28, 1)
        labels = read_idx(DATA / "t10k-labels-idx1-ubyte.gz")
        print(f"{'':6}{'accuracy as served':>20}{'p50 ms':>10}{'p99 ms':>10}{'requests/s':>12}")
        for name, infer in (("gRPC", grpc_infer(address)), ("REST", rest_infer(address))):
            infer(images[0])
            accuracy, p50, p99, rate = send_one_at_a_time(infer, images, labels)
            print(f"{name:6}{accuracy:>20.4f}{p50:>10.3f}{p99:>10.3f}{rate:>12.0f}", flush=True)

        heading("One image, by bounds: which member of the family, which exit and which variant answers is chosen per request")
        show_bounds(address, images[0])

        heading("Report")
        print(f"{ZOO / MODEL}: report.html in the version's folder, or `build/verge report {ZOO.name}/{MODEL}`")
        if keep:
            heading("The server stays up; Ctrl-C ends it")
            print(f"curl http://{address}/v2/models/{MODEL}")
            print(f"build/verge report {ZOO.name}/{MODEL}")
            print("Python: tritonclient.grpc.InferenceServerClient(" + repr(address) + ").infer(...), as in examples/fashion-mnist/demo.py")
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        code = server.wait(timeout=30)
    return code


if __name__ == "__main__":
    sys.exit(main())
