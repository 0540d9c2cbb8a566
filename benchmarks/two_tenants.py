"""Two tenants with opposite bounds on one model, live and simulated: deadlines of 5 and 20 times the model's p99, replay of recorded arrivals at 70 % and 120 % of capacity.

    .venv/test/bin/python benchmarks/two_tenants.py PACKAGE [--trace FILE.csv --column TIMESTAMP] [--seconds 20] [--loads 0.7,1.2] [--rounds 1] [--out FOLDER]

The server has the first core, the client the last. For each load, as often as --rounds says: the live run, a simulation of the same arrivals, fed by what the server counted of its runs just before and while
it was asked by one and by eight at once, and a clairvoyant one, which knows each service time in advance. Run it at a raised priority (nice -n -18) where others work on the machine. Goals: at 70 % both tenants within a point of the clairvoyant; at 120 % at least 99.9 % of the answers within 1.1 deadlines, and
refusals early. Without --trace: Poisson.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import urllib.request

import harness

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERGE = ROOT / "build" / "verge"
P99_MULTIPLES = {"strict": 5, "patient": 20}


def verge(*arguments, core=None):
    command = [str(VERGE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core is not None else None)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def counters(address):
    """Requests that began a run and then ended without an answer in time, by what /metrics says of reasons."""
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(verge_[a-z_]*(?:refus|drop|fail|late|error)[a-z_]*)\{([^}]*)\} ([0-9.e+]+)$", text, re.M):
        reason = re.search(r'reason="([^"]*)"', labels)
        key = f"{name}/{reason.group(1) if reason else labels}"
        found[key] = found.get(key, 0) + float(value)
    return found


def figures(address, file):
    file.write_bytes(urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read())
    return file


def share(part, key):
    return part[key] / part["offered"] if part["offered"] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("--model", help="default: the package's name")
    parser.add_argument("--variants", default="", help="resident variants of the simulated server (default: the default one)")
    parser.add_argument("--bounds", default="", help="further bounds of both tenants, KEY=VALUE,…")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--input", help="what requests carry (default: seeded random values)")
    parser.add_argument("--trace")
    parser.add_argument("--column", default="")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--loads", default="0.7,1.2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", default=str(ROOT / "build" / "two-tenants"))
    args = parser.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    package = pathlib.Path(args.package)
    model = args.model or (package.parent.name if package.name.isdigit() else package.name)
    cores = sorted(os.sched_getaffinity(0))
    client = cores[-1]
    simulated = [package, "--lanes", 0, "-c", 8, "-b", args.batch] + (["--variants", args.variants] if args.variants else [])
    common = ["-m", model, "-q"]
    rows = []
    with harness.Server([VERGE, "serve", package, "--listen", "127.0.0.1:0", "--cores", cores[0], "--log-level", "error"], set(cores)) as server:
        alone = out / "alone.json"
        live = ["bench", server.address, "-b", args.batch] + (["-i", args.input] if args.input else [])
        verge(*live, *common, "-n", 1, "-s", 3, "--json", alone, core=client)
        one = json.loads(alone.read_text())["total"]
        live += ["-c", 8]
        rates = [json.loads(verge(*live, *common, "-n", 8, "-s", 1.5, "--json", "-", core=client))["total"]["rate"] for _ in range(3)]
        capacity = statistics.median_low(rates)
        p99 = one["latency_us"]["from_intended"]["p99"] / 1000
        print(f"{model}: alone p50 {one['latency_us']['from_intended']['p50'] / 1000:.3g} ms, p99 {p99:.3g} ms; capacity {capacity:.0f}/s of {[round(r) for r in rates]}")
        tenants = [x for name, times in P99_MULTIPLES.items()
                   for x in ("--tenant", f"name={name},deadline_ms={times * p99:.6g}" + ("," + args.bounds if args.bounds else ""))]
        for load, turn in [(float(x), i) for i in range(args.rounds) for x in args.loads.split(",")]:
            begun = figures(server.address, out / "before.txt")
            verge(*live[:-2], *common, "-n", 1, "-s", 1.5, "--json", alone, core=client)
            verge(*live, *common, "-n", 8, "-s", 1.5, "--json", out / "full.json", core=client)
            measured = ["--measured", figures(server.address, out / "after.txt"), "--measured-since", begun]
            arrivals = ["-r", round(load * capacity, 3), "-s", args.seconds, "--warm-up", 2, "--seed", 1 + turn]
            if args.trace:
                arrivals += ["--trace", args.trace] + (["--trace-column", args.column] if args.column else [])
            files = {kind: out / f"{kind}-{load:g}.json" for kind in ("live", "simulated", "clairvoyant")}
            before = counters(server.address)
            verge(*live, *common, *arrivals, *tenants, "--json", files["live"], core=client)
            after = counters(server.address)
            for kind in ("simulated", "clairvoyant"):
                verge("simulate", *simulated, *common, *arrivals, *tenants, "--calibrate", alone, "--calibrate", out / "full.json", *measured, "--json", files[kind], *(["--clairvoyant"] if kind == "clairvoyant" else []))
            verge("compare", files["live"], files["simulated"], "--html", out / f"live-simulated-{load:g}.html")
            results = {kind: json.loads(f.read_text()) for kind, f in files.items()}
            now = json.loads((out / "full.json").read_text())["total"]["rate"]
            print(f"\nload {load:g} of {capacity:.0f}/s, round {turn}; capacity just before {now:.0f}/s, so {load * capacity / now:.2f} of it")
            for i, name in enumerate(P99_MULTIPLES):
                print(f"  {name}, deadline {P99_MULTIPLES[name] * p99:.3g} ms")
                for kind, result in results.items():
                    part = result["tenants"][i]
                    within = part["within_1.1_deadlines"] / part["answered"] if part["answered"] else 1
                    latency = part["latency_us"]["from_intended"]
                    refusal = part["latency_us"]["refusals"]
                    print(f"    {kind:12} in time {100 * share(part, 'in_time'):6.2f} %  refused {100 * share(part, 'refused'):6.2f} %  unsent {100 * share(part, 'unsent'):5.2f} %  of answers within 1.1 deadlines "
                          f"{100 * within:7.3f} %  p99 {latency['p99'] / 1000:8.3g} ms  refusals' median {refusal['p50'] / 1000:7.3g} ms" + (f"  accuracy {part['accuracy']:.4f}" if "accuracy" in part else ""))
                    rows.append({"load": load, "round": turn, "tenant": name, "kind": kind, "answered": part["answered"], "in_time": share(part, "in_time"), "refused": share(part, "refused"), "within": within, "p99_ms": latency["p99"] / 1000})
            changed = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
            if changed:
                print("  server's counters:", ", ".join(f"{k} {v:.0f}" for k, v in sorted(changed.items())))
    (out / "two_tenants.json").write_text(json.dumps(rows, indent=2))
    print(f"\nResults and pages: {out}")


if __name__ == "__main__":
    main()
