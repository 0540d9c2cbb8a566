"""`verge simulate` beside a live server, on models that compute: how far predictions hold.

    .venv/test/bin/python benchmarks/simulated_against_live.py PACKAGE[:VARIANTS] … [--rounds 3] [--seconds 6] [--loads 0.7,1.2] [--trace FILE.csv --column TIMESTAMP] [--out FOLDER]

Each round of each package first calibrates: what the server counts of its runs while one request, then 32, are under way, then an open load with another seed; the overheads are taken from the
first two. Then the same arrivals, of a seed that nothing was fitted to, live and simulated: two tenants, whose deadlines are 5 and 20 times the p99 alone; of a model with exits 0.6 and
3 times its median, so that several exits answer. Printed: live and simulated side by side, and the medians of their differences over the rounds. Goals: misses within 3 points, mean accuracy within
0.5 points, p99 within 25 %. The server has the first core, the client the last; run it at a raised priority (nice -n -18) where others work on the machine.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import urllib.request

import harness

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERGE = ROOT / "build" / "verge"


def verge(*arguments, core=None):
    command = [str(VERGE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core is not None else None)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout) if "--json" in command and command[command.index("--json") + 1] == "-" else None


def figures(server, file):
    file.write_bytes(urllib.request.urlopen(f"http://{server.address}/metrics", timeout=10).read())
    return file


def p99(part):
    return part["latency_us"]["from_intended"]["p99"] / 1000


def one(package, variants, load, args, out, cores):
    """Rounds of one package at one load: a list of pairs of results."""
    model = package.parent.name if package.name.isdigit() else package.name
    manifest = json.loads(next(iter(sorted(package.rglob("manifest.json")))).read_text())
    staged = bool(manifest.get("stages"))
    client, pairs = cores[-1], []
    with harness.Server([VERGE, "serve", package, "--listen", "127.0.0.1:0", "--cores", cores[0], "--log-level", "error"], set(cores)) as server:
        def bench(name, *arguments):
            file = out / f"{model}-{name}.json"
            verge("bench", server.address, "-m", model, "-q", "--json", file, *arguments, core=client)
            return file
        bench("warm", "-n", 32, "-s", 1)
        deadlines, capacity = None, None
        for i in range(args.rounds):
            before = figures(server, out / "before.txt")
            alone = bench("alone", "-n", 1, "-s", 1.5)
            full = bench("full", "-n", 32, "-s", 1.5)
            if deadlines is None:
                latency = json.loads(alone.read_text())["total"]["latency_us"]["from_intended"]
                deadlines = [0.6 * latency["p50"] / 1000, 3 * latency["p50"] / 1000] if staged else [5 * latency["p99"] / 1000, 20 * latency["p99"] / 1000]
                capacity = json.loads(full.read_text())["total"]["rate"]
            tenants = [x for name, ms in zip(("strict", "patient"), deadlines) for x in ("--tenant", f"name={name},deadline_ms={ms:.6g}")]
            trace = ["--trace", args.trace] + (["--trace-column", args.column] if args.column else []) if args.trace else []
            arrivals = lambda seed: ["-r", round(load * capacity, 3), "--warm-up", 1, "--seed", seed, *trace, *tenants]  # noqa: E731
            calibration = bench("calibration", *arrivals(100 + i), "-s", args.seconds / 2)
            after = figures(server, out / "after.txt")
            live = json.loads(bench("live", *arrivals(i), "-s", args.seconds).read_text())
            simulated = verge("simulate", package, "-m", model, "-q", "--json", "-", "--lanes", 0, *(["--variants", variants] if variants else []),
                              "--measured", after, "--measured-since", before, "--calibrate", alone, "--calibrate", full, "--calibrate", calibration, *arrivals(i), "-s", args.seconds)
            pairs.append((live, simulated))
    print(f"\n{model}, load {load:g} of {capacity:.0f}/s, deadlines {deadlines[0]:.3g} and {deadlines[1]:.3g} ms; overhead of the last round {pairs[-1][1]['settings']['overhead_us']}")
    rows = []
    for t, name in enumerate(("strict", "patient")):
        differences = []
        for i, pair in enumerate(pairs):
            a, b = (p["tenants"][t] for p in pair)
            accuracies = [p.get("expected_accuracy", -1) for p in (a, b)]
            known = min(accuracies) >= 0
            differences.append((100 * (b["deadline_miss_rate"] - a["deadline_miss_rate"]), 100 * (accuracies[1] - accuracies[0]) if known else None, p99(b) / p99(a) if p99(a) else None))
            print(f"  {name:8} round {i}: {a['offered']:6} requests, misses {100 * a['deadline_miss_rate']:6.2f} {100 * b['deadline_miss_rate']:6.2f} %  p99 {p99(a):8.3g} {p99(b):8.3g} ms"
                  + (f"  mean accuracy {accuracies[0]:.4f} {accuracies[1]:.4f}" if known else ""))
        medians = [statistics.median(x) if (x := [d[k] for d in differences if d[k] is not None]) else None for k in range(3)]
        rows.append({"model": model, "load": load, "tenant": name, "miss_points": medians[0], "accuracy_points": medians[1], "p99_ratio": medians[2], "rounds": differences})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--loads", default="0.7,1.2")
    parser.add_argument("--trace")
    parser.add_argument("--column", default="")
    parser.add_argument("--out", default=str(ROOT / "build" / "simulated-against-live"))
    args = parser.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    rows = []
    for text in args.packages:
        path, _, variants = text.partition(":")
        for load in map(float, args.loads.split(",")):
            rows += one(pathlib.Path(path), variants, load, args, out, cores)
    print("\nmedians of the rounds, simulated against live\n| model | load | tenant | misses, points | mean accuracy, points | p99, ratio | within the goals |\n| --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        held = abs(r["miss_points"]) <= 3 and (r["accuracy_points"] is None or abs(r["accuracy_points"]) <= 0.5) and (r["p99_ratio"] is None or 0.75 <= r["p99_ratio"] <= 1.25)
        show = lambda v, f: "–" if v is None else format(v, f)  # noqa: E731
        print(f"| {r['model']} | {r['load']:g} | {r['tenant']} | {show(r['miss_points'], '+.2f')} | {show(r['accuracy_points'], '+.2f')} | {show(r['p99_ratio'], '.2f')} | {'yes' if held else 'no'} |")
    (out / "simulated_against_live.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
