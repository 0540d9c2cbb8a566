"""What the machine itself does while something is measured on it, so that a time bound is about the program and not about who else has the cores."""
import json
import os
import pathlib
import subprocess
import sys
import time

PROBE_SECONDS = 0.002


def waited_for_a_core(pid, threads=""):
    """Seconds that the process's threads (those whose names begin so) were ready to run while others had the cores, as the kernel counts them."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "comm").read_text().startswith(threads):
                total += int((task / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    return total / 1e9


class Stalls:
    """Runs a probe on each core meanwhile, which sleeps for two milliseconds again and again; afterwards `seconds` is what it overslept in all, in pieces of
    at least `least`. A program that was not run in such a moment could not answer either."""

    def __init__(self, least=0.01):
        self.least = least

    def __enter__(self):
        self.probes = [subprocess.Popen([sys.executable, __file__, str(core), str(self.least)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                       for core in os.sched_getaffinity(0)]
        for p in self.probes:
            assert p.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        for p in self.probes:
            p.stdin.close()
        pieces = [json.loads(p.stdout.readline()) for p in self.probes]
        for p in self.probes:
            p.wait(60)
        self.pieces = sorted(sum(pieces, []), reverse=True)
        self.seconds = sum(self.pieces)


def probe(core, least):
    import threading
    os.sched_setaffinity(0, {core})
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("ready", flush=True)
    over = []
    while not ended.is_set():
        begun = time.monotonic()
        time.sleep(PROBE_SECONDS)
        late = time.monotonic() - begun - PROBE_SECONDS
        if late >= least:
            over.append(round(late, 4))
    print(json.dumps(over), flush=True)


if __name__ == "__main__":
    probe(int(sys.argv[1]), float(sys.argv[2]))
