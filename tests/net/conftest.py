"""Starts the data plane over EchoRuntime. BUILD folder: --build or VERGE_BUILD, default build/."""
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
    def __init__(self, *arguments):
        program = find_echo_server()
        if not program.exists():
            pytest.skip(f"skipped: no {program}; build the target net_echo_server")
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["address"]

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
