"""What the machine did to a benchmark while it ran: how long threads were ready and had no core, and which late answers that explains."""
import bisect
import os
import pathlib
import threading
import time


def tasks(pid):
    return [pathlib.Path(f"/proc/{pid}/task/{t}/schedstat") for t in os.listdir(f"/proc/{pid}/task")]


def stolen(core):
    """Seconds that a hypervisor gave to others while the core had something to run; counted in hundredths."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            return int(line.split()[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Watch:
    """Samples, every few ms, how long the threads of a server and of its client have waited for a core in all. Use it as a context around the client's run; `client` is set once that has begun."""

    def __init__(self, server, cores, every=0.005):
        self.pids, self.every, self.cores = {"server": server}, every, cores
        self.seen = {"server": ([], []), "client": ([], [])}  # (times, seconds waited until then)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def client(self, pid):
        self.pids["client"] = pid

    def look(self):
        files, found = {}, {}
        while not self.over.is_set():
            for who, pid in list(self.pids.items()):
                try:
                    # Threads come and go when a program starts; later they stay.
                    if who not in files or time.monotonic() - found[who] > 0.5:
                        for f in files.get(who, []):
                            os.close(f)
                        files[who], found[who] = [os.open(t, os.O_RDONLY) for t in tasks(pid)], time.monotonic()
                    waited = sum(int(os.pread(f, 100, 0).split()[1]) for f in files[who]) / 1e9
                except (FileNotFoundError, ProcessLookupError, IndexError):
                    continue
                self.seen[who][0].append(time.monotonic())
                self.seen[who][1].append(waited)
            self.over.wait(self.every)
        for opened in files.values():
            for f in opened:
                os.close(f)

    def __enter__(self):
        self.steal = sum(stolen(c) for c in self.cores)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.steal = sum(stolen(c) for c in self.cores) - self.steal

    def waited(self, who, begin, end):
        """Seconds that the threads of one of them waited for a core from `begin` to `end`, of the monotonic clock, to the samples around them."""
        times, sums = self.seen[who]
        if len(times) < 2:
            return 0.0
        first, last = max(bisect.bisect_right(times, begin) - 1, 0), min(bisect.bisect_left(times, end), len(times) - 1)
        return max(sums[last] - sums[first], 0.0)

    def longest(self, who):
        """The most between two samples: of 5 ms, so longer waits stand in the sum of several."""
        sums = self.seen[who][1]
        best = run = 0.0
        for a, b in zip(sums, sums[1:]):
            run = run + b - a if b - a > 0.6 * self.every else b - a
            best = max(best, run)
        return best


def explain(watch, result):
    """Of the late answers of a live run {what took at least half of the time that they were late: how many}, and the worst of them in words."""
    causes, worst = {}, []
    origin = result["settings"]["measured_from_s"]
    for part in result["tenants"]:
        for line in part.get("late", {}).get("first", []):
            at, client_wait, took, in_server = map(float, line.split())
            over = took - part["deadline_ms"]
            begin, end = origin + at, origin + at + took / 1e3
            server, client = (1e3 * watch.waited(who, begin, end) for who in ("server", "client"))
            if server >= over / 2:
                cause = "the server's thread was ready and had no core"
            elif client >= over / 2:
                cause = "the client's thread was ready and had no core"
            elif client_wait >= over / 2:
                cause = "the client sent it late"
            else:
                cause = "none of these"
            causes[cause] = causes.get(cause, 0) + 1
            worst.append((took / part["deadline_ms"], f"{part['name']} at {at:.3f} s: {took:.3g} ms of {part['deadline_ms']:.3g} ms; sent {client_wait:.3g} ms late; in that time the server waited {server:.3g} ms "
                          f"for a core, the client {client:.3g} ms: {cause}"))
    return causes, [text for _, text in sorted(worst, reverse=True)]
