#!/usr/bin/env python3
"""The main job from end to end, on real input: build variants of the example model, serve them, send every test image over gRPC and REST,
and print what was measured. `make demo` runs it in the test environment, which holds an ordinary client (tritonclient).

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

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERGE = ROOT / "build" / "verge"
RECIPE = ROOT / "examples" / "fashion-mnist" / "model.yaml"
ZOO = ROOT / "zoo"
MODEL = "fashion-mnist"
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


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keep", action="store_true", help="leave the server up and print how to call it")
    keep = arguments.parse_args().keep

    heading("Building variants of the example model (a second run converts nothing)")
    if code := subprocess.run([VERGE, "build", RECIPE, "-o", ZOO]).returncode:
        return code

    heading("Serving them")
    server, address = start_server()
    try:
        metadata = grpc_client.InferenceServerClient(address).get_model_metadata(MODEL)
        print(f"ready at {address}: {metadata.name}, versions {', '.join(metadata.versions)}")

        heading("Sending the 10,000 test images, one a request, from one Python client")
        images = read_idx(DATA / "t10k-images-idx3-ubyte.gz").reshape(-1, 1, 28, 28, 1)
        labels = read_idx(DATA / "t10k-labels-idx1-ubyte.gz")
        print(f"{'':6}{'accuracy as served':>20}{'p50 ms':>10}{'p99 ms':>10}{'requests/s':>12}")
        for name, infer in (("gRPC", grpc_infer(address)), ("REST", rest_infer(address))):
            infer(images[0])
            accuracy, p50, p99, rate = send_one_at_a_time(infer, images, labels)
            print(f"{name:6}{accuracy:>20.4f}{p50:>10.3f}{p99:>10.3f}{rate:>12.0f}", flush=True)

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
