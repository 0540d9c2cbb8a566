"""Converters: one function a (source family, target format), registered in the table below.

convert(job) -> Artifact runs in a child process. It raises LeftOut where the target makes no sense for the source, anything else where the
conversion failed. It never repairs what a library wrote: the engine that will serve the artifact judges it.
"""

from __future__ import annotations

import dataclasses
import importlib
import os

from verge_toolchain.errors import CommandError, LeftOut
from verge_toolchain.samples import Samples
from verge_toolchain.sources import Inspected

# (family of the source, format of the target) -> "module:function"
_CONVERTERS = {
    ("tensorflow", "saved_model"): "saved_model:convert",
    ("tensorflow", "openvino-ir"): "openvino_ir:from_tensorflow",
    ("tensorflow", "onnx"): "onnx:from_tensorflow",
    ("tensorflow", "tflite"): "tflite:from_tensorflow",
    ("tensorflow", "edgetpu-tflite"): "tflite:edgetpu_from_tensorflow",
    ("onnx", "onnx"): "onnx:from_onnx",
    ("onnx", "openvino-ir"): "openvino_ir:from_file",
    ("tflite", "tflite"): "tflite_requantize:from_tflite",
    ("tflite", "openvino-ir"): "openvino_ir:from_file",
    ("tflite", "onnx"): "onnx:from_tflite",
    ("openvino-ir", "openvino-ir"): "openvino_ir:from_file",
}


@dataclasses.dataclass
class Artifact:
    files: list[dict]  # {"dir", "entry", "batch"}
    format: str
    converter: str
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def json(self) -> dict:
        return dataclasses.asdict(self)


@dataclasses.dataclass
class Job:
    """One target. `step` tells what is being done."""

    source: Inspected
    target: dict
    calibration_files: dict | None
    report: object

    def step(self, text: str) -> None:
        self.report({"step": text})

    @property
    def precision(self) -> str:
        return self.target["precision"]

    @property
    def form(self) -> str:
        return self.target["form"]

    def folder(self, name: str = "") -> str:
        """A folder for the artifact's files, made here."""
        path = os.path.join(self.source.work, "artifacts", self.target["id"], name) if name else os.path.join(self.source.work, "artifacts", self.target["id"])
        os.makedirs(path, exist_ok=True)
        return path

    def batches(self) -> list[int]:
        """Batch sizes of a format whose files have a fixed one; 0 where the network has no batch."""
        if self.source.signature.fixed_batch:
            return [self.source.signature.fixed_batch]
        if not self.source.signature.batched():
            return [0]
        return self.target["batches"] or [1]

    @property
    def as_it_is(self) -> bool:
        """Whether the source has this precision already, so that its weights are taken over as they are."""
        return self.source.family != "tensorflow" and self.precision == self.source.precision

    def calibration(self) -> Samples | None:
        """The calibration samples where this target is quantised with them. Without samples there is no static quantisation."""
        if self.precision != "int8" or self.as_it_is:
            return None
        if not self.calibration_files:
            raise LeftOut("no calibration data: a static int8 variant needs real samples (data.calibration in model.yaml)")
        if not any(t.dtype == "FP32" for t in self.source.signature.inputs):
            raise LeftOut("no input of the network is FP32, so there is nothing to calibrate")
        return Samples(self.calibration_files, self.source.signature, "calibration")

    def only(self, *precisions: str) -> None:
        """What the converter can make, beside what the source is already."""
        if self.precision not in precisions and not self.as_it_is:
            raise LeftOut(f"{self.target['format']} has no {self.precision} form in this tool chain")


def check_form(job: Job) -> None:
    if job.form and not job.source.has_loop:
        raise LeftOut(f"the graph has no loop, so there is no {job.form} form of it")
    if job.form == "unrolled" and job.source.family != "tensorflow":
        raise LeftOut(f"loops of {job.source.kind} files are not unrolled; build the TensorFlow model")


def check_precision(job: Job) -> None:
    if job.source.precision != "f32" and not job.as_it_is:
        raise LeftOut(f"the source's weights are {job.source.precision} already; other precisions need the float original")


def convert(source_json: dict, target: dict, calibration_files: dict | None, report) -> dict:
    """Runs in a child process."""
    job = Job(Inspected.from_json(source_json), target, calibration_files, report)
    entry = _CONVERTERS.get((job.source.family, target["format"]))
    if entry is None:
        raise LeftOut(f"there is no converter from {job.source.kind} to {target['format']} in this tool chain")
    check_form(job)
    check_precision(job)
    module, function = entry.split(":")
    artifact = getattr(importlib.import_module(f"verge_toolchain.converters.{module}"), function)(job)
    if not artifact.files:
        raise CommandError("the converter wrote no file")
    return artifact.json()
