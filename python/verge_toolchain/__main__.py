"""The process: reads commands, runs each step in a child, emits events."""

from __future__ import annotations

import os
import shutil
import signal
import sys

from verge_toolchain import children, native_paths, protocol, reference, sources
from verge_toolchain.converters import convert
from verge_toolchain.errors import CommandError
from verge_toolchain.signature import with_batch

INSPECT_LIMIT_S = 300.0
CUT_LIMIT_S = 600.0
REFERENCE_LIMIT_S = 3600.0
NATIVE_PATHS_LIMIT_S = 120.0
CONVERT_LIMIT_S = 900.0
# Written in the work folder, beside the samples that the caller keeps there.
OWN_FOLDERS = ("artifacts", "logs", "network", "networks", "reference", "scratch")


class Session:
    """What one `inspect` found, for the `convert` that follows."""

    def __init__(self, events: protocol.Events):
        self._emit = events.emit
        self._source: dict | None = None
        self._work = ""
        self._memory = 0

    def run(self, command: dict) -> None:
        name = protocol.field(command, "cmd", str, "command")
        if name == "inspect":
            self._inspect(command)
        elif name == "cut":
            self._cut(command)
        elif name == "convert":
            self._convert(command)
        else:
            raise CommandError(f"unknown command '{name[:64]}'; expected 'inspect', 'cut' or 'convert'")

    def _source_of(self, command: dict, where: str) -> tuple[str, str, str | None, str]:
        """(kind, path, signature, work folder) that a command names."""
        path = protocol.absolute_path(protocol.field(command, "source", str, where), where)
        kind = protocol.field(command, "kind", str, where)
        signature = protocol.field(command, "signature", (str, type(None)), where, None)
        work = protocol.absolute_path(protocol.field(command, "work", str, where), where)
        if kind not in protocol.KINDS:
            raise CommandError(f"{where}: 'kind' is '{kind[:64]}', expected one of {', '.join(protocol.KINDS)}")
        if not os.path.exists(path):
            raise CommandError(f"{where}: '{path}' does not exist")
        os.makedirs(work, exist_ok=True)
        return kind, path, signature or None, work

    def _child(self, function, *args, log: str, progress=None, time_limit: float):
        return children.run(function, *args, log=self._log(log), memory=self._memory, progress=progress, time_limit=time_limit)

    def _log(self, name: str) -> str:
        return os.path.join(self._work, "logs", f"{name}.log")

    def _inspect(self, command: dict) -> None:
        kind, path, signature, work = self._source_of(command, "inspect")
        batch = protocol.field(command, "batch", (str, type(None)), "inspect", None)
        if batch not in protocol.BATCHES:
            raise CommandError(f"inspect: 'batch' is '{batch[:64]}', expected 'first', 'none' or nothing")
        for name in OWN_FOLDERS:  # what an earlier source left in the same work folder
            shutil.rmtree(os.path.join(work, name), ignore_errors=True)
        self._source, self._work = None, work
        self._memory = children.memory_limit(children.tree_bytes(path))
        sources.preload(kind)
        outcome = self._child(_inspect, kind, path, signature, batch, work, log="inspect", time_limit=INSPECT_LIMIT_S)
        if outcome.status == "ok":
            self._source = outcome.value
            self._emit(sources.Inspected.from_json(outcome.value).event())
        elif outcome.status == "error":
            raise CommandError(outcome.reason)
        else:
            reason = outcome.reason if outcome.status == "refused" else f"the source cannot be read: {outcome.reason}"
            self._emit({"event": "refused", "reason": reason})

    def _cut(self, command: dict) -> None:
        """Leaves what was inspected as it is."""
        kind, path, signature, work = self._source_of(command, "cut")
        exits = protocol.parse_exits(protocol.field(command, "exits", list, "cut"))
        sources.preload(kind)
        memory = children.memory_limit(children.tree_bytes(path))
        log = os.path.join(work, "cut.log")
        outcome = children.run(_cut, kind, path, signature, work, exits, log=log, memory=memory, time_limit=CUT_LIMIT_S)
        if outcome.status == "ok":
            self._emit({"event": "stages", **outcome.value})
        elif outcome.status == "error":
            raise CommandError(outcome.reason)
        else:
            reason = outcome.reason if outcome.status == "refused" else f"the network cannot be cut: {outcome.reason}"
            self._emit({"event": "refused", "reason": reason})

    def _convert(self, command: dict) -> None:
        if self._source is None:
            raise CommandError("convert: no source was inspected")
        targets = protocol.parse_targets(protocol.field(command, "targets", list, "convert"))
        samples = protocol.field(command, "samples", dict, "convert")
        files = {k: protocol.parse_samples(samples, k) for k in ("calibration", "golden", "evaluation")}
        if not files["golden"]:
            raise CommandError("convert: samples.golden is missing")
        self._reference(files, protocol.field(command, "reference_calibration", bool, "convert", False))
        if protocol.field(command, "native_paths", bool, "convert", False):
            self._native_paths(files["golden"])
        for target in targets:
            self._target(target, files["calibration"])
        self._emit({"event": "done"})

    def _reference(self, files: dict, calibration: bool) -> None:
        def progress(message: dict) -> None:
            self._emit({"event": "progress", "target": "reference", **message})

        outcome = self._child(reference.run, self._source, files, calibration, log="reference", progress=progress, time_limit=REFERENCE_LIMIT_S)
        if outcome.status != "ok":
            raise CommandError(f"the reference's outputs could not be computed: {outcome.reason}")
        self._emit({"event": "reference", **outcome.value})

    def _native_paths(self, golden: dict) -> None:
        def measured(message: dict) -> None:
            self._emit({"event": "native_path", **message})

        self._child(native_paths.run, self._source, golden, log="native_paths", progress=measured, time_limit=NATIVE_PATHS_LIMIT_S)

    def _target(self, target: dict, calibration: dict | None) -> None:
        name = target["id"]

        def progress(message: dict) -> None:
            self._emit({"event": "progress", "target": name, **message})

        outcome = self._child(convert, self._source, target, calibration, log=name, progress=progress, time_limit=CONVERT_LIMIT_S)
        event = {"event": "artifact", "target": name, "status": outcome.status}
        if outcome.status == "ok":
            event |= {**outcome.value, "seconds": outcome.seconds}
        elif outcome.status == "left out":
            event |= {"reason": outcome.reason}
        else:
            event |= {"status": "failed", "reason": outcome.reason, "log": self._log(name), "seconds": outcome.seconds}
        self._emit(event)


def _inspect(kind: str, path: str, signature: str | None, batch: str | None, work: str, report) -> dict:
    found = sources.module(kind).inspect(path, signature, work, report)
    found.signature = with_batch(found.signature, batch)
    return found.json()


def _cut(*args) -> dict:
    from verge_toolchain.graph import cut

    return cut.run(*args)


def main() -> int:
    # Prompt death by Ctrl-C and SIGTERM: nothing here outlives the process but the work folder, and children die with their parent.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        os.fstat(protocol.EVENT_FD)
    except OSError:
        print("verge_toolchain: file descriptor 3 is not open; `verge build` runs this program (docs/conversion-protocol.md)", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    sys.modules["openvino_telemetry"] = None  # OpenVINO and NNCF report usage over the network where they find it
    events = protocol.Events(protocol.EVENT_FD)
    session = Session(events)
    for command in protocol.commands():
        try:
            if isinstance(command, CommandError):
                raise command
            session.run(command)
        except CommandError as e:
            events.emit({"event": "error", "reason": str(e)})
        except OSError as e:
            events.emit({"event": "error", "reason": f"{e.strerror or e}: {e.filename}" if e.filename else str(e)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
