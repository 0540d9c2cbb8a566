"""OpenVINO IR: model.xml with model.bin beside it."""

from __future__ import annotations

import os

from verge_toolchain.errors import Refused, one_sentence
from verge_toolchain.signature import Signature, Tensor, make_signature
from verge_toolchain.sources import Inspected

MAX_XML_BYTES = 512 << 20
_LOOPS = {"Loop", "TensorIterator"}
_DTYPES = {
    "f32": "FP32",
    "f16": "FP16",
    "bf16": "BF16",
    "f64": "FP64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "boolean": "BOOL",
    "string": "BYTES",
}


def inspect(path: str, signature: str | None, work: str, report) -> Inspected:
    import openvino as ov

    if os.path.getsize(path) > MAX_XML_BYTES:
        raise Refused(f"the IR's XML is {os.path.getsize(path) >> 20} MB, more than any network's")
    try:
        model = ov.Core().read_model(path)
    except Exception as e:
        raise Refused(f"OpenVINO cannot read the IR: {one_sentence(str(e), 200)}") from e
    operators = {o.get_type_name() for o in model.get_ops()}
    found = make_signature(
        [_tensor(p, "input") for p in model.inputs],
        [_tensor(p, "output") for p in model.outputs],
    )
    return Inspected(
        kind="openvino-ir",
        path=path,
        work=work,
        signature_name="",
        signature=found,
        has_loop=bool(operators & _LOOPS),
        reference=f"openvino {ov.__version__.split('-')[0]}",
        precision=_precision(model, operators),
    )


def _precision(model, operators: set[str]) -> str:
    if "FakeQuantize" in operators:
        return "int8"
    constants = {o.get_element_type().get_type_name() for o in model.get_ops() if o.get_type_name() == "Constant" and o.get_byte_size() > 64}
    if constants & {"i8", "u8", "i4", "u4"}:
        return "dynamic"
    return "f16" if "f16" in constants else "f32"


def port_name(port) -> str:
    """The name under which a port is known: the shortest of its tensor's names, else its node's."""
    names = sorted(port.get_names(), key=lambda n: (len(n), n))
    return names[0] if names else port.get_node().get_friendly_name()


def _tensor(port, side: str) -> Tensor:
    name = port_name(port)
    kind = port.get_element_type().get_type_name()
    if kind not in _DTYPES:
        raise Refused(f"{side} '{name}' has the data type {kind}, which the Open Inference Protocol does not carry")
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise Refused(f"{side} '{name}' has an unknown number of dimensions; convert the model with its input shapes given")
    return Tensor(name, _DTYPES[kind], [d.get_length() if d.is_static else -1 for d in shape])


def runner(path: str, signature: Signature):
    """OpenVINO's answers in f32, whatever the CPU would prefer."""
    import openvino as ov

    model = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ports = {port_name(p): p for p in [*model.inputs, *model.outputs]}

    def run(batch: dict) -> dict:
        answer = model({ports[n]: v for n, v in batch.items()})
        return {t.name: answer[ports[t.name]] for t in signature.outputs}

    return run


def reference(inspected: Inspected):
    return runner(inspected.path, inspected.signature)
