"""TFLite from TFLite: the source file itself, and f16, dynamic and int8 forms of a float one by the AI Edge quantiser."""

from __future__ import annotations

import os
import shutil
from importlib import metadata

from verge_toolchain.converters import Artifact, Job


def from_tflite(job: Job) -> Artifact:
    batch = job.source.signature.fixed_batch or int(job.source.signature.batched())
    if job.as_it_is:
        folder = job.folder()
        entry = os.path.basename(job.source.path)
        shutil.copyfile(job.source.path, os.path.join(folder, entry))
        return Artifact([{"dir": folder, "entry": entry, "batch": batch}], "tflite", "source file")
    job.only("f16", "dynamic", "int8")
    return _quantize(job, job.calibration(), batch)


def _quantize(job: Job, calibration, batch: int) -> Artifact:
    from ai_edge_quantizer import quantizer, recipe

    job.step("quantising")
    path, key = _with_signature(job)
    made = quantizer.Quantizer(path)
    if job.precision == "dynamic":
        made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    elif job.precision == "int8":
        made.load_quantization_recipe(recipe.static_wi8_ai8())
        _keep_float_ports(made)
    else:
        _float_casting(made)
    statistics = None
    if calibration:
        statistics = made.calibrate({key: _Feed(calibration, batch)})
    result = made.quantize(statistics)
    folder = job.folder()
    path = os.path.join(folder, "model.tflite")
    result.export_model(path, overwrite=True)
    return Artifact([{"dir": folder, "entry": "model.tflite", "batch": batch}], "tflite", f"ai-edge-quantizer {metadata.version('ai-edge-quantizer')}")


class _Feed:
    """The calibration samples in batches; the quantiser goes through them more than once."""

    def __init__(self, calibration, batch: int):
        self._calibration, self._batch = calibration, batch

    def __iter__(self):
        return (self._calibration.batch(i, self._batch or 1) for i in range(0, self._calibration.count, self._batch or 1))


def _with_signature(job: Job) -> tuple[str, str]:
    """The quantiser calibrates signatures only: a file without one gets one in a copy. Returns (path, signature's key)."""
    if job.source.signature_name:
        return job.source.path, job.source.signature_name
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    with open(job.source.path, "rb") as f:
        data = f.read()
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]

    def maps(indices):
        made = []
        for i in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = graph.tensors[i].name, int(i)
            made.append(entry)
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = maps(graph.inputs), maps(graph.outputs)
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    folder = os.path.join(job.source.work, "scratch", job.target["id"])
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "signed.tflite")
    with open(path, "wb") as f:
        f.write(builder.Output())
    return path, "serving_default"


def _keep_float_ports(made) -> None:
    """The network's inputs and outputs keep their types; what is inside is quantised."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    for operator in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(regex=".*", operation_name=operator, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)


def _float_casting(made) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    for operator in (qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.CONV_2D, qtyping.TFLOperationName.DEPTHWISE_CONV_2D):
        made.add_weight_only_config(
            regex=".*",
            operation_name=operator,
            num_bits=16,
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
