"""Who may reach `verge serve`: listeners of several kinds, certificates that are replaced while it runs."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import stat
import subprocess
import sys

import pytest

from tests.conftest import ROOT, VERGE

sys.path.insert(0, str(ROOT / "tests" / "net"))
from certificates import Authority  # noqa: E402


class Secured:
    """`verge serve --config` with an empty zoo; its log lines are JSON and can be waited for."""

    def __init__(self, folder, config):
        (folder / "zoo").mkdir(exist_ok=True)
        (folder / "server.yaml").write_text("zoo: zoo\nlog: {format: json}\n" + config)
        self.process = subprocess.Popen([str(VERGE), "serve", "--config", str(folder / "server.yaml")],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.ready = json.loads(line) if line else None
        self.listeners = self.ready["listeners"] if line else []

    def wait_for(self, event):
        for line in self.process.stderr:
            told = json.loads(line)
            if told["event"] == event:
                return told
        pytest.fail(f"the server ended without {event}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        assert self.process.wait(30) == 0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def status(connection, path, **headers):
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_listeners_and_replaced_certificates(tmp_path):
    authority = Authority(tmp_path)
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    authority.sign("server")
    second = authority.sign("second", common_name="second")
    path = tmp_path / "management.sock"
    with Secured(tmp_path, f"""
listeners:
  - {{address: '127.0.0.1:0', tls: true}}
  - {{address: 'unix:{path}', role: management, mode: 0600}}
tls: {{certificate: server.pem, key: server.key}}
""") as server:
        assert [(x["role"], x["tls"]) for x in server.listeners] == [("inference", True), ("management", False)]
        assert server.ready["address"] == server.listeners[0]["address"]
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
        host, port = server.ready["address"].split(":")
        context = ssl.create_default_context(cafile=authority.file)

        def secure():
            return http.client.HTTPSConnection(host, int(port), context=context, timeout=10)

        def subject():
            connection = secure()
            connection.connect()
            names = dict(x[0] for x in connection.sock.getpeercert()["subject"])
            connection.close()
            return names["commonName"]

        assert status(secure(), "/v2/health/ready") == 200
        assert status(secure(), "/metrics") == 403
        assert status(UnixConnection(str(path)), "/metrics") == 200
        assert subject() == "localhost"
        open_one = secure()
        open_one.connect()
        shutil.copy(second[1], tmp_path / "new.key")
        shutil.copy(second[0], tmp_path / "new.pem")
        os.rename(tmp_path / "new.key", key)
        os.rename(tmp_path / "new.pem", cert)
        assert server.wait_for("certificates_loaded")["valid_until"] > 0
        assert subject() == "second"
        cert.write_text("nothing")
        assert str(cert) in server.wait_for("certificates_kept")["reason"]
        assert subject() == "second"
        assert status(open_one, "/v2/health/live") == 200, "what was open stays"
    assert not pathlib.Path(path).exists()


def test_a_bad_certificate_is_named_at_the_start(tmp_path):
    config = tmp_path / "server.yaml"
    (tmp_path / "zoo").mkdir()
    config.write_text("zoo: zoo\nlisteners: [{address: '127.0.0.1:0', tls: true}]\ntls: {certificate: none.pem, key: none.key}\n")
    done = subprocess.run([str(VERGE), "serve", "--config", str(config)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert str(tmp_path / "none.pem") in done.stderr
