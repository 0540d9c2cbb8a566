"""The sections of bench.py with a real model: what serving adds to the engine's own loop, a second core, open load and overload."""
import dataclasses
import json
import os
import pathlib
import struct
import subprocess
import zlib

import numpy as np

import harness
import ideal_queue
from harness import median, model_infer, spread

GRPC = "/inference.GRPCInferenceService/ModelInfer"
VARIANTS = ["openvino-ir-f32", "onnxruntime-onnx-f32", "litert-tflite-f32"]


@dataclasses.dataclass
class Model:
    """What the sections ask, of one package."""

    title: str
    folder: pathlib.Path
    variant: str
    tensor: tuple  # name, datatype, shape, content
    sizes: tuple  # of runs, whose times the bare engine is asked for
    deadline_ms: int  # under overload
    stretch: int  # how much longer a round of open load lasts, so that a p99 stands on hundreds of requests

    def body(self, bench, variant=None):
        name, dtype, shape, data = self.tensor
        return bench.tools.body(model_infer(self.folder.name, name, dtype, shape, data, variant or self.variant))


def png(side):
    """A picture of noise."""
    rows = np.random.default_rng(1).integers(0, 256, (side, side * 3), np.uint8)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 1)) + chunk(b"IEND", b""))


def models(bench, *names):
    """Those of the named packages that the zoo has: one whose run takes as long as some ten requests cost the server, and one beside whose run they are nothing."""
    image, photo = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8).tobytes(), png(96)  # the load client sends no more than a first window of 64 KiB
    known = [Model("ResNet-8", bench.args.zoo / "resnet8", VARIANTS[0], ("image", "UINT8", [1, 32, 32, 3], image), (1, 2, 4, 8), 50, 1),
             Model("MobileNet v1 0.5 160", bench.args.zoo / "mobilenet_v1_0-5_160", "litert-tflite-int8",
                   ("photo", "BYTES", [1], struct.pack("<I", len(photo)) + photo), (1,), 100, 4)]
    found = [m for m in known if m.folder.name in names or not names]
    for m in found:
        if not m.folder.is_dir():
            print(f"\n{m.title} is left out: {m.folder} does not exist (the integration tests build it)")
    return [m for m in found if m.folder.is_dir()]


def engine_loop(bench, folder, variant, batch, core):
    done = subprocess.run([bench.build / "benchmarks" / "engine_loop", folder, variant, str(core), str(bench.args.seconds / 2), str(batch)],
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"engine_loop {variant}: {done.stderr.strip()}")
    return json.loads(done.stdout)["cpu_us"]


def serve(bench, folder, cores, variants, *arguments, **options):
    """The package alone, with the variants resident from the start."""
    config = bench.tools.folder / f"{folder.name}.yaml"
    config.write_text(f"models:\n  {folder.name}:\n    resident: [" + ", ".join(variants) + "]\n")
    return bench.verge(folder, cores, "--config", config, *arguments, **options)


class Batches:
    """Which sizes the engine ran between two looks at the server."""

    def __init__(self, server, variant):
        self.server, self.variant = server, variant
        self.before = harness.metrics(server.address)

    def sizes(self):
        """{samples of a run: runs}; the histogram's bounds are all sizes that are formed where more wait than fit."""
        after, below, found = harness.metrics(self.server.address), 0.0, {}
        bound = lambda size: {"variant": self.variant, "le": str(size)}
        change = lambda size: harness.total(after, "verge_batch_samples_bucket", **bound(size)) - harness.total(self.before, "verge_batch_samples_bucket", **bound(size))
        for size in (1, 2, 4, 8, 16, 32, 64):
            runs = change(size) - below
            below += runs
            if runs > 0:
                found[size] = runs
        return found or {1: 1.0}


def resnet8(bench):
    for model in models(bench, "resnet8"):
        beyond_the_engine(bench, model)


def beyond_the_engine(bench, model):
    core, folder = bench.server_core, model.folder
    print("\nResNet-8, UINT8 images over gRPC, one server core: CPU a request beyond the engine's own loop at the batch sizes formed")
    rows = {}
    with serve(bench, folder, {core}, VARIANTS) as server:
        for variant in VARIANTS:
            body = model.body(bench, variant)
            bench.tools.load(server, GRPC, body, in_flight=64, seconds=0.5)
            for name, in_flight in (("one", 1), ("64 in flight", 64)):
                over, served, engine, rates, sizes = [], [], [], [], []
                for _ in range(bench.args.rounds):
                    batches = Batches(server, variant)
                    line = bench.tools.load(server, GRPC, body, in_flight=in_flight, warm=0)
                    formed = batches.sizes()
                    samples = sum(size * runs for size, runs in formed.items())
                    size = samples / sum(formed.values())
                    # The same mix of sizes, each in the bare loop. LiteRT's graphs have fixed sizes 1 and 8: what was formed runs in pieces of these, and
                    # less than 8 one by one, because that takes less than a padded run.
                    own, counted = 0.0, 0.0
                    for formed_size, runs in formed.items():
                        batch, pieces = formed_size, 1
                        if "litert" in variant:
                            batch, pieces = (8, -(-formed_size // 8)) if formed_size >= 8 else (1, formed_size)
                        if formed_size * runs >= 0.02 * samples:
                            own += engine_loop(bench, folder, variant, batch, core) * pieces * runs
                            counted += formed_size * runs
                    own /= counted
                    over.append(line["cpu_us"] - own)
                    served.append(line["cpu_us"])
                    engine.append(own)
                    rates.append(line["rate"])
                    sizes.append(size)
                print(f"  {variant:<22} {name:<13} batch {median(sizes):5.2f}   served {spread(served, 1):>22} µs   engine {spread(engine, 1):>22} µs   "
                      f"beyond {spread(over, 1):>20} µs   {median(rates):,.0f}/s")
                rows[f"{variant}, {name}"] = {"batch": median(sizes), "served_cpu_us": median(served), "engine_cpu_us": median(engine),
                                              "beyond_us": median(over), "beyond_us_range": [min(over), max(over)], "rate": median(rates)}
                if in_flight > 1:  # with one, most of it is the server falling asleep and waking up
                    bench.goal(f"ResNet-8 {variant}, {name}: CPU beyond the engine, µs", median(over), 8, False)
    bench.sections["resnet8"] = rows


def log(bench):
    """What a line a request in the access log costs; metrics and histograms are always on."""
    for model in models(bench, "resnet8"):
        body = model.body(bench)
        with open(bench.tools.folder / "access.log", "w") as lines:
            servers = {"without": serve(bench, model.folder, {bench.server_core}, [model.variant]),
                       "access log": serve(bench, model.folder, {bench.server_core}, [model.variant], "--access-log", log=lines)}
            try:
                def load(server):
                    line = bench.tools.load(server, GRPC, body, in_flight=64)
                    return line["rate"], line["cpu_us"]

                rows = bench.table(f"{model.title}, 64 in flight, one server core, with a line a request in a file", bench.interleaved({n: (lambda s=s: load(s)) for n, s in servers.items()}), "without")
                rows["dropped"] = harness.total(harness.metrics(servers["access log"].address), "verge_net_access_log_dropped_total")
                print(f"  lines dropped: {rows['dropped']:.0f}")
            finally:
                for server in servers.values():
                    server.stop()
        bench.goal(f"{model.title} with an access log: rate over that without", rows["access log"]["ratio"], 0.99, True)
        bench.sections["log"] = rows


def cores(bench):
    bench.sections["cores"] = {m.title: on_two_cores(bench, m) for m in models(bench)}


def on_two_cores(bench, model):
    body = model.body(bench)
    both = {bench.server_core, bench.load_core}
    print(f"\n{model.title} on one core and on two, 128 in flight (the load takes a share of the second)")
    servers = {"one": serve(bench, model.folder, {bench.server_core}, [model.variant]), "two": serve(bench, model.folder, both, [model.variant])}
    try:
        # A client that sleeps while it has nothing to do: what it takes is the second core's loss. At a low priority it would leave lanes without work.
        def run(server):
            command = ["h2load", "-D", str(bench.args.seconds), "-c", "4", "-m", "32", "-t", "1", "-d", str(body),
                       "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{server.address}{GRPC}"]
            text = subprocess.run(command, capture_output=True, text=True, check=True,
                                  preexec_fn=lambda: os.sched_setaffinity(0, both)).stdout
            return int(text.split(" succeeded")[0].split(",")[-1].split()[-1]) / bench.args.seconds

        results = bench.interleaved({n: (lambda s=s: run(s)) for n, s in servers.items()})
    finally:
        for s in servers.values():
            s.stop()
    ratios = [b / a for a, b in zip(results["one"], results["two"])]
    print(f"  one {spread(results['one'])}/s   two {spread(results['two'])}/s   ratio {spread(ratios, 2)}")
    bench.goal(f"{model.title}, two cores over one", median(ratios), 1.7, True)
    return {"one": median(results["one"]), "two": median(results["two"]), "ratio": median(ratios), "ratio_range": [min(ratios), max(ratios)]}


def open_load(bench):
    bench.sections["open"] = {m.title: under_open_load(bench, m) for m in models(bench)}


def under_open_load(bench, model):
    body, seconds = model.body(bench), model.stretch * bench.args.seconds
    print(f"\n{model.title}, open load (Poisson) over gRPC, one server core, µs from the intended sending time")
    rows = []
    with serve(bench, model.folder, {bench.server_core}, [model.variant]) as server:
        capacity = median([bench.tools.load(server, GRPC, body, in_flight=64)["rate"] for _ in range(3)])
        for i in range(bench.args.rounds):
            light = bench.tools.load(server, GRPC, body, rate=capacity * 0.05, seconds=seconds, seed=i + 1)
            busy = bench.tools.load(server, GRPC, body, rate=capacity * 0.7, connections=4, seconds=seconds, seed=i + 100)
            rows.append({"light_p50": light["p50_us"], "p50": busy["p50_us"], "p99": busy["p99_us"], "ratio": busy["p99_us"] / light["p50_us"],
                         "kept_waiting": 100 * busy["kept_waiting"], "client_kept_waiting": 100 * busy["client_kept_waiting"]})
    column = lambda key, of=rows: [r[key] for r in of]
    print(f"  capacity {capacity:,.0f}/s; at 5 %: p50 {spread(column('light_p50'))}; at 70 %: p50 {spread(column('p50'))}, p99 {spread(column('p99'))}; "
          f"p99 over light p50 {spread(column('ratio'), 2)}")
    # Whoever has to wait for a core is late by that, whatever it does: rounds in which that was next to nothing are told apart.
    print(f"  waited for a core that others had: server {spread(column('kept_waiting'), 1)} %, client {spread(column('client_kept_waiting'), 1)} %")
    calm = [r for r in rows if r["kept_waiting"] + r["client_kept_waiting"] < 1]
    if calm:
        print(f"  in the {len(calm)} of {len(rows)} rounds with less than 1 % of that: p99 {spread(column('p99', calm))}, over light p50 {spread(column('ratio', calm), 2)}")
    # The same arrivals before a server that is never interrupted and changes its batch size for nothing.
    times = {size: engine_loop(bench, model.folder, model.variant, size, bench.server_core) for size in model.sizes}
    each = max(0.0, 1e6 / capacity - min(us / size for size, us in times.items()))
    light_p50 = median(column("light_p50"))
    limits = ideal_queue.limits(times, each, light_p50 - times[1] - each, 0.7 * capacity)
    best = min(((p99, most) for most, (_, p99) in limits.items()), default=(float("inf"), 0))
    print(f"  an ideal queue with the engine's own times ({', '.join(f'{s}: {t:.0f} µs' for s, t in times.items())}) and {each:.0f} µs beside them: "
          f"p99 {best[0]:,.0f} with runs of at most {best[1]}, over light p50 {best[0] / light_p50:.2f}")
    bench.goal(f"{model.title}, open load at 70 %: p99 over the p50 at light load", median(column("ratio", calm or rows)), 3, False)
    return {"capacity": capacity, **{k: median(column(k)) for k in rows[0]}, "ratio_range": [min(column("ratio")), max(column("ratio"))],
            "calm_rounds": len(calm), "calm_ratio": median(column("ratio", calm)) if calm else None, "ideal_ratio": best[0] / light_p50}


def streams(bench):
    """The ASSIST-IoT stream of fall detection beside a stream of identity, and thousands of devices at their pace."""
    folder = bench.args.zoo / "fall-detection"
    if not folder.is_dir():
        print(f"\nFall detection is left out: {folder} does not exist (the integration tests build it)")
        return

    def load(server, kind, model, tensor, shape, connections, streams, in_flight, seconds, rate=0):
        command = [bench.build / "benchmarks" / "stream_load", server.address, kind, model, tensor, shape, connections, streams, in_flight, seconds, bench.load_core,
                   server.process.pid, rate]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"stream_load {kind}: {done.stderr.strip()} {done.stdout.strip()}")
        return json.loads(done.stdout)

    print("\nStreams over gRPC, 4 connections × 8 streams × 8 in flight, one server core")
    servers = {"identity": bench.verge(), "fall detection": bench.verge(folder)}
    try:
        forms = {"identity": ("infer", "identity", "INPUT0", "1,16"), "fall detection": ("assist", "fall-detection", "array", "9,3")}
        results = bench.interleaved({n: (lambda s=s, form=forms[n]: load(s, *form, 4, 8, 8, bench.args.seconds)) for n, s in servers.items()})
        paced = load(servers["fall detection"], *forms["fall detection"], 16, 160, 1, 5 * bench.args.seconds, 2)
    finally:
        for s in servers.values():
            s.stop()
    rates = {n: [r["rate"] for r in rows] for n, rows in results.items()}
    for n, rows in results.items():
        print(f"  {n:<16} {spread(rates[n])}/s   CPU {spread([r['server_us'] for r in rows], 2)} µs")
    ratios = [f / i for f, i in zip(rates["fall detection"], rates["identity"])]
    share = paced["over_50_ms"] / paced["answers"]
    print(f"  fall detection over identity {spread(ratios, 2)}; 16 × 160 streams × 2 a second: p50 {paced['p50_us']:.0f} µs, p99 {paced['p99_us']:.0f} µs, "
          f"{paced['over_50_ms']} of {paced['answers']} over 50 ms")
    bench.sections["streams"] = {"identity": median(rates["identity"]), "fall_detection": median(rates["fall detection"]), "ratio": median(ratios), "paced": paced}
    bench.goal("fall detection over the ASSIST-IoT stream, a second", median(rates["fall detection"]), 32_000, True)
    bench.goal("fall detection over the identity stream", median(ratios), 0.4, True)
    bench.goal("16 × 160 devices: share answered within 50 ms", 1 - share, 0.9999, True)


def overload(bench):
    bench.sections["overload"] = {m.title: at_five_times(bench, m) for m in models(bench)}


def at_five_times(bench, model):
    body = model.body(bench)
    print(f"\n{model.title} at 5 × its capacity, each request with a deadline of {model.deadline_ms} ms, one server core")
    rows = []
    measured = bench.args.seconds / (bench.args.seconds + 0.2)  # the CPU is that of the warm-up too
    with serve(bench, model.folder, {bench.server_core}, [model.variant]) as server:
        bench.tools.load(server, GRPC, body, in_flight=64)
        for i in range(bench.args.rounds):
            at_peak = bench.tools.load(server, GRPC, body, in_flight=64)
            peak = at_peak["rate"]
            before = harness.metrics(server.address)
            line = bench.tools.load(server, GRPC, body, allow_failures=True, rate=5 * peak, timeout_us=1000 * model.deadline_ms, connections=32, seed=i + 1)
            after = harness.metrics(server.address)
            change = lambda name, **labels: harness.total(after, name, **labels) - harness.total(before, name, **labels)
            rows.append({"peak": peak, "goodput": line["in_time"] / bench.args.seconds, "share": line["in_time"] / bench.args.seconds / peak,
                         "late": change("verge_late_runs_total"), "expired": change("verge_failures_total", reason="expired"),
                         "too_late_answers": line["ok"] - line["in_time"], "failures": line["failures"], "kept_waiting": 100 * line["kept_waiting"],
                         "cpu_us": measured * (line["cpu_us"] - at_peak["cpu_us"]) * line["ok"] / max(1, line["sent"] - line["ok"])})
    column = lambda key: [r[key] for r in rows]
    print(f"  peak {spread(column('peak'))}/s   answered in time {spread(column('goodput'))}/s   share {spread(column('share'), 3)}   "
          f"runs begun after their deadline {sum(column('late')):.0f}   expired unrun {spread(column('expired'))}   answered too late {spread(column('too_late_answers'))}\n"
          f"  CPU a refusal {spread(column('cpu_us'), 1)} µs; the server waited for a core that others had {spread(column('kept_waiting'), 1)} % of the time")
    bench.goal(f"{model.title}, 5 × overload: goodput over the peak", median(column("share")), 0.9, True)
    bench.goal(f"{model.title}, 5 × overload: runs begun after their deadline", sum(column("late")), 0, False)
    return {k: median(column(k)) for k in ("peak", "goodput", "share", "expired", "too_late_answers", "cpu_us", "kept_waiting")} | {
        "late_runs": sum(column("late")), "share_range": [min(column("share")), max(column("share"))], "last_failures": rows[-1]["failures"]}


SECTIONS = {"resnet8": resnet8, "log": log, "cores": cores, "open": open_load, "overload": overload, "streams": streams}
