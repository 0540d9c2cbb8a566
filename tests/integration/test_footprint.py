"""What Verge costs by itself: binary, idle server, start-up."""

import os
import pathlib
import shutil
import subprocess
import time

from tests.conftest import ROOT, Server

MIB = 1 << 20


def test_stripped_binary_and_plugins_are_small(tmp_path):
    total = 0
    for file in [ROOT / "build/verge", *sorted((ROOT / "build/plugins").glob("*.so"))]:
        copy = tmp_path / file.name
        shutil.copy(file, copy)
        subprocess.run(["strip", copy], check=True)
        total += copy.stat().st_size
    assert total <= 20 * MIB, total


def test_an_idle_server_is_ready_at_once_and_small(tmp_path):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    seconds = []
    while len(seconds) < 3 or min(seconds) > 0.3 and len(seconds) < 20:  # others use the machine too
        start = time.monotonic()
        with Server(zoo) as server:
            seconds.append(time.monotonic() - start)
            resident = server.resident_bytes()
            maps = pathlib.Path(f"/proc/{server.pid}/maps").read_text()
            assert server.stop() == 0
        assert resident <= 30 * MIB, resident
        for library in ("libtensorflow", "libopenvino", "libonnxruntime", "libLiteRt"):
            assert library not in maps, f"{library} is mapped by a server that serves nothing"
    assert min(seconds) <= 0.3, seconds


def test_all_four_engine_libraries_are_installed_here():
    """The bar above means something only where they are."""
    import json
    done = subprocess.run([ROOT / "build/verge", "engines", "--json"], capture_output=True, text=True, check=True)
    available = {e["name"] for e in json.loads(done.stdout) if e["available"]}
    assert available >= {"openvino", "onnxruntime", "litert", "tensorflow", "identity"}, done.stdout
