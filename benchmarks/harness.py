"""What the benchmarks share: servers pinned to cores, load on another, requests as bytes, medians with their spread."""
import json
import os
import pathlib
import platform
import re
import statistics
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def varint(v):
    out = b""
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def bytes_field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def model_infer(model, name, dtype, shape, data, variant=None):
    """A gRPC body: the prefix and a ModelInferRequest with one raw input."""
    tensor = bytes_field(1, name.encode()) + bytes_field(2, dtype.encode()) + bytes_field(3, b"".join(varint(d) for d in shape))
    message = bytes_field(1, model.encode())
    if variant:
        message += bytes_field(4, bytes_field(1, b"verge.variant") + bytes_field(2, bytes_field(3, variant.encode())))
    message += bytes_field(5, tensor) + bytes_field(7, data)
    return b"\0" + struct.pack(">I", len(message)) + message


def rest_binary(name, dtype, shape, data):
    """A REST body with binary data, and the length of its JSON."""
    head = json.dumps({"parameters": {"binary_data_output": True},
                       "inputs": [{"name": name, "datatype": dtype, "shape": shape, "parameters": {"binary_data_size": len(data)}}]},
                      separators=(",", ":")).encode()
    return head + data, len(head)


def rest_json(name, dtype, shape, values):
    return json.dumps({"inputs": [{"name": name, "datatype": dtype, "shape": shape, "data": values}]}, separators=(",", ":")).encode()


class Server:
    """A program that prints a JSON line with its address, on the given cores."""

    def __init__(self, command, cores, log=subprocess.DEVNULL):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{command[0]} did not start: exit code {self.process.wait(10)}")
        self.ready = json.loads(line)
        self.address = self.ready["address"]

    def scheduled(self):
        """(seconds that all its threads ran, seconds that they waited for a core that others had), in nanoseconds' resolution (/proc/PID/stat counts in hundredths
        of a second)."""
        ran = waited = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                fields = open(f"/proc/{self.process.pid}/task/{task}/schedstat").read().split()
            except FileNotFoundError:
                continue
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
        return ran / 1e9, waited / 1e9

    def cpu_seconds(self):
        return self.scheduled()[0]

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def verge(build, zoo, cores, *arguments, log=subprocess.DEVNULL):
    return Server([build / "verge", "serve", zoo, "--listen", "127.0.0.1:0", "--log-level", "warning", "--state-dir", build / "bench" / "state",
                   *arguments], cores, log)


def metrics(address):
    """The server's metrics, {series: value}."""
    import urllib.request

    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {m[1]: float(m[2]) for m in re.finditer(r"^([a-z][^ \n]*(?:\{.*\})?) ([-+0-9.eE]+)$", text, re.M)}


def total(series, name, **labels):
    """The sum over the series of that name whose labels include the given ones."""
    wanted = [f'{k}="{v}"' for k, v in labels.items()]
    return sum(v for k, v in series.items() if k.split("{")[0] == name and all(w in k for w in wanted))


def median(values):
    return statistics.median(values)


def spread(values, digits=0):
    return f"{median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    find = lambda key: (re.search(rf"^{key}\s*: (.*)$", info, re.M) or [None, "unknown"])[1]
    wanted = {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "hypervisor"}
    return {"cpu": find("model name"), "cores": os.cpu_count(), "flags": sorted(wanted & set(find("flags").split())), "kernel": platform.release(),
            "load_average_before": os.getloadavg()[0]}


class Tools:
    """The load programs, on one core, bodies in files."""

    def __init__(self, build, core, seconds, folder):
        self.build, self.core, self.seconds, self.folder = build, core, seconds, pathlib.Path(folder)
        self.files = 0

    def body(self, data):
        self.files += 1
        path = self.folder / f"body{self.files}"
        path.write_bytes(data)
        return path

    def h2load(self, server, path, body, streams, connections, http1=False, headers=()):
        """(requests a second, server's CPU microseconds a request)."""
        command = ["taskset", "-c", self.core, "h2load", "-D", self.seconds, "-c", connections, "-m", streams, "-t", 1, "-d", body]
        command += ["--h1"] if http1 else ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        for h in headers:
            command += ["-H", h]
        before = server.cpu_seconds()
        text = subprocess.run([str(c) for c in command + [f"http://{server.address}{path}"]], capture_output=True, text=True, check=True).stdout
        cpu = server.cpu_seconds() - before
        done, failed = (int(re.search(rf"(\d+) {word}", text).group(1)) for word in ("succeeded", "failed"))
        statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if failed or not done or any(int(statuses.group(i)) for i in (2, 3, 4)):
            raise SystemExit(f"{server.address}{path}: requests failed\n{text}")
        return done / self.seconds, cpu / done * 1e6

    def load(self, server, path, body, allow_failures=False, **options):
        """Our own client's line, with "cpu_us" of the server a request, and the shares of the time that the server and the client waited for their cores ("kept_waiting",
        "client_kept_waiting")."""
        command = [self.build / "benchmarks" / "load", "--address", server.address, "--path", path, "--body", body, "--core", self.core]
        headers = options.pop("headers", ())
        for name, value in {"seconds": self.seconds, **options}.items():
            command += ["--" + name.replace("_", "-"), value]
        for h in headers:
            command += ["--header", h]
        begun, before = time.monotonic(), server.scheduled()
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        took, after = time.monotonic() - begun, server.scheduled()
        cpu = after[0] - before[0]
        if done.returncode:
            raise SystemExit(f"load {path}: {done.stderr.strip()}")
        line = json.loads(done.stdout)
        if line["failures"] and not allow_failures:
            raise SystemExit(f"load {path}: {line['failures']}")
        line["cpu_us"] = cpu / max(1, line["ok"]) * 1e6
        line["kept_waiting"] = (after[1] - before[1]) / took
        return line
