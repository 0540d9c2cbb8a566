"""How the cores are dealt out among lanes: from the packages' profiles, by the real server, which then answers with so many threads."""

import json
import os
import shutil
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import Server

VARIANT = "openvino-ir-f32"
two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="skipped: needs two cores")


def with_times(package, folder, gain):
    """A copy of the package whose profile says that two threads answer `gain` times as fast as one."""
    copy = folder / "resnet8"
    shutil.copytree(package / max(v.name for v in package.iterdir() if v.name.isdigit()), copy / "1", symlinks=True)
    for path in (copy / "1" / "profiles").glob("*.json"):
        profile = json.loads(path.read_text())
        for variant in profile["variants"]:
            ones = [entry for entry in variant["latency"] if entry["cores"] == 1]
            wider = [{**one, "cores": 2, "sketch": [],
                      **{k: one[k] / gain for k in ("mean_us", "min_us", "p50_us", "p90_us", "p99_us", "max_us") if one[k] is not None}} for one in ones]
            variant["latency"] = ones + wider
        path.write_text(json.dumps(profile))
    return copy


def answer_of(server):
    with triton.InferenceServerClient(server.address) as client:
        image = triton.InferInput("image", [1, 32, 32, 3], "UINT8").set_data_from_numpy(np.zeros((1, 32, 32, 3), np.uint8))
        return client.infer("resnet8", [image], parameters={"verge.variant": VARIANT}).as_numpy(client.get_model_metadata("resnet8").outputs[0].name)


@two_cores
@pytest.mark.parametrize("gain,count,cores", [(1.99, 1, 2), (1.3, 2, 1)])
def test_lanes_follow_the_profile(resnet8, tmp_path, gain, count, cores):
    with_times(resnet8, tmp_path, gain)
    config = tmp_path / "server.yaml"
    config.write_text(f"models: {{resnet8: {{default: {VARIANT}, resident: [{VARIANT}]}}}}\n")
    with Server(tmp_path, "--config", config, "--state-dir", tmp_path / "state", "--log-level", "warning", cores=set(sorted(os.sched_getaffinity(0))[:2])) as server:
        lanes = server.ready["lanes"]
        assert (lanes["count"], lanes["cores"]) == (count, cores), lanes
        with urllib.request.urlopen(f"http://{server.address}/v2/verge/status", timeout=10) as answer:
            assert json.load(answer)["lanes"] == lanes
        wide = answer_of(server)
        assert server.stop() == 0
    with Server(tmp_path, "--config", config, "--state-dir", tmp_path / "state", "--log-level", "warning", "--lanes", 1,
                cores={min(os.sched_getaffinity(0))}) as server:
        assert server.ready["lanes"]["reason"] == "the configuration says so"
        np.testing.assert_allclose(answer_of(server), wide, atol=1e-5)
