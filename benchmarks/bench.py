#!/usr/bin/env python3
"""Measures the server against the machine: bare echoes, grpc++, and the engines' own loops, interleaved in one run, the server on one core and
the load on another. docs/benchmarks.md says what each figure means. Prints tables and writes BUILD/bench.json.

usage: bench.py [--build build] [--rounds 7] [--seconds 2] [--only identity,one,rest,images,resnet8,log,cores,open,overload,streams] [--zoo .cache/test-zoo]
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

import engines
import harness
from harness import ROOT, Server, Tools, median, model_infer, rest_binary, rest_json, spread

GRPC = "/inference.GRPCInferenceService/ModelInfer"
VALUES = [i * 0.25 - 1 for i in range(16)]


class Bench:
    def __init__(self, args, folder):
        self.args = args
        self.build = args.build
        self.server_core, self.load_core = args.server_core, args.load_core
        self.tools = Tools(args.build, args.load_core, args.seconds, folder)
        self.zoo = args.build / "bench" / "zoo"
        self.sections, self.goals = {}, []

    def program(self, name):
        return Server([self.build / "benchmarks" / name], {self.server_core})

    def verge(self, zoo=None, cores=None, *arguments, **options):
        return harness.verge(self.build, zoo or self.zoo, cores or {self.server_core}, *arguments, **options)

    def goal(self, what, value, limit, at_least):
        met = value >= limit if at_least else value <= limit
        self.goals.append({"goal": what, "value": round(value, 3), "limit": limit, "direction": "at least" if at_least else "at most", "met": met})

    def interleaved(self, measures, rounds=None):
        """{name: function} → {name: [result of each round]}; a first call of each warms up."""
        results = {name: [] for name in measures}
        for fn in measures.values():
            fn()
        for _ in range(rounds or self.args.rounds):
            for name, fn in measures.items():
                results[name].append(fn())
        return results

    def table(self, title, results, base):
        """Rows of (rate, CPU): ratios are those of each round, so that a slow moment of the machine falls on both sides."""
        print(f"\n{title}")
        rows = {}
        for name, runs in results.items():
            rates, cpu = zip(*runs)
            other = results[base(name) if callable(base) else base]
            ratios = [r / o[0] for r, o in zip(rates, other)]
            more = [c - o[1] for c, o in zip(cpu, other)]
            rows[name] = {"rate": median(rates), "rate_range": [min(rates), max(rates)], "cpu_us": median(cpu), "cpu_us_range": [min(cpu), max(cpu)],
                          "ratio": median(ratios), "ratio_range": [min(ratios), max(ratios)], "cpu_over_us": median(more)}
            print(f"  {name:<14} {spread(rates):>32}/s   CPU {spread(cpu, 2):>22} µs   ratio {spread(ratios, 2):>18}   CPU {median(more):+.2f} µs")
        return rows

    # --- sections ---

    def identity(self):
        body = self.tools.body(model_infer("identity", "INPUT0", "FP32", [1, 16], struct.pack("<16f", *VALUES)))
        servers = {"echo": self.program("echo_http2"), "verge": self.verge()}
        if (self.build / "benchmarks" / "echo_grpcpp").exists():
            servers["grpc++"] = self.program("echo_grpcpp")
        else:
            print("grpc++ is left out: `make bench-deps` installs it")
        try:
            check_identity(servers)
            results = self.interleaved({n: (lambda s=s: self.tools.h2load(s, GRPC, body, 64, 1)) for n, s in servers.items()})
            rows = self.table("Identity FP32 [1,16] over gRPC, 64 in flight on one connection", results, "echo")
            self.goal("identity gRPC: server CPU over the echo, µs", rows["verge"]["cpu_over_us"], 2.5, False)
            self.goal("identity gRPC: rate over the echo's", rows["verge"]["ratio"], 0.6, True)
            self.sections["identity"] = rows
            results = self.interleaved({n: (lambda s=s: self.tools.h2load(s, GRPC, body, 8, 8)) for n, s in servers.items()})
            spread_out = self.sections["identity_8x8"] = self.table("The same, 64 in flight on 8 connections", results, "echo")
            if "grpc++" in rows:
                # On one connection the load client is the limit of the fast servers: the echo itself is hardly three times as fast as grpc++ there.
                over = {n: [v / g for (v, _), (g, _) in zip(results[n], results["grpc++"])] for n in ("echo", "verge")}
                print(f"  over grpc++: echo {spread(over['echo'], 2)}, verge {spread(over['verge'], 2)}; on one connection echo "
                      f"{rows['echo']['rate'] / rows['grpc++']['rate']:.2f}, verge {rows['verge']['rate'] / rows['grpc++']['rate']:.2f}; CPU a call on one connection: "
                      f"{rows['grpc++']['cpu_us'] / rows['verge']['cpu_us']:.2f} times verge's, on eight {spread_out['grpc++']['cpu_us'] / spread_out['verge']['cpu_us']:.2f}")
                self.goal("identity gRPC, 8 × 8 in flight: rate over grpc++'s", median(over["verge"]), 5, True)
        finally:
            stop(servers)

    def one(self):
        body = self.tools.body(model_infer("identity", "INPUT0", "FP32", [1, 16], struct.pack("<16f", *VALUES)))
        servers = {"echo": self.program("echo_http2"), "verge": self.verge()}
        if (self.build / "benchmarks" / "echo_grpcpp").exists():
            servers["grpc++"] = self.program("echo_grpcpp")
        try:
            results = self.interleaved({n: (lambda s=s: self.tools.load(s, GRPC, body)) for n, s in servers.items()})
            print("\nOne in flight over gRPC, µs")
            rows = {}
            for n, runs in results.items():
                p50, p99 = [r["p50_us"] for r in runs], [r["p99_us"] for r in runs]
                rows[n] = {"p50_us": median(p50), "p50_us_range": [min(p50), max(p50)], "p99_us": median(p99)}
                print(f"  {n:<14} p50 {spread(p50, 1):>20}   p99 {spread(p99, 1):>22}")
            self.goal("one in flight: p50 over the echo's, µs", rows["verge"]["p50_us"] - rows["echo"]["p50_us"], 10, False)
            self.sections["one"] = rows
        finally:
            stop(servers)

    def rest(self):
        data = struct.pack("<16f", *VALUES)
        binary, json_bytes = rest_binary("INPUT0", "FP32", [1, 16], data)
        binary, text = self.tools.body(binary), self.tools.body(rest_json("INPUT0", "FP32", [1, 16], VALUES))
        path = "/v2/models/identity/infer"
        servers = {"echo": self.program("echo_http1"), "verge": self.verge()}
        head = [f"Inference-Header-Content-Length: {json_bytes}"]
        forms = {"binary": (binary, head), "json": (text, ["Content-Type: application/json"])}
        try:
            check_rest(servers["verge"], binary, json_bytes)
            results = self.interleaved({f"{n} {f}": (lambda s=s, b=b, h=h: self.tools.h2load(s, path, b, 1, 64, True, h))
                                        for f, (b, h) in forms.items() for n, s in servers.items()})
            rows = self.table("Identity FP32 [1,16] over REST on HTTP/1.1, 64 connections", results, lambda name: "echo " + name.split()[1])
            self.goal("REST binary: rate over the bare HTTP/1.1 echo's", rows["verge binary"]["ratio"], 0.55, True)
            self.goal("REST JSON: rate over the bare HTTP/1.1 echo's", rows["verge json"]["ratio"], 0.45, True)
            self.sections["rest"] = rows
        finally:
            stop(servers)

    def images(self):
        body = self.tools.body(model_infer("image", "INPUT0", "FP32", [1, 3, 224, 224], np.zeros(150528, np.float32).tobytes()))
        servers = {"echo": self.program("echo_http2"), "verge": self.verge()}
        try:
            results = self.interleaved({n: (lambda s=s: self.tools.h2load(s, GRPC, body, 8, 1)) for n, s in servers.items()})
            before = harness.metrics(servers["verge"].address)
            rows = self.table("602 KB images over gRPC, 8 in flight", results, "echo")
            rows["copied_tensors"] = harness.total(before, "verge_net_copied_tensors_total")
            self.goal("602 KB images: rate over the echo's", rows["verge"]["ratio"], 0.8, True)
            self.sections["images"] = rows
        finally:
            stop(servers)


def stop(servers):
    for s in servers.values():
        s.stop()


def check_identity(servers):
    """Whoever is measured answers a real client rightly. The echo sends bodies back and is no model server."""
    import tritonclient.grpc as triton

    array = np.array([VALUES], np.float32)
    for name, server in servers.items():
        if name == "echo":
            continue
        with triton.InferenceServerClient(server.address) as client:
            tensor = triton.InferInput("INPUT0", [1, 16], "FP32").set_data_from_numpy(array)
            answer = client.infer("identity", [tensor]).as_numpy("OUTPUT0")
            assert np.array_equal(answer, array), f"{name} answers {answer}"


def check_rest(server, binary, json_bytes):
    import urllib.request

    import tritonclient.http as triton

    array = np.array([VALUES], np.float32)
    with triton.InferenceServerClient(server.address) as client:
        for form in (True, False):
            tensor = triton.InferInput("INPUT0", [1, 16], "FP32").set_data_from_numpy(array, binary_data=form)
            assert np.array_equal(client.infer("identity", [tensor]).as_numpy("OUTPUT0"), array)
    request = urllib.request.Request(f"http://{server.address}/v2/models/identity/infer", binary.read_bytes(),
                                     {"Inference-Header-Content-Length": str(json_bytes)})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.read().endswith(array.tobytes())


SECTIONS = ["identity", "one", "rest", "images", "resnet8", "log", "cores", "open", "overload", "streams"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--zoo", type=pathlib.Path, default=ROOT / ".cache" / "test-zoo", help="holds resnet8; its sections are left out otherwise")
    parser.add_argument("--server-core", type=int, default=cores[0])
    parser.add_argument("--load-core", type=int, default=cores[-1])
    parser.add_argument("--goals", action="store_true", help="end with 1 where a goal is missed")
    args = parser.parse_args()
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    unknown = set(args.only.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section '{unknown.pop()}'; there are {', '.join(SECTIONS)}")
    subprocess.run([sys.executable, ROOT / "tools" / "make_bench_models.py", args.build / "bench" / "zoo"], check=True, stdout=subprocess.DEVNULL)
    facts = {**harness.machine(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rounds": args.rounds, "seconds": args.seconds}
    print(f"{facts['cpu']}, {facts['cores']} cores, {' '.join(facts['flags'])}, kernel {facts['kernel']}; load average before: "
          f"{facts['load_average_before']:.2f}\n{args.rounds} rounds of {args.seconds} s, interleaved; median [least, most]")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        for name in SECTIONS:
            if name in args.only.split(","):
                (getattr(bench, name, None) or (lambda: engines.SECTIONS[name](bench)))()
    print("\nGoals")
    for g in bench.goals:
        print(f"  {'met   ' if g['met'] else 'MISSED'}  {g['goal']}: {g['value']:g} ({g['direction']} {g['limit']:g})")
    (args.build / "bench.json").write_text(json.dumps({"machine": facts, "sections": bench.sections, "goals": bench.goals}, indent=1))
    return 1 if args.goals and not all(g["met"] for g in bench.goals) else 0


if __name__ == "__main__":
    sys.exit(main())
