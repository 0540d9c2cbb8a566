#!/usr/bin/env python3
"""Compares servers of one small gRPC call, interleaved in one run: rate, and CPU of the server a call.

usage: echo_compare.py BUILD [--server 'NAME=COMMAND'] [--rounds 7] [--seconds 2] [--server-core 0] [--load-core 1]

Without --server: BUILD/benchmarks/echo_http2 (the bare echo) and BUILD/tests/net_echo_server (the data plane over a runtime that hands
inputs back). Each COMMAND prints a JSON line with "address". The load is h2load with ModelInfer of identity FP32 [1,16].
"""
import argparse
import json
import os
import re
import shlex
import struct
import statistics
import subprocess
import tempfile


def varint(v):
    out = b""
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def bytes_field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def model_infer(model):
    tensor = bytes_field(1, b"INPUT0") + bytes_field(2, b"FP32") + bytes_field(3, varint(1) + varint(16))
    message = bytes_field(1, model.encode()) + bytes_field(5, tensor) + bytes_field(7, struct.pack("<16f", *range(16)))
    return b"\0" + struct.pack(">I", len(message)) + message


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server, args, body, streams, connections):
    before = cpu_seconds(server["process"].pid)
    command = ["taskset", "-c", str(args.load_core), "h2load", "-D", str(args.seconds), "-c", str(connections), "-m", str(streams), "-t", "1",
               "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers",
               f"http://{server['address']}/inference.GRPCInferenceService/ModelInfer"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(server["process"].pid) - before
    done = int(re.search(r"(\d+) succeeded", text).group(1))
    failed = int(re.search(r"(\d+) failed", text).group(1))
    if failed or not done:
        raise SystemExit(f"{server['name']}: {failed} requests failed\n{text}")
    return done / args.seconds, cpu / done * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--server", action="append", default=[])
    parser.add_argument("--model", default="echo")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--connections", type=int, default=1)
    args = parser.parse_args()
    commands = args.server or [f"echo={args.build}/benchmarks/echo_http2", f"verge={args.build}/tests/net_echo_server"]
    servers = []
    with tempfile.NamedTemporaryFile() as body:
        body.write(model_infer(args.model))
        body.flush()
        for entry in commands:
            name, command = entry.split("=", 1)
            process = subprocess.Popen(["taskset", "-c", str(args.server_core), *shlex.split(command)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
            servers.append({"name": name, "process": process, "address": json.loads(process.stdout.readline())["address"], "runs": []})
        try:
            for server in servers:
                measure(server, args, body.name, args.streams, args.connections)  # warm-up
            for _ in range(args.rounds):
                for server in servers:
                    server["runs"].append(measure(server, args, body.name, args.streams, args.connections))
        finally:
            for server in servers:
                server["process"].stdin.close()
                try:
                    server["process"].wait(10)
                except subprocess.TimeoutExpired:
                    server["process"].kill()
    print(f"{args.rounds} rounds of {args.seconds} s, {args.connections} connection(s) × {args.streams} streams; median [least, most]")
    base = None
    for server in servers:
        rates, cpu = zip(*server["runs"])
        base = base or (statistics.median(rates), statistics.median(cpu))
        print(f"{server['name']:>10}: {statistics.median(rates):>9,.0f}/s [{min(rates):,.0f}, {max(rates):,.0f}]   "
              f"{statistics.median(cpu):5.2f} µs CPU a call [{min(cpu):.2f}, {max(cpu):.2f}]   "
              f"rate ratio {statistics.median(rates) / base[0]:.2f}, CPU {statistics.median(cpu) - base[1]:+.2f} µs")


if __name__ == "__main__":
    main()
