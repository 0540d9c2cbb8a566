"""Attacks that go on for seconds, against one front that serves a good client too: what the server's memory grows by, what it ends, and how long
the good client waits. The short forms are in test_hostile.py."""
import http.client
import json
import pathlib
import resource
import subprocess
import sys
import time

import pytest

from hostile import resident
from tests.machine import waited_for_a_core

pytestmark = pytest.mark.long

HERE = pathlib.Path(__file__).parent
MIB = 1 << 20
BEFORE, DURING = 1.5, 4.0
# Attacker, good client and server share the machine's cores with whoever else uses it. What the client and the server waited for a core is taken off; a
# p99 below this still says more about the machine than about the server. For the same reason what takes too long gets further tries; everything else has
# to hold each time.
FLOOR_MS, TRIES = 5, 5
LONG_TURNS = 0.05  # share of the loop's turns that may take more than 5 ms, other than for want of a core
SHEDS = ("connections", "header_timeout", "body_timeout", "write_timeout", "reset_flood", "message_size", "receive_budget", "protocol_error", "header_size")


class GoodClient:
    def __init__(self, server):
        self.process = subprocess.Popen([sys.executable, HERE / "good_client.py", server.address, str(server.process.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def period(self):
        """Figures since the last one."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)


class Scene:
    """A server with a good client, and a connection for its metrics that was there before the attackers."""

    def __init__(self, server):
        self.server = server
        host, port = server.address.rsplit(":", 1)
        self.metrics = http.client.HTTPConnection(host, int(port), timeout=60)
        self.good = GoodClient(server)

    def figures(self):
        """What was shed, by reason; the loop's turns; those of them that took at most 5 ms."""
        self.metrics.request("GET", "/metrics")
        text = self.metrics.getresponse().read().decode()
        values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}
        sheds = {reason: int(values.get(f'verge_net_shed_total{{reason="{reason}"}}', 0)) for reason in SHEDS}
        return sheds, values['verge_net_turn_seconds_count{front="0"}'], values['verge_net_turn_seconds_bucket{front="0",le="0.005"}']

    def attack(self, name, growth):
        """Runs it; memory may grow by `growth` MiB. What the attack did, and what was shed meanwhile."""
        # A machine that stalls does so before an attack as well as during it, and not always: the least noisy attack against the noisiest wait for it.
        rows = []
        for _ in range(TRIES):
            did, sheds, row = self.run(name, growth)
            rows.append(row)
            allowed = max(FLOOR_MS, 3 * max(r["p99 before"] for r in rows))
            if min(r["p99 during"] for r in rows) <= allowed and min(r["long turns"] for r in rows) <= LONG_TURNS:
                return did, sheds
        pytest.fail(f"slow each time: {rows}")

    def run(self, name, growth):
        self.good.period()
        time.sleep(BEFORE)
        before, (sheds_before, turns_before, short_before), memory_before = self.good.period(), self.figures(), resident(self.server)
        waited_before = waited_for_a_core(self.server.process.pid, "front-")
        attacker = subprocess.Popen([sys.executable, HERE / "attacks.py", name, self.server.address, str(DURING)], stdout=subprocess.PIPE, text=True)
        most = memory_before
        try:
            end = time.monotonic() + DURING + 60
            while attacker.poll() is None:
                assert time.monotonic() < end, "the attack does not end"
                most = max(most, resident(self.server))
                time.sleep(0.05)
            did = json.loads(attacker.stdout.read())
        finally:
            attacker.kill()
            attacker.wait()
        during = self.good.period()
        sheds, turns, short = self.figures()
        sheds = {k: v - sheds_before[k] for k, v in sheds.items() if v > sheds_before[k]}
        waited = waited_for_a_core(self.server.process.pid, "front-") - waited_before
        # Each of the long turns that are for want of a core took part of that time.
        long_turns = max(0, turns - turns_before - (short - short_before) - waited / 0.005) / (turns - turns_before)
        row = {"attack": name, "did": did, "shed": sheds, "MiB": round((most - memory_before) / MIB, 1), "bound": growth,
               "p99 before": round(before["p99"], 2), "p99 during": round(during["p99"], 2), "max": round(during["max"], 1), "requests": during["requests"], "long turns": round(long_turns, 4)}
        ROWS.append(row)
        assert before["requests"] > 20 and during["requests"] > 50, row
        assert before["failed"] == during["failed"] == 0, row
        assert row["MiB"] <= growth, row
        return did, sheds, row


ROWS = []


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    print(f"\n{'attack':20}{'MiB':>7}{'bound':>7}{'p99 before':>12}{'during':>9}{'max ms':>8}{'requests':>10}{'> 5 ms':>8}  what was done; what was shed")
    for r in ROWS:
        told = ", ".join(f"{k} {v}" for k, v in r["did"].items()) + "; " + (", ".join(f"{k} {v}" for k, v in r["shed"].items()) or "nothing")
        print(f"{r['attack']:20}{r['MiB']:7.1f}{r['bound']:7}{r['p99 before']:12.2f}{r['p99 during']:9.2f}{r['max']:8.1f}{r['requests']:10}{r['long turns']:8.2%}  {told}")


@pytest.fixture
def scene(echo_server_with):
    made = Scene(echo_server_with("--header-timeout", "2", "--body-timeout", "2", "--write-timeout", "2", "--max-connections", "10002"))
    yield made
    made.good.stop()
    made.metrics.close()


def test_slow_loris(scene):
    """Every one of them is ended by the header timeout, however it drips."""
    did, shed = scene.attack("slow_loris", 32)
    assert did["connections"] == did["ended"] == shed["header_timeout"] == 2000


def test_rapid_reset(scene):
    """Every connection is ended by its rate of cheap frames."""
    did, shed = scene.attack("rapid_reset", 32)
    assert did["ended"] >= 1
    assert did["ended"] <= shed["reset_flood"] <= did["connections"]


@pytest.mark.parametrize("form", ["continuation", "empty_continuation"])
def test_continuation_flood(scene, form):
    """A header block has its limits: connections are ended within their first kilobytes, and nothing is kept."""
    did, shed = scene.attack(form, 16)
    assert did["ended"] >= did["connections"] - 1 and did["ended"] >= 1


def test_window_starvation(scene):
    """Answers that are taken by the byte are given up with their connection, by the write timeout."""
    did, shed = scene.attack("starvation", 64)
    assert did["connections"] == did["ended"] == shed["write_timeout"] == 20


def test_declared_gigabytes(scene):
    """Each is refused at its declaration, before memory is taken."""
    did, shed = scene.attack("declared", 16)
    assert did["posts"] == did["refused"] >= 5
    assert shed["message_size"] == did["calls"] + did["posts"]


def test_declared_bodies_that_never_come(scene):
    """What is declared is reserved, not touched; beyond the receive budget it is refused; the body timeout gives it back."""
    did, shed = scene.attack("half_budget", 16)
    assert did["held"] == did["ended"] == shed["body_timeout"] == 1
    assert did["refused"] == shed["receive_budget"] == 49


def test_ten_thousand_connections(scene):
    """All stand beside the good client (and the one for metrics); those beyond the limit are closed at once."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 10_500:
        pytest.skip(f"skipped: open files are limited to {hard} (ulimit -Hn), and 10,500 are needed")
    resource.prlimit(scene.server.process.pid, resource.RLIMIT_NOFILE, (10_500, hard))
    did, shed = scene.attack("many_connections", 240)  # 24 KiB a connection that speaks HTTP/2
    assert did["connections"] == 10_000 and did["ended"] == 0
    assert did["refused"] == shed["connections"] == 100
