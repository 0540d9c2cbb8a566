"""Starts the data plane over EchoRuntime. BUILD folder: --build or VERGE_BUILD, default build/."""
import http.client
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_echo_server():
    folder = pathlib.Path(os.environ.get("VERGE_BUILD", ROOT / "build"))
    return folder / "tests" / "net_echo_server"


class EchoServer:
    def __init__(self, *arguments, env=None):
        program = find_echo_server()
        if not program.exists():
            pytest.skip(f"skipped: no {program}; build the target net_echo_server")
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env and os.environ | env)
        told = json.loads(self.process.stdout.readline())
        self.address = told["address"]
        self.listeners = told["listeners"]

    def reload(self):
        """Has it read its certificates again; returns the error's text, empty where there is none."""
        self.process.stdin.write("reload\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["error"]

    def metric(self, name):
        """A sample of /metrics by its name with labels; 0 where it is absent."""
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " "))

    def stop(self):
        self.process.stdin.close()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def echo_server():
    server = EchoServer("--fronts", "2")
    yield server
    assert server.stop() == 0


@pytest.fixture
def echo_server_with():
    servers = []

    def make(*arguments):
        servers.append(EchoServer(*arguments))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
