"""The process's manners: bad commands, dying, the end of its input. None of this imports a converter's library."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from conftest import ROOT, Process, target
from verge_toolchain import protocol
from verge_toolchain.errors import CommandError, LeftOut, cause, one_sentence


@pytest.mark.parametrize(
    "line, said",
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100000, "not JSON"),
        (b"{}", "'cmd' is missing"),
        (b'{"cmd":"melt"}', "unknown command"),
        (b'{"cmd":"inspect"}', "'source' is missing"),
        (b'{"cmd":"inspect","source":"relative","kind":"onnx","work":"/tmp"}', "not an absolute path"),
        (b'{"cmd":"inspect","source":"/","kind":"pickle","work":"/tmp"}', "'kind' is 'pickle'"),
        (b'{"cmd":"inspect","source":"/no/such","kind":"onnx","work":"/tmp"}', "does not exist"),
        (b'{"cmd":"inspect","source":7,"kind":"onnx","work":"/tmp"}', "wrong type"),
        (b'{"cmd":"convert","targets":[],"samples":{}}', "no source was inspected"),
    ],
)
def test_bad_commands_are_answered_and_survived(fresh, line, said):
    fresh.send(line)
    event = fresh.event()
    assert event["event"] == "error" and said in event["reason"]
    fresh.send(b'{"cmd":"melt"}')
    assert fresh.event()["event"] == "error"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"id": "../up"}, "'id'"),
        ({"id": "a..b"}, "'id'"),
        ({"format": "exe"}, "'format'"),
        ({"precision": "f8"}, "'precision'"),
        ({"form": "twisted"}, "'form'"),
        ({"batches": [0]}, "'batches'"),
        ({"batches": [True]}, "'batches'"),
        ({"batches": 4}, "wrong type"),
    ],
)
def test_bad_targets(change, said):
    with pytest.raises(CommandError, match=said):
        protocol.parse_target(target("onnx", "f32") | change, 0)


def test_targets_with_one_id():
    with pytest.raises(CommandError, match="share an id"):
        protocol.parse_targets([target("onnx", "f32")] * 2)


def test_without_the_event_pipe_it_says_how_it_is_run():
    done = subprocess.run(
        [sys.executable, "-m", "verge_toolchain"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT / "python"))
    )
    assert done.returncode == 2 and "file descriptor 3" in done.stderr


def test_inspecting_onnx_imports_no_tensorflow(fresh, made):
    assert fresh.inspect(made("multi_io.onnx"), "onnx")["event"] == "inspected"
    maps = pathlib.Path(f"/proc/{fresh.process.pid}/maps").read_text()
    assert "tensorflow" not in maps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dies_promptly_with_its_children(tmp_path, made, number):
    process = Process(tmp_path)
    process.inspect(made("multi_io.onnx"), "onnx")
    process.process.send_signal(number)
    assert process.process.wait(timeout=5) == -number
    assert sorted(p.name for p in tmp_path.iterdir()) == ["logs", "stdout.log"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("Exception from src/core.cpp:84:\nCheck 'it != end' failed at src/utils.cpp:95:\nFrontEnd API failed with GeneralFailure:\nUnexpected type: VARIANT\n", "Unexpected type: VARIANT"),
        (
            "<unknown>:0: error: loc(callsite(fused[\"A:\", \"b@c\"] at fused[\"D\"])): 'tf.X' op requires a static shape\n<unknown>:0: note: loc(x): called from",
            "'tf.X' op requires a static shape",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : Load model failed", "Load model failed"),
        ("", "no message"),
    ],
)
def test_causes_are_sentences(text, said):
    assert one_sentence(text) == said


def test_causes_are_bounded():
    assert len(one_sentence("word " * 1000)) <= 300
    assert cause(KeyError("x")).startswith("KeyError")
    assert cause(LeftOut("no samples")) == "no samples"


def crash(report):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(report):
    signal.pause()


def grow(report):
    bytearray(3 << 30)


def vanish(report):
    os._exit(7)


@pytest.mark.parametrize("function, said", [(crash, "SIGSEGV"), (hang, "stopped after 0.2 s"), (grow, "memory"), (vanish, "exit code 7")])
def test_a_child_cannot_take_the_process_with_it(tmp_path, function, said):
    from verge_toolchain import children

    outcome = children.run(function, log=str(tmp_path / "log"), memory=2 << 30, time_limit=0.2 if function is hang else 30)
    assert outcome.status == "failed" and said in outcome.reason


def test_events_of_a_child_arrive_in_order(tmp_path):
    from verge_toolchain import children

    def count(report):
        print("noise on standard output")
        for i in range(100):
            report({"i": i})
        return {"done": True}

    seen = []
    outcome = children.run(count, log=str(tmp_path / "log"), memory=2 << 30, progress=seen.append)
    assert outcome.status == "ok" and outcome.value == {"done": True}
    assert [e["i"] for e in seen] == list(range(100))
    assert "noise" in (tmp_path / "log").read_text()
    assert json.dumps(outcome.value)
