"""Commands from standard input and events to file descriptor 3: JSON objects, one a line (docs/conversion-protocol.md)."""

import json
import os
import re
import sys

from verge_toolchain.errors import CommandError

EVENT_FD = 3
MAX_LINE = 16 << 20
MAX_TARGETS = 256
MAX_EXITS = 256

KINDS = ("saved_model", "keras", "h5", "onnx", "tflite", "openvino-ir")
FORMATS = ("openvino-ir", "onnx", "tflite", "saved_model", "edgetpu-tflite")
PRECISIONS = ("f32", "f16", "int8", "dynamic")
FORMS = ("", "unrolled", "loop")
BATCHES = (None, "first", "none")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


class Events:
    """The stream of events. A reader that went away ends the process: nobody wants the result any more."""

    def __init__(self, fd: int):
        self._fd = fd

    def emit(self, event: dict) -> None:
        data = (json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            os._exit(1)


def commands(stream=None):
    """Yields each line of standard input as an object, or as a CommandError where it is not one."""
    stream = stream or sys.stdin.buffer
    while True:
        line = stream.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield CommandError(f"a command is longer than {MAX_LINE} bytes")
            continue
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as e:
            yield CommandError(f"a command is not JSON: {e}")
            continue
        yield value if isinstance(value, dict) else CommandError("a command is not a JSON object")


def field(command: dict, name: str, kind, where: str, default=...):
    """A field of the given type (or types); `default` where it is absent, an error where there is no default."""
    value = command.get(name, default)
    if value is ...:
        raise CommandError(f"{where}: '{name}' is missing")
    if value is default or (isinstance(value, kind) and not (isinstance(value, bool) and kind is int)):
        return value
    raise CommandError(f"{where}: '{name}' has the wrong type")


def absolute_path(value: str, where: str) -> str:
    if not os.path.isabs(value) or "\0" in value:
        raise CommandError(f"{where}: '{value}' is not an absolute path")
    return value


def parse_target(value, index: int) -> dict:
    where = f"targets[{index}]"
    if not isinstance(value, dict):
        raise CommandError(f"{where} is not an object")
    target = {k: field(value, k, str, where) for k in ("id", "format", "precision")}
    target["form"] = field(value, "form", str, where, "")
    target["batches"] = field(value, "batches", list, where, [])
    if not _ID.fullmatch(target["id"]) or ".." in target["id"]:
        raise CommandError(f"{where}: 'id' must be of [a-z0-9._-]")
    for key, allowed in (("format", FORMATS), ("precision", PRECISIONS), ("form", FORMS)):
        if target[key] not in allowed:
            raise CommandError(f"{where}: '{key}' is '{target[key]}', expected one of {', '.join(repr(a) for a in allowed)}")
    if not all(isinstance(b, int) and not isinstance(b, bool) and 1 <= b <= 4096 for b in target["batches"]):
        raise CommandError(f"{where}: 'batches' must be integers from 1 to 4096")
    target["batches"] = sorted(set(target["batches"]))
    return target


def parse_targets(values: list) -> list[dict]:
    if len(values) > MAX_TARGETS:
        raise CommandError(f"{len(values)} targets, at most {MAX_TARGETS} are accepted")
    targets = [parse_target(v, i) for i, v in enumerate(values)]
    if len({t["id"] for t in targets}) != len(targets):
        raise CommandError("two targets share an id")
    return targets


def parse_exits(values: list) -> list[str]:
    if len(values) > MAX_EXITS or not all(isinstance(v, str) and 0 < len(v) <= 256 for v in values):
        raise CommandError(f"cut: 'exits' must be at most {MAX_EXITS} names of outputs")
    return values


def parse_samples(value: dict, name: str) -> dict[str, str] | None:
    files = field(value, name, (dict, type(None)), "samples", None)
    if files is None:
        return None
    if not all(isinstance(v, str) for v in files.values()):
        raise CommandError(f"samples.{name}: expected an object of paths")
    return {k: absolute_path(v, f"samples.{name}") for k, v in files.items()}
