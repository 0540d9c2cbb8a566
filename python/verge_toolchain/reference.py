"""The reference's outputs on golden, evaluation and, if asked for, calibration samples. Runs in a child process."""

import os

from verge_toolchain import sources
from verge_toolchain.samples import Samples, run_all


def run(source: dict, files: dict, calibration: bool, report) -> dict:
    inspected = sources.Inspected.from_json(source)
    folder = os.path.join(inspected.work, "reference")
    call = sources.module(inspected.kind).reference(inspected)
    result = {"golden": None, "evaluation": None, **({"calibration": None} if calibration else {})}
    for name in result:
        if not files.get(name):
            continue
        samples = Samples(files[name], inspected.signature, name)
        shown = -1

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if done * 10 // total > shown:
                shown = done * 10 // total
                report({"step": f"reference outputs, {name} {done}/{total}"})

        result[name] = run_all(call, samples, folder, f"ref_{name}", progress if samples.count >= 1000 else None)
    return result
