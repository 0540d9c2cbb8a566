"""ONNX files."""

from __future__ import annotations

import math
import os

from verge_toolchain import safety
from verge_toolchain.errors import Refused, one_sentence
from verge_toolchain.signature import Tensor, make_signature
from verge_toolchain.sources import Inspected

MAX_FILE_BYTES = 2 << 30  # of a protobuf message
MAX_DEPTH = 32
_STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"}
_LOOPS = {"Loop", "Scan"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
_DYNAMIC = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "MatMulNBits"}
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}

# TensorProto.DataType -> Open Inference name and bits an element in raw_data.
_DTYPES = {
    1: ("FP32", 32),
    2: ("UINT8", 8),
    3: ("INT8", 8),
    4: ("UINT16", 16),
    5: ("INT16", 16),
    6: ("INT32", 32),
    7: ("INT64", 64),
    8: ("BYTES", 0),
    9: ("BOOL", 8),
    10: ("FP16", 16),
    11: ("FP64", 64),
    12: ("UINT32", 32),
    13: ("UINT64", 64),
    16: ("BF16", 16),
}
# Types that may stand in weights but not in inputs and outputs: bits an element.
_OTHER_BITS = {14: 64, 15: 128, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}


def inspect(path: str, signature: str | None, work: str, report) -> Inspected:
    import onnxruntime

    model = _parse(path)
    _check(model, os.path.dirname(os.path.abspath(path)))
    initializers = {i.name for i in model.graph.initializer}
    inputs = [_tensor(v, "input") for v in model.graph.input if v.name not in initializers]
    outputs = [_tensor(v, "output") for v in model.graph.output]
    names = {n for n in _operators(model)}
    found = make_signature(inputs, outputs)
    notes = [f"contains {n} nodes" for n in sorted(names & (_LOOPS | _RECURRENT))]
    try:
        _session(path)
    except Exception as e:
        raise Refused(f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {one_sentence(str(e), 200)}") from e
    return Inspected(
        kind="onnx",
        path=path,
        work=work,
        signature_name="",
        signature=found,
        has_loop=bool(names & _LOOPS),
        reference=f"onnxruntime {onnxruntime.__version__}",
        notes=notes,
        precision=_precision(model, names),
    )


def _precision(model, operators: set[str]) -> str:
    if operators & _DYNAMIC:
        return "dynamic"
    if operators & _QUANTIZED:
        return "int8"
    half = sum(math.prod(t.dims) for _, t in _tensors(model) if t.data_type == 10)
    full = sum(math.prod(t.dims) for _, t in _tensors(model) if t.data_type == 1)
    return "f16" if half > full else "f32"


def _parse(path: str):
    import onnx

    size = os.path.getsize(path)
    if size > MAX_FILE_BYTES:
        raise Refused(f"the .onnx file is {size >> 20} MB, more than a protobuf message can be; save its weights as external data")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as e:
        raise Refused(f"the .onnx file is damaged: {one_sentence(str(e), 200)}") from e
    if not model.HasField("graph") or not model.opset_import:
        raise Refused("the file is not an ONNX model: it has no graph or names no operator set")
    return model


def _graphs(graph, depth: int = 0):
    if depth > MAX_DEPTH:
        raise Refused(f"graphs are nested more than {MAX_DEPTH} levels deep")
    yield graph
    for node in graph.node:
        yield from _node_graphs(node, depth)


def _node_graphs(node, depth: int):
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _graphs(attribute.g, depth + 1)
        for inner in attribute.graphs:
            yield from _graphs(inner, depth + 1)


def _nodes(model):
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for graph in _node_graphs(node, 0):
                yield from graph.node


def _operators(model) -> set[str]:
    return {n.op_type for n in _nodes(model)}


def _tensors(model):
    """Every constant tensor, with a name for messages."""
    for graph in _graphs(model.graph):
        for i in graph.initializer:
            yield i.name, i
        for i in graph.sparse_initializer:
            yield i.values.name, i.values
            yield i.indices.name, i.indices
    for node in _nodes(model):
        for a in node.attribute:
            for t in [*([a.t] if a.HasField("t") else []), *a.tensors]:
                yield t.name or f"{node.name or node.op_type}.{a.name}", t


def _check(model, folder: str) -> None:
    local = {f.domain for f in model.functions}
    for node in _nodes(model):
        if node.domain not in _STANDARD_DOMAINS and node.domain not in local:
            raise Refused(f"the operator {node.domain}.{node.op_type} (node '{node.name}') would need a foreign library; export with standard operators")
    for name, tensor in _tensors(model):
        _check_tensor(name, tensor, folder)


def _check_tensor(name: str, tensor, folder: str) -> None:
    from onnx import TensorProto

    if any(d < 0 for d in tensor.dims):
        raise Refused(f"the tensor '{name}' has a negative dimension")
    bits = _DTYPES[tensor.data_type][1] if tensor.data_type in _DTYPES else _OTHER_BITS.get(tensor.data_type)
    if bits is None:
        raise Refused(f"the tensor '{name}' has the unknown data type {tensor.data_type}")
    elements = math.prod(tensor.dims)
    claimed = (elements * bits + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        entries = {e.key: e.value for e in tensor.external_data}
        path = safety.check_external_location(entries.get("location", ""), folder, name)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", claimed))
        except ValueError:
            raise Refused(f"the tensor '{name}' has a broken reference to its data") from None
        if offset < 0 or length != claimed or offset + length > os.path.getsize(path):
            raise Refused(f"the tensor '{name}' claims {claimed} bytes, which its data file '{entries.get('location')}' does not hold")
        return
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
    elif bits == 0:
        held, claimed = len(tensor.string_data), elements
    else:
        fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        count = sum(len(f) for f in fields)
        packed = max(1, 8 // bits) if bits < 8 else 1
        held, claimed = count, -(-elements // packed) * (2 if tensor.data_type in (14, 15) else 1)
    if held != claimed:
        unit = "strings" if bits == 0 else "bytes" if tensor.HasField("raw_data") else "elements"
        raise Refused(f"the tensor '{name}' claims {claimed} {unit} (shape {list(tensor.dims)}) but holds {held}; the file is damaged")


def _tensor(value, side: str) -> Tensor:
    what = f"{side} '{value.name}'"
    if not value.type.HasField("tensor_type"):
        raise Refused(f"{what} is a {value.type.WhichOneof('value') or 'thing without a type'}, not a tensor; change the export so that it is one")
    tensor = value.type.tensor_type
    if tensor.elem_type not in _DTYPES:
        raise Refused(f"{what} has the ONNX data type {tensor.elem_type}, which the Open Inference Protocol does not carry; cast it inside the network")
    if not tensor.HasField("shape"):
        raise Refused(f"{what} has no shape; run onnx.shape_inference over the model or export it with shapes")
    shape = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in tensor.shape.dim]
    return Tensor(value.name, _DTYPES[tensor.elem_type][0], shape)


def external_files(path: str) -> list[str]:
    """Locations of external data, relative to the model's folder."""
    from onnx import TensorProto

    found = {
        e.value
        for _, t in _tensors(_parse(path))
        if t.data_location == TensorProto.EXTERNAL
        for e in t.external_data
        if e.key == "location"
    }
    return sorted(found)


def _session(path: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def reference(inspected: Inspected):
    session = _session(inspected.path)
    names = [t.name for t in inspected.signature.outputs]

    def run(batch: dict) -> dict:
        fed = {n: _terminated(v) if v.dtype == object else v for n, v in batch.items()}
        return dict(zip(names, session.run(names, fed)))

    return run


def _terminated(strings):
    """Fixed-width strings with a zero byte at the end of each: ONNX Runtime reads them up to the first zero, past the end where there is none. (Bytes
    objects it would print, as "b'x'".)"""
    fixed = strings.astype("S")
    return fixed.astype(f"S{fixed.dtype.itemsize + 1}")
