"""Deadlines swept over a multi-exit model on a running server: the predictive rule against the reactive one.

    verge serve zoo --lanes 1 &
    python benchmarks/exit_sweep.py --url http://127.0.0.1:8000 --model fashion-exits-long -o exit_sweep.html

One request at a time, each a test image of Fashion-MNIST: the same images in the same order at every deadline, asked for by both rules in turn, so that both meet the same machine.
The score is the share of requests that were answered right and in time (by the server's clock, from arrival to the answer); "by profile" is the same with the accuracy that the
profile gives the exit in the place of right and wrong. Differences carry 1.96 standard errors of the paired requests.

An avoidable miss is a request that an exit that was done could have answered in time while the rule went on. Counted are deadlines that passed with an exit done, and answers that
came too late from an exit that is not the first one: of those the exit before may itself have been late, so the figure is an upper bound.
"""

import argparse
import gzip
import html
import http.client
import json
import math
import os
import pathlib
import random
import re
import statistics
import struct
import time
import urllib.parse

RULES = ("predictive", "reactive")
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist


def idx(path):
    """An IDX file of bytes: its sizes and its content."""
    with gzip.open(path, "rb") as f:
        _, _, kind, rank = struct.unpack("4B", f.read(4))
        if kind != 8:
            raise SystemExit(f"{path}: expected bytes, found IDX type {kind}")
        return struct.unpack(f">{rank}I", f.read(4 * rank)), f.read()


def samples(folder, count):
    """`count` test images with their labels, drawn once for all deadlines."""
    (total, height, width), pixels = idx(folder / "t10k-images-idx3-ubyte.gz")
    _, labels = idx(folder / "t10k-labels-idx1-ubyte.gz")
    size = height * width
    chosen = random.Random(1).sample(range(total), count)
    return [(pixels[i * size : (i + 1) * size], labels[i]) for i in chosen]


class Answer:
    """What became of a request. `exit`: None where none answered."""

    def __init__(self, status, text, label, deadline_ms):
        self.exit, self.ms, self.right, self.accuracy, self.late, self.avoidable = None, None, False, 0.0, False, False
        if status == 504:
            done = re.search(r"with (\d+) of \d+ exits done", text)
            self.late = "while it ran" in text
            self.avoidable = done is not None and int(done[1]) > 0
            return
        if status != 200:
            raise SystemExit(f"{status}: {text[:300]}")
        answer = json.loads(text)
        said, scores = answer["parameters"], answer["outputs"][0]["data"]
        self.exit, self.ms = said["verge.exit"], said["verge.measured_ms"]
        if deadline_ms is not None and self.ms > deadline_ms:
            self.late, self.avoidable = True, self.exit != "exit1" or said["verge.reason"] == "the next exit took too long"
            return
        self.right = scores.index(max(scores)) == label
        self.accuracy = said["verge.expected_accuracy"]


class Model:
    def __init__(self, url, name):
        at = urllib.parse.urlsplit(url if "://" in url else "http://" + url)
        self.connection = http.client.HTTPConnection(at.hostname, at.port or 80, timeout=60)
        self.path = f"/v2/models/{name}"
        status, text = self.call("GET", self.path)
        if status != 200:
            raise SystemExit(f"{status}: {text[:300]}")
        (self.input,) = json.loads(text)["inputs"]
        if self.input["datatype"] != "UINT8":
            raise SystemExit(f"{name} takes no images of grey bytes")
        self.shape = [1 if d < 0 else d for d in self.input["shape"]]

    def call(self, method, path, body=None, headers={}):
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def ask(self, sample, **bounds):
        image, label = sample
        tensor = {"name": self.input["name"], "datatype": "UINT8", "shape": self.shape, "parameters": {"binary_data_size": len(image)}}
        head = json.dumps({"inputs": [tensor], "parameters": {"verge." + k: v for k, v in bounds.items()}}).encode()
        return Answer(*self.call("POST", self.path + "/infer", head + image, {"Inference-Header-Content-Length": str(len(head))}), label, bounds.get("deadline_ms"))


def paired(a, b):
    """The mean of the differences, and 1.96 standard errors of it."""
    d = [x - y for x, y in zip(a, b)]
    return statistics.fmean(d), 1.96 * statistics.stdev(d) / math.sqrt(len(d))


def point(model, deadline, images, slot):
    """All requests at one deadline: rule -> answers."""
    answers = {rule: [] for rule in RULES}
    for i, sample in enumerate(images):
        for rule in RULES if i % 2 == 0 else RULES[::-1]:
            # A chain whose client has been told that the deadline has passed still holds the lane for a while.
            until = time.monotonic() + slot
            answers[rule].append(model.ask(sample, deadline_ms=deadline, rule=rule))
            time.sleep(max(0.0, until - time.monotonic()))
    return answers


def summed(answers):
    exits = {}
    for a in answers:
        if a.exit and not a.late:
            exits[a.exit] = exits.get(a.exit, 0) + 1
    n = len(answers)
    right = sum(a.right for a in answers) / n
    return {
        "score": right,
        "score_error": 1.96 * math.sqrt(right * (1 - right) / n),
        "by_profile": sum(a.accuracy for a in answers) / n,
        "late": sum(a.late for a in answers),
        "refused": sum(a.exit is None and not a.late for a in answers),
        "avoidable": sum(a.avoidable for a in answers),
        "exits": dict(sorted(exits.items())),
    }


def svg(rows, first, last):
    width, height, left, bottom = 720, 360, 50, 40
    most = max(r["deadline_ms"] for r in rows)
    x = lambda ms: left + ms / most * (width - left - 20)
    y = lambda v: height - bottom - v * (height - bottom - 20)
    parts = [f'<svg viewBox="0 0 {width} {height}" style="max-width:100%;font:12px sans-serif">']
    for v in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(v)}" y2="{y(v)}" stroke="#ddd"/><text x="{left - 34}" y="{y(v) + 4}">{v}</text>')
    for ms, text in ((first, "first exit"), (last, "last exit")):
        parts.append(f'<line x1="{x(ms)}" x2="{x(ms)}" y1="20" y2="{height - bottom}" stroke="#999" stroke-dasharray="4"/><text x="{x(ms) + 3}" y="16">{text}, {ms:.1f} ms</text>')
    for rule, colour in zip(RULES, ("#0a6", "#c40")):
        points = " ".join(f'{x(r["deadline_ms"]):.1f},{y(r[rule]["score"]):.1f}' for r in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for r in rows:
            at, e = x(r["deadline_ms"]), r[rule]["score_error"]
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(r[rule]["score"] - e):.1f}" y2="{y(r[rule]["score"] + e):.1f}" stroke="{colour}"/>')
    parts.append(f'<text x="{left + 10}" y="{height - 8}">deadline, 0 to {most:.1f} ms; green: predictive, red: reactive; share answered right in time, with its 95 % interval</text></svg>')
    return "".join(parts)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", default="http://127.0.0.1:8000")
    p.add_argument("--model", default="fashion-exits-long")
    p.add_argument("--data", type=pathlib.Path, default=pathlib.Path(os.environ.get("VERGE_FASHION_MNIST", DATA)), help="folder with the IDX files of Fashion-MNIST")
    p.add_argument("--requests", type=int, default=300, help="for each rule and deadline")
    p.add_argument("--points", type=int, default=12)
    p.add_argument("-o", "--output", default="exit_sweep.html")
    a = p.parse_args()
    images = samples(a.data, a.requests)
    model = Model(a.url, a.model)
    last = statistics.median(model.ask(s).ms for s in images[:30])
    first = statistics.median(model.ask(s, objective="latency").ms for s in images[:30])
    rows = []
    print(f"first exit {first:.2f} ms, last exit {last:.2f} ms (medians); {a.requests} requests for each rule and deadline; predictive / reactive")
    print("deadline ms   right in time      difference         by profile         late        refused     avoidable misses   exits of predictive")
    for i in range(a.points):
        deadline = round(first * 0.6 + (last * 1.4 - first * 0.6) * i / (a.points - 1), 3)
        answers = point(model, deadline, images, 1.5e-3 * last)
        row = {"deadline_ms": deadline} | {rule: summed(answers[rule]) for rule in RULES}
        row["difference"], row["difference_error"] = paired(*([x.right for x in answers[rule]] for rule in RULES))
        rows.append(row)
        both = lambda k, form: " / ".join(format(row[rule][k], form) for rule in RULES)
        print(f"{deadline:9.2f}     {both('score', '.3f')}    {row['difference']:+.3f} ± {row['difference_error']:.3f}    {both('by_profile', '.3f')}    {both('late', '3d')}   {both('refused', '3d')}   {both('avoidable', '3d')}          "
              + " ".join(f"{e}:{n}" for e, n in row["predictive"]["exits"].items()), flush=True)
    total = a.requests * len(rows)
    for rule in RULES:
        misses = sum(r[rule]["avoidable"] for r in rows)
        print(f"{rule}: avoidable misses {misses} of {total} requests, {100 * misses / total:.2f} %; at most {100 * max(r[rule]['avoidable'] for r in rows) / a.requests:.2f} % at one deadline")
    below = [r for r in rows if r["difference"] < 0]
    sure = [r for r in below if r["difference"] + r["difference_error"] < 0]
    above = sum(r["difference"] > 0 for r in rows)
    print(f"right in time, predictive against reactive: above at {above} of {len(rows)} deadlines, equal at {len(rows) - above - len(below)}, below at {len(below)} (beyond its error at {len(sure)})")
    with open(a.output, "w") as f:
        f.write(f"<!doctype html><meta charset=utf-8><title>Exits under deadlines</title><h1>{html.escape(a.model)}</h1>{svg(rows, first, last)}<pre>{json.dumps(rows, indent=1)}</pre>")
    print("plot:", a.output)


if __name__ == "__main__":
    main()
