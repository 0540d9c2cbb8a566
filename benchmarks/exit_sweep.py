"""Deadlines swept over a multi-exit model on a running server: the predictive rule against the reactive one.

    verge serve zoo --lanes 1 &
    python benchmarks/exit_sweep.py --url http://127.0.0.1:8000 --model fashion-exits-long -o exit_sweep.html

One request at a time. The score of a rule at a deadline is the mean over all requests of the accuracy that the profile gives the exit that answered,
0 where the answer was late or refused. An avoidable miss is a late answer of a later exit though the first one is in time at its median: every late answer of that
kind is counted, so the figure is an upper bound. Requests for the two rules take turns, so that both meet the same machine.
"""

import argparse
import json
import random
import statistics
import urllib.error
import urllib.request


class Model:
    def __init__(self, url, name):
        self.path = f"{url}/v2/models/{name}"
        spec = json.load(urllib.request.urlopen(self.path))["inputs"]
        random.seed(1)
        self.inputs = []
        for tensor in spec:
            shape = [1 if d < 0 else d for d in tensor["shape"]]
            count = 1
            for d in shape:
                count *= d
            whole = tensor["datatype"].startswith(("INT", "UINT"))
            data = [random.randrange(0, 128) if whole else random.random() for _ in range(count)]
            self.inputs.append({"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": data})

    def ask(self, **bounds):
        """The answer's parameters; None where it was refused."""
        body = json.dumps({"inputs": self.inputs, "parameters": {"verge." + k: v for k, v in bounds.items()}}).encode()
        try:
            return json.load(urllib.request.urlopen(urllib.request.Request(self.path + "/infer", body)))["parameters"]
        except urllib.error.HTTPError as e:
            if e.code == 504:
                return None
            raise SystemExit(f"{e.code}: {e.read().decode()[:300]}")


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
    for rule, colour in (("predictive", "#0a6"), ("reactive", "#c40")):
        points = " ".join(f'{x(r["deadline_ms"]):.1f},{y(r[rule]["score"]):.1f}' for r in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    parts.append(f'<text x="{left + 10}" y="{height - 8}">deadline, 0 to {most:.1f} ms; green: predictive, red: reactive; score: accuracy of answers in time</text></svg>')
    return "".join(parts)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", default="http://127.0.0.1:8000")
    p.add_argument("--model", required=True)
    p.add_argument("--requests", type=int, default=60, help="for each rule and deadline")
    p.add_argument("--points", type=int, default=12)
    p.add_argument("-o", "--output", default="exit_sweep.html")
    a = p.parse_args()
    model = Model(a.url, a.model)
    last = statistics.median(model.ask()["verge.measured_ms"] for _ in range(20))
    first = statistics.median(model.ask(objective="latency")["verge.measured_ms"] for _ in range(20))
    rows = []
    print(f"first exit {first:.2f} ms, last exit {last:.2f} ms (medians)\ndeadline ms   score predictive / reactive   late   refused   avoidable misses")
    for i in range(a.points):
        deadline = first * 0.6 + (last * 1.3 - first * 0.6) * i / (a.points - 1)
        row = {"deadline_ms": deadline}
        sums = {rule: {"score": 0.0, "late": 0, "refused": 0, "avoidable": 0} for rule in ("predictive", "reactive")}
        for _ in range(a.requests):
            for rule, s in sums.items():
                answer = model.ask(deadline_ms=deadline, rule=rule)
                if answer is None:
                    s["refused"] += 1
                elif answer["verge.measured_ms"] <= deadline:
                    s["score"] += answer["verge.expected_accuracy"]
                else:
                    s["late"] += 1
                    s["avoidable"] += first <= deadline and answer["verge.exit"] != "exit1"
        for rule, s in sums.items():
            row[rule] = s | {"score": s["score"] / a.requests}
        rows.append(row)
        both = [row["predictive"], row["reactive"]]
        print(f"{deadline:11.2f}   " + "   ".join(" / ".join(f"{s[k]:.3f}" if k == "score" else str(s[k]) for s in both) for k in ("score", "late", "refused", "avoidable")))
    share = sum(r["predictive"]["avoidable"] for r in rows) / (a.requests * len(rows))
    print(f"avoidable misses of predictive: {100 * share:.2f} % of all requests; score below reactive at {sum(r['predictive']['score'] < r['reactive']['score'] for r in rows)} of {len(rows)} deadlines")
    with open(a.output, "w") as f:
        f.write(f"<!doctype html><meta charset=utf-8><title>Exits under deadlines</title><h1>{a.model}</h1>{svg(rows, first, last)}<pre>{json.dumps(rows, indent=1)}</pre>")
    print("plot:", a.output)


if __name__ == "__main__":
    main()
