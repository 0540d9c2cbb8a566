"""TFLite from TensorFlow: f32, f16 (weights), dynamic (int8 weights), int8 (calibrated), and full-integer files for Edge TPUs.

LiteRT's compiled models cannot be resized after load (2.3.0 corrupts its heap on the attempt), so each batch size gets a file of its own. The
conversion always goes through a SavedModel: from_concrete_functions writes Keras 3 models without their weights.
"""

from __future__ import annotations

import os

from verge_toolchain.converters import Artifact, Job
from verge_toolchain.errors import LeftOut
from verge_toolchain.graph import frozen


def from_tensorflow(job: Job) -> Artifact:
    job.only("f32", "f16", "dynamic", "int8")
    return _convert(job, full_integer=False)


def edgetpu_from_tensorflow(job: Job) -> Artifact:
    job.only("int8")
    artifact = _convert(job, full_integer=True)
    artifact.notes.append("full-integer file with int8 inputs and outputs; still to be compiled with edgetpu_compiler, which runs only on Google's terms")
    return artifact


def _convert(job: Job, full_integer: bool) -> Artifact:
    import tensorflow as tf

    calibration = job.calibration()
    files = []
    for batch in job.batches():
        job.step(f"converting for batch {batch}" if batch else "converting")
        path = frozen.saved_model(job.source, "unrolled" if job.form == "unrolled" else "loop" if job.source.has_loop else "", batch)
        converter = tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=["serving_default"])
        if job.precision != "f32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if job.precision == "f16":
            converter.target_spec.supported_types = [tf.float16]
        if calibration:
            job.step(f"quantising for batch {batch}" if batch else "quantising")
            converter.representative_dataset = _feed(calibration, batch)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            if full_integer:
                converter.inference_input_type = converter.inference_output_type = tf.int8
            else:
                converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS)
        data = converter.convert()
        _check_precision(job.precision, data)
        folder = job.folder(f"batch{batch}") if len(job.batches()) > 1 else job.folder()
        with open(os.path.join(folder, "model.tflite"), "wb") as f:
            f.write(named(data))
        files.append({"dir": folder, "entry": "model.tflite", "batch": batch})
    return Artifact(files, "tflite" if not full_integer else "edgetpu-tflite", f"tensorflow {tf.__version__}")


# tflite.TensorType of the weights that a precision is about.
_WEIGHTS = {"f16": 1, "dynamic": 9, "int8": 9}


def _check_precision(precision: str, data: bytes) -> None:
    """Small weights (below 1,024 elements) are not quantised; a file without any that were is the f32 file again."""
    from ai_edge_litert import schema_py_generated as schema

    if precision == "f32":
        return
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    if not any(t.type == _WEIGHTS[precision] for g in model.subgraphs for t in g.tensors):
        raise LeftOut(f"the converter found nothing to store as {precision}: the network's weights are too small, so the file is the f32 one")


def _feed(calibration, batch: int):
    """Every calibration sample, in batches; the last one is filled up from the beginning, which leaves the ranges as they are."""

    def batches():
        size = batch or 1
        for first in range(0, calibration.count, size):
            yield calibration.batch(first, size)

    return batches


def named(data: bytes) -> bytes:
    """The file with its inputs' and outputs' tensors named as its signature names them, so that engines that look at tensor names (OpenVINO)
    and engines that look at signatures (LiteRT) agree."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    if not model.signatureDefs:
        return data
    signature = model.signatureDefs[0]
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    wanted = {m.tensorIndex: m.name for m in [*signature.inputs, *signature.outputs]}
    if len(wanted) != len(signature.inputs) + len(signature.outputs):
        raise LeftOut("an output is the input or another output itself, which TFLite cannot name apart")
    if all(tensors[i].name == n for i, n in wanted.items()):
        return data
    for i, name in wanted.items():
        for tensor in tensors:
            if tensor.name == name:
                tensor.name = name + b"__inner"
        tensors[i].name = name
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
