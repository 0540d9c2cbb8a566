"""Two tenants with opposite bounds on one model, live and simulated: deadlines of 5 and 20 times the model's p99, replay of recorded arrivals at 70 % and 120 % of capacity.

    .venv/test/bin/python benchmarks/two_tenants.py PACKAGE [--trace FILE.csv --column TIMESTAMP] [--seconds 20] [--loads 0.7,1.2] [--rounds 1] [--out FOLDER]

The server has the first core, the client the last. For each load, as often as --rounds says: the live run, a simulation of the same arrivals, fed by what the server counted of its runs meanwhile (overheads are
of two closed loops just before, one request and 32 in flight), and a clairvoyant one, which knows each service time in advance. Run it at a raised priority (nice -n -18) where others work on the machine. Goals: at 70 % both tenants
within a point of the clairvoyant; at 120 % at least 99.9 % of the answers within 1.1 deadlines, and refusals early. Printed with each: by the server's own counters how many were refused before any work, and by the
kernel's how long server and client were ready to run and had no core, for each late answer too. Without --trace: Poisson.
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
import stalls

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERGE = ROOT / "build" / "verge"
P99_MULTIPLES = {"strict": 5, "patient": 20}
# In flight of the closed loop whose rate is taken for the capacity: fewer, and the client would be waited for.
FULL = 32


def verge(*arguments, core=None, watch=None):
    command = [str(VERGE), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core is not None else None)
    if watch:
        watch.client(process.pid)
    output, errors = process.communicate()
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{errors}")
    return output


# Reasons of refusals for which an engine had begun, or had been at work for the request.
AFTER_WORK = {"engine", "transform", "overrun"}


def refused(before, after):
    """{reason: requests} that the server did not answer between two looks at its metrics."""
    out = {}
    for series, value in after.items():
        reason = re.search(r'reason="([^"]*)"', series)
        if series.startswith("verge_failures_total") and reason and value > before.get(series, 0):
            out[reason[1]] = out.get(reason[1], 0) + int(value - before.get(series, 0))
    return out


def figures(address, file):
    file.write_bytes(urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read())
    return file


def say_why(before, after, watch, live):
    """What became of those that were not answered in time: which were refused before any work, and what made answers late."""
    change = lambda name: int(harness.total(after, name) - harness.total(before, name))  # noqa: E731
    reasons = refused(before, after)
    late = sum(reasons.get(r, 0) for r in AFTER_WORK)
    print(f"  the server refused {sum(reasons.values())}, of them {sum(reasons.values()) - late} before any work:", ", ".join(f"{r} {n}" for r, n in sorted(reasons.items())) or "none")
    print(f"  deadlines that passed while the engine ran {change('verge_overdue_runs_total')}, before it ran {change('verge_late_runs_total')}, between run and answer {change('verge_overdue_answers_total')}")
    seconds = live["seconds"]
    print(f"  threads ready without a core: the server's {100 * watch.waited('server', 0, 1e18) / seconds:.2f} % of the time, at worst {1e3 * watch.longest('server'):.1f} ms; the client's "
          f"{100 * watch.waited('client', 0, 1e18) / seconds:.2f} %, {1e3 * watch.longest('client'):.1f} ms; taken by the hypervisor {100 * watch.steal / seconds:.2f} %")
    causes, worst = stalls.explain(watch, live)
    if causes:
        print("  late answers (the first 256 of each tenant), by what took at least half of their delay:", "; ".join(f"{cause} {n}" for cause, n in sorted(causes.items(), key=lambda x: -x[1])))
        for text in worst[:3]:
            print("   ", text)


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
        rates = [json.loads(verge(*live, *common, "-n", FULL, "-s", 1.5, "--json", "-", core=client))["total"]["rate"] for _ in range(3)]
        capacity = statistics.median_low(rates)
        p99 = one["latency_us"]["from_intended"]["p99"] / 1000
        print(f"{model}: alone p50 {one['latency_us']['from_intended']['p50'] / 1000:.3g} ms, p99 {p99:.3g} ms; capacity {capacity:.0f}/s of {[round(r) for r in rates]}")
        tenants = [x for name, times in P99_MULTIPLES.items()
                   for x in ("--tenant", f"name={name},deadline_ms={times * p99:.6g}" + ("," + args.bounds if args.bounds else ""))]
        for load, turn in [(float(x), i) for i in range(args.rounds) for x in args.loads.split(",")]:
            verge(*live[:-2], *common, "-n", 1, "-s", 1.5, "--json", alone, core=client)
            verge(*live, *common, "-n", FULL, "-s", 1.5, "--json", out / "full.json", core=client)
            arrivals = ["-r", round(load * capacity, 3), "-s", args.seconds, "--warm-up", 2, "--seed", 1 + turn]
            if args.trace:
                arrivals += ["--trace", args.trace] + (["--trace-column", args.column] if args.column else [])
            files = {kind: out / f"{kind}-{load:g}.json" for kind in ("live", "simulated", "clairvoyant")}
            begun, before = figures(server.address, out / "before.txt"), harness.metrics(server.address)
            with stalls.Watch(server.process.pid, {cores[0], client}) as watch:
                verge(*live, *common, *arrivals, *tenants, "--json", files["live"], core=client, watch=watch)
            after = harness.metrics(server.address)
            measured = ["--measured", figures(server.address, out / "after.txt"), "--measured-since", begun]
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
            say_why(before, after, watch, results["live"])
    (out / "two_tenants.json").write_text(json.dumps(rows, indent=2))
    print(f"\nResults and pages: {out}")


if __name__ == "__main__":
    main()
