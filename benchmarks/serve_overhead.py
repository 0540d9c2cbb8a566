#!/usr/bin/env python3
"""What serving adds to the bare engine: the same variant, alternately in a loop of its own and behind `verge serve`, the server on one core and
the client on another. Prints the time added to p50 with one request in flight and the share of the engine's own rate at saturation.

    serve_overhead.py PACKAGE VARIANT [--rounds 7] [--seconds 1] [--json]

PACKAGE is ZOO/NAME. Figures are medians over the rounds with their range; a round measures both sides, so that they see the same machine.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"


def run_json(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def spread(values, digits=1):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} … {max(values):.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=pathlib.Path)
    parser.add_argument("variant")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the client")
    server_core, client_core = cores[0], cores[1]
    package = arguments.package
    server = subprocess.Popen(
        [BUILD / "verge", "serve", package.parent, "--listen", "127.0.0.1:0", "--log-level", "warning"],
        stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {server_core}),
    )
    try:
        line = server.stdout.readline()
        if not line:
            sys.exit("verge serve did not start")
        address = json.loads(line)["address"]
        with urllib.request.urlopen(f"http://{address}/v2/models/{package.name}", timeout=10) as answer:
            tensor = json.load(answer)["inputs"][0]
        shape = ",".join(str(1 if d < 0 else d) for d in tensor["shape"])

        def load(connections):
            return run_json(BUILD / "benchmarks/http_load", address, package.name, tensor["name"], tensor["datatype"], shape,
                            connections, arguments.seconds, client_core, arguments.variant)

        rows = []
        for _ in range(arguments.rounds):
            bare = run_json(BUILD / "benchmarks/engine_loop", package, arguments.variant, server_core, arguments.seconds)
            one, full = load(1), load(16)
            rows.append({"bare_p50_us": bare["p50_us"], "served_p50_us": one["p50_us"], "added_us": one["p50_us"] - bare["p50_us"],
                         "bare_rate": bare["rate"], "served_rate": full["rate"], "share": full["rate"] / bare["rate"]})
    finally:
        server.terminate()
        server.wait(timeout=30)

    column = lambda key: [row[key] for row in rows]
    if arguments.json:
        print(json.dumps({key: statistics.median(column(key)) for key in rows[0]}))
        return
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    print(f"{package.name} / {arguments.variant}, batch 1, server on core {server_core}, client on core {client_core}, {cpu}, "
          f"{arguments.rounds} rounds of {arguments.seconds} s, median (least … most)")
    print(f"  p50, one in flight   engine {spread(column('bare_p50_us'))} us   served {spread(column('served_p50_us'))} us   "
          f"added {spread(column('added_us'))} us")
    print(f"  rate, 16 in flight   engine {spread(column('bare_rate'), 0)}/s   served {spread(column('served_rate'), 0)}/s   "
          f"share {spread([100 * s for s in column('share')])} %")


if __name__ == "__main__":
    main()
