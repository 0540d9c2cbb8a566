"""`verge simulate`: the command, and its predictions beside live runs of the same arrivals."""

import json
import re
import sys
import urllib.request

import numpy as np
import pytest

from conftest import ROOT, Server, run_verge

sys.path.insert(0, str(ROOT / "tools"))
import make_bench_models  # noqa: E402


def simulate(package, *arguments):
    return json.loads(run_verge("simulate", package, "--json", "-", *arguments).stdout)


def test_a_million_requests_take_seconds_and_come_out_the_same(resnet8):
    load = ["-r", 1500, "--requests", 1_000_000, "--tenant", "name=a,deadline_ms=3", "--tenant", "name=b,deadline_ms=30,share=2"]
    first, second = simulate(resnet8, *load), simulate(resnet8, *load)
    assert first["total"]["offered"] == 1_000_000
    first.pop("at"), second.pop("at")
    assert first == second
    assert simulate(resnet8, "--seed", 2, *load)["total"]["measured_ms"] != first["total"]["measured_ms"]


def test_a_page_and_a_comparison_with_what_was_measured_before(resnet8, tmp_path):
    a, page = tmp_path / "a.json", tmp_path / "a.html"
    run_verge("simulate", resnet8, "-r", 500, "-s", 5, "--json", a)
    out = run_verge("simulate", resnet8, "-r", 500, "-s", 5, "--clairvoyant", "--compare", a, "--html", page).stdout
    assert "clairvoyant" in out and "p99" in out
    assert "<svg" in page.read_text() and "<script" not in page.read_text()


@pytest.mark.parametrize("arguments, says", [
    (["--model", "other"], "there are resnet8"),
    (["--variants", "nothing*"], "no variant that was asked for"),
    (["--tenant", "rule=luck"], "no rule 'luck'"),
    (["--tenant", "variant=x"], "not resident"),
    (["--calibrate", "/nowhere.json"], "/nowhere.json"),
    (["--device", "mars"], "verge profile"),
])
def test_errors_say_what_to_do(resnet8, arguments, says):
    done = run_verge("simulate", resnet8, "-s", 1, *arguments, check=False)
    assert done.returncode == 2 and says in done.stderr


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory):
    """A model whose runs sleep for 8 ms: what others do on the machine delays it little, so that what is compared is queueing and policies."""
    zoo = tmp_path_factory.mktemp("zoo")
    make_bench_models.write_package(zoo, "sleeper", [("x", "y", "FP32", [1, 16])], delay_us=8000)
    folder = zoo / "sleeper" / "1"
    cell = {"batch": 1, "cores": 1, "n": 1000, "mean_us": 8100, "min_us": 8000, "p50_us": 8100, "p90_us": 8150, "p99_us": 8300, "max_us": 8400, "sketch": [[103, 1000]]}
    profile = {"format": 1, "device": {"fingerprint": "0123456789abcdef", "cpu_model": "any", "architecture": "x86_64", "cores": 1, "cpu_flags": [], "memory_bytes": 1 << 30},
               "manifest_sha256": make_bench_models.sha256((folder / "manifest.json").read_bytes()), "measured_at": "2026-01-01T00:00:00Z", "verge_version": "0.1.0",
               "build_seconds": 0, "engine_versions": {},
               "variants": [{"id": "identity-f32", "verdict": "ok", "accuracy": None, "accuracy_samples": 0, "max_abs_diff": 0, "compared_samples": 1, "executed_precision": "f32",
                             "executed_precision_source": "none", "load_ms_cold": 1, "load_ms_cached": 1, "first_run_ms": 1, "resident_bytes": 0, "engine_fixed_bytes": 0, "energy_mj": None,
                             "energy_source": "", "latency": [cell]}]}
    (folder / "profiles").mkdir()
    (folder / "profiles" / "0123456789abcdef.json").write_text(json.dumps(profile))
    return zoo / "sleeper"


def test_service_times_as_a_server_counted_them(sleeper, tmp_path):
    """What a server counted takes the place of the profile's times, and of a time before nothing is left."""
    before, after = tmp_path / "before.txt", tmp_path / "after.txt"
    with Server(sleeper, "--fronts", 1, "--lanes", 1) as server:
        def ask(n, file):
            run_verge("bench", server.address, "-q", "-m", "sleeper", "--requests", n, "--warm-up", 0)
            file.write_bytes(urllib.request.urlopen(f"http://{server.address}/metrics", timeout=10).read())
            figure = lambda kind: float(re.search(rf'^verge_run_seconds_{kind}{{model="sleeper",version="1",variant="identity-f32",stage="1",rows="1"}} (.*)$', file.read_text(), re.M)[1])  # noqa: E731
            return figure("count"), figure("sum")
        n, seconds = ask(30, before)
        more, more_seconds = ask(40, after)
    assert 40 <= more - n <= 42  # the client asks once beforehand
    assert more_seconds - seconds >= 0.008 * (more - n)
    # So many that a run that the machine held up, one of forty, comes as often as it did.
    one_by_one = simulate(sleeper, "-s", 400, "--measured", after, "--measured-since", before)
    assert "counted" in one_by_one["data"]
    assert one_by_one["total"]["latency_us"]["from_intended"]["mean"] == pytest.approx(1e6 * (more_seconds - seconds) / (more - n), rel=0.1)
    # Nothing came after it.
    done = run_verge("simulate", sleeper, "-s", 1, "--measured", after, "--measured-since", after, check=False)
    assert done.returncode == 2 and "too few runs" in done.stderr
    for text in ("", "[]", "verge_run_seconds_bucket 3", 'verge_run_seconds_bucket{model="sleeper",le="x"} 1', 'verge_run_seconds_bucket{stage="1",rows="1",le="1"} x', 'verge_run_seconds_sum{a="'):
        after.write_text(text)
        done = run_verge("simulate", sleeper, "-s", 1, "--measured", after, check=False)
        assert done.returncode == 2 and str(after) in done.stderr, text


@pytest.mark.long
@pytest.mark.parametrize("load, kind", [(0.6, "poisson"), (0.8, "bursts"), (1.2, "poisson")])
def test_live_and_simulated_runs_of_the_same_arrivals_agree(sleeper, tmp_path, load, kind):
    """Deadline misses within 3 points, p99 within a quarter, below capacity and above it, by the medians of three rounds, or of up to nine where others
    use the machine too. Each round calibrates anew."""
    rounds, agree = [], False
    with Server(sleeper, "--fronts", 1, "--lanes", 1) as server:
        def bench(name, *arguments):
            out = tmp_path / f"{name}.json"
            run_verge("bench", server.address, "-q", "--json", out, *arguments, timeout=120)
            return out
        while not agree and len(rounds) < 9:
            i = len(rounds)
            calibration = ["--calibrate", bench("alone", "-m", "sleeper", "-n", 1, "-s", 1.5), "--calibrate", bench("full", "-m", "sleeper", "-n", 4, "-s", 1.5)]
            arrivals = ["-m", "sleeper", "-r", load * 1000 / 8.2, "--arrivals", kind, "-s", 8, "--warm-up", 1, "--seed", i, "--tenant", "name=strict,deadline_ms=40", "--tenant", "name=patient,deadline_ms=160"]
            live = json.loads(bench("live", *arrivals).read_text())
            predicted = simulate(sleeper, *calibration, *arrivals)
            assert [t["offered"] for t in live["tenants"]] == [t["offered"] for t in predicted["tenants"]]
            pairs = list(zip(live["tenants"], predicted["tenants"]))
            rounds.append([100 * (s["deadline_miss_rate"] - t["deadline_miss_rate"]) for t, s in pairs]
                          + [s["latency_us"]["from_intended"]["p99"] / t["latency_us"]["from_intended"]["p99"] for t, s in pairs])
            medians = np.median(np.array(rounds), axis=0)
            agree = len(rounds) >= 3 and abs(medians[0]) <= 3 and abs(medians[1]) <= 3 and all(0.75 <= m <= 1.25 for m in medians[2:])
    print(f"{kind} {load}: simulated - live misses (points) strict, patient; simulated / live p99:", np.round(medians, 3), "rounds:", np.round(rounds, 2).tolist())
    assert agree
