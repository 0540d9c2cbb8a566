"""A server on one core, without lanes, while a run of a second is on its way: it goes on answering what needs no lane, and refuses at once what would come too late."""

import os
import sys
import time
import urllib.request
from concurrent.futures import Future

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from conftest import ROOT, Server

sys.path.insert(0, str(ROOT / "tools"))
import make_bench_models  # noqa: E402

RUN_SECONDS = 1.0
SOON = RUN_SECONDS / 4  # for all that is asked meanwhile, together


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    zoo = tmp_path_factory.mktemp("zoo")
    make_bench_models.write_package(zoo, "sleeper", [("x", "y", "FP32", [1, 4])], delay_us=int(RUN_SECONDS * 1e6))
    make_bench_models.write_package(zoo, "quick", [("x", "y", "FP32", [1, 4])])
    with Server(zoo, "--cores", min(os.sched_getaffinity(0)), "--state-dir", tmp_path_factory.mktemp("state"), "--log-level", "warning") as server:
        assert server.ready["lanes"]["count"] == 0, server.ready
        yield server


def tensor():
    return [triton.InferInput("x", [1, 4], "FP32").set_data_from_numpy(np.arange(4, dtype=np.float32)[None])]


def begin(client):
    """A run of the sleeper. What is asked on the same connection comes after it."""
    future = Future()
    client.async_infer("sleeper", tensor(), lambda result, error: future.set_exception(error) if error else future.set_result(result))
    assert client.is_server_live()
    return future


def once(server):
    """What was wrong with what was asked during one run of the sleeper; nothing: all was well."""
    wrong = []
    with triton.InferenceServerClient(server.address) as client:
        assert client.is_server_live()  # connected
        begun = time.monotonic()
        long_run = begin(client)
        assert urllib.request.urlopen(f"http://{server.address}/v2/health/live", timeout=60).status == 200
        try:
            client.infer("quick", tensor(), timeout=int(SOON * 1e6))  # in microseconds, kept by the server
            wrong.append("it was not refused")
        except InferenceServerException as error:
            if error.status() != "StatusCode.DEADLINE_EXCEEDED" or "what is before it takes" not in error.message():
                wrong.append(str(error))
        took = time.monotonic() - begun
        if took > SOON or long_run.done():
            wrong.append(f"{took:.3f} s")
        # Who has time is answered after it.
        assert client.infer("quick", tensor()).as_numpy("y").tolist() == [[0, 1, 2, 3]]
        assert long_run.result(60).as_numpy("y").tolist() == [[0, 1, 2, 3]]
    return wrong


def test_a_front_goes_on_while_a_long_run_is_on_its_way(server):
    # A machine that stands still meanwhile spoils a try.
    tries = []
    while len(tries) < 5 and not (tries and not tries[-1]):
        tries.append(once(server))
    assert not tries[-1], tries


def test_a_server_that_is_told_to_end_answers_the_long_run_first(server):
    with triton.InferenceServerClient(server.address) as client:
        long_run = begin(client)
        assert server.stop() == 0
        assert long_run.result(60).as_numpy("y").tolist() == [[0, 1, 2, 3]]
