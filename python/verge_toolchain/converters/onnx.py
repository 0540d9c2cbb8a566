"""ONNX: f32, and int8 as QDQ (static, per channel, calibrated)."""

from __future__ import annotations

import os
import shutil

from verge_toolchain.converters import Artifact, Job
from verge_toolchain.graph import frozen

OPSET = 17
# A protobuf message cannot pass 2 GB; below this the weights stay inside the file.
MAX_INLINE_BYTES = 1_800_000_000


def from_tensorflow(job: Job) -> Artifact:
    job.only("f32", "int8")
    calibration = job.calibration()
    import tf2onnx

    job.step("converting")
    graph = frozen.for_form(job.source, job.form)
    model, _ = tf2onnx.convert.from_graph_def(
        graph.graph_def,
        input_names=list(graph.inputs.values()),
        output_names=list(graph.outputs.values()),
        opset=OPSET,
    )
    _rename(model.graph, {v: k for k, v in graph.inputs.items()}, {v: k for k, v in graph.outputs.items()})
    return _finish(job, model, calibration, f"tf2onnx {tf2onnx.__version__}", _loop_notes(model))


def from_tflite(job: Job) -> Artifact:
    job.only("f32", "int8")
    calibration = job.calibration()
    import tf2onnx

    job.step("converting")
    model, _ = tf2onnx.convert.from_tflite(job.source.path, opset=OPSET)
    _rename_by_position(job, model.graph)
    return _finish(job, model, calibration, f"tf2onnx {tf2onnx.__version__}", [])


def from_onnx(job: Job) -> Artifact:
    if job.as_it_is:
        return _source_file(job)
    import onnx

    job.only("int8")
    return _finish(job, onnx.load(job.source.path), job.calibration(), f"onnx {onnx.__version__}", [])


def _source_file(job: Job) -> Artifact:
    from verge_toolchain.sources import onnx_model

    folder = job.folder()
    entry = os.path.basename(job.source.path)
    for name in [entry, *onnx_model.external_files(job.source.path)]:
        target = os.path.join(folder, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(os.path.dirname(job.source.path), name), target)
    return Artifact([{"dir": folder, "entry": entry, "batch": job.source.signature.fixed_batch}], "onnx", "source file")


def _rename(graph, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    """Gives the graph's inputs and outputs the network's names. A name taken by another tensor makes way."""
    taken = {t for n in graph.node for t in [*n.input, *n.output]} | {i.name for i in graph.initializer}
    wanted = {**inputs, **outputs}
    renames = {old: new for old, new in wanted.items() if old != new}
    for new in [n for n in renames.values() if n in taken and n not in renames]:
        renames[new] = _free_name(new, taken)
    _apply(graph, renames)
    for value in graph.input:
        value.name = renames.get(value.name, value.name)
    for value in graph.output:
        value.name = renames.get(value.name, value.name)


def _free_name(name: str, taken: set) -> str:
    i = 1
    while f"{name}__{i}" in taken:
        i += 1
    return f"{name}__{i}"


def _apply(graph, renames: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in renames:
                    names[i] = renames[name]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _apply(attribute.g, renames)
            for inner in attribute.graphs:
                _apply(inner, renames)
    for value in [*graph.value_info, *graph.initializer]:
        value.name = renames.get(value.name, value.name)


def _rename_by_position(job: Job, graph) -> None:
    """tf2onnx keeps the order of a TFLite file's inputs and outputs, and their names up to a suffix."""
    initializers = {i.name for i in graph.initializer}
    inputs = [v.name for v in graph.input if v.name not in initializers]
    outputs = [v.name for v in graph.output]
    signature = job.source.signature
    if len(inputs) != len(signature.inputs) or len(outputs) != len(signature.outputs):
        raise ValueError(f"tf2onnx's model has {len(inputs)} inputs and {len(outputs)} outputs, the network {len(signature.inputs)} and {len(signature.outputs)}")
    _rename(graph, dict(zip(inputs, (t.name for t in signature.inputs))), dict(zip(outputs, (t.name for t in signature.outputs))))


def _loop_notes(model) -> list[str]:
    operators = {n.op_type for n in model.graph.node}
    return [f"contains {op} nodes" for op in ("Loop", "Scan", "LSTM", "GRU", "RNN") if op in operators]


def _finish(job: Job, model, calibration, converter: str, notes: list[str]) -> Artifact:
    import onnx

    if model.ByteSize() < MAX_INLINE_BYTES:
        onnx.checker.check_model(model)
    folder = job.folder()
    path = os.path.join(folder, "model.onnx")
    if calibration:
        import onnxruntime

        job.step("quantising")
        _quantize(job, model, calibration, path)
        converter += f" + onnxruntime {onnxruntime.__version__}"
    else:
        _save(model, path)
    return Artifact([{"dir": folder, "entry": "model.onnx", "batch": job.source.signature.fixed_batch}], "onnx", converter, notes=notes)


def _save(model, path: str) -> None:
    import onnx

    if model.ByteSize() < MAX_INLINE_BYTES:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=os.path.basename(path) + ".data")


def _quantize(job: Job, model, calibration, path: str) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    scratch = os.path.join(job.source.work, "scratch", job.target["id"])
    os.makedirs(scratch, exist_ok=True)
    plain, prepared = os.path.join(scratch, "plain.onnx"), os.path.join(scratch, "prepared.onnx")
    _save(model, plain)
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    size = calibration.signature.fixed_batch or 1

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._next = 0

        def get_next(self):
            if self._next >= calibration.count:
                return None
            self._next += size
            return calibration.batch(self._next - size, size)

    quantization.quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
    )
